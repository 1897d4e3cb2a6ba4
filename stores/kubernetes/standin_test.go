package kubernetesstore

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A standIn answers like the Secrets part of a Kubernetes API server: reads,
// creations, merge patches and server-side applies with managed fields, guards by
// UID and resourceVersion, and access reviews. The same tests run against the
// real one, see each. What it refuses it quotes, as a server may.
//
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
type standIn struct {
	t      testing.TB
	mu     sync.Mutex
	made   int
	stored map[string]*object
	spaces map[string]bool   // namespaces
	tokens map[string]string // token → user
	may    func(user, verb, namespace, secret string) bool
}

type object struct {
	body   map[string]any // without managedFields
	owners []*ownership
}

type ownership struct {
	manager, operation string
	at                 time.Time
	fields             map[string]bool // paths of leaves
}

func newStandIn(t testing.TB) kube {
	t.Helper()
	s := &standIn{
		t: t, stored: map[string]*object{}, spaces: map[string]bool{}, tokens: map[string]string{"token-of-admin": "admin", "token-of-rotatord": "rotatord"},
		may: func(user, _, _, _ string) bool { return user == "admin" },
	}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that don't trust it, on purpose
	server.StartTLS()
	t.Cleanup(server.Close)
	return kube{addr: server.URL, ca: pemOf(server), admin: "token-of-admin", user: "token-of-rotatord", standIn: s}
}

var secretsPath = regexp.MustCompile(`^/api/v1/namespaces/([a-z0-9-]+)/secrets(?:/([a-z0-9.-]+))?$`)

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // a body that breaks off changes nothing
	}
	user, known := s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	switch {
	case !known:
		refuse(w, http.StatusUnauthorized, "Unauthorized", raw)
	case r.URL.Path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" && r.Method == http.MethodPost:
		s.review(w, user, raw)
	case strings.HasSuffix(r.URL.Path, "/namespaces") && r.Method == http.MethodPost:
		var sent map[string]any
		_ = json.Unmarshal(raw, &sent)
		s.spaces[fmt.Sprint(child(sent, "metadata")["name"])] = true
		w.WriteHeader(http.StatusCreated)
	case secretsPath.MatchString(r.URL.Path):
		parts := secretsPath.FindStringSubmatch(r.URL.Path)
		if r.UserAgent() == "rotatord" {
			s.checkOurs(r, raw)
		}
		s.secrets(w, r, user, parts[1], parts[2], raw)
	default:
		http.NotFound(w, r)
	}
}

// checkOurs checks what the store itself sends.
func (s *standIn) checkOurs(r *http.Request, raw []byte) {
	s.t.Helper()
	want := map[string]string{http.MethodGet: "", http.MethodPost: "fieldManager=rotatord", http.MethodPatch: "fieldManager=rotatord&force=true"}
	kind := map[string]string{http.MethodGet: "", http.MethodPost: "application/json", http.MethodPatch: "application/apply-patch+yaml"}
	query, known := want[r.Method]
	if !known || r.URL.RawQuery != query || r.Header.Get("Content-Type") != kind[r.Method] || r.Header.Get("Accept") != "application/json" {
		s.t.Errorf("%s with query %q and headers %v", r.Method, r.URL.RawQuery, r.Header)
	}
	if r.Method != http.MethodPatch {
		return
	}
	var sent struct {
		Metadata struct{ UID, ResourceVersion string }
	}
	if json.Unmarshal(raw, &sent) != nil || sent.Metadata.UID == "" || sent.Metadata.ResourceVersion == "" {
		s.t.Errorf("an apply without UID or resourceVersion: %+v", sent)
	}
}

func (s *standIn) secrets(w http.ResponseWriter, r *http.Request, user, namespace, secret string, raw []byte) {
	var sent map[string]any
	if len(raw) > 0 && json.Unmarshal(raw, &sent) != nil {
		refuse(w, http.StatusBadRequest, "BadRequest", raw)
		return
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	if !s.may(user, verb, namespace, secret) {
		refuse(w, http.StatusForbidden, "Forbidden", raw)
		return
	}
	if r.Method == http.MethodPost {
		secret, _ = child(sent, "metadata")["name"].(string)
	}
	id := namespace + "/" + secret
	now := s.stored[id]
	manager := r.URL.Query().Get("fieldManager")
	var status int
	switch {
	case r.Method == http.MethodPost && !s.spaces[namespace]:
		status = http.StatusNotFound
	case r.Method == http.MethodPost && now != nil:
		refuse(w, http.StatusConflict, "AlreadyExists", raw)
		return
	case r.Method == http.MethodPost:
		now, status = s.update(id, nil, manager, sent)
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/apply-patch+yaml":
		now, status = s.apply(id, now, manager, r.URL.Query().Get("force") == "true", sent)
	case now == nil:
		status = http.StatusNotFound
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/merge-patch+json":
		now, status = s.update(id, now, manager, merged(now.body, sent))
	case r.Method == http.MethodDelete:
		delete(s.stored, id)
	}
	if status != 0 {
		reasons := map[int]string{404: "NotFound", 409: "Conflict", 422: "Invalid"}
		refuse(w, status, reasons[status], raw)
		return
	}
	_ = json.NewEncoder(w).Encode(now.shown())
}

// update makes an object what it should be, for a manager that does not apply.
func (s *standIn) update(id string, now *object, manager string, wanted map[string]any) (*object, int) {
	next := &object{body: wanted}
	before := map[string]any{}
	if now != nil {
		next.owners, before = clone(now.owners), leaves(now.body)
	}
	after := leaves(wanted)
	mine := next.owner(manager, "Update")
	for path := range before {
		if _, stays := after[path]; !stays {
			next.disown(path)
		}
	}
	for path, value := range after {
		if old, had := before[path]; !had || fmt.Sprint(old) != fmt.Sprint(value) {
			next.disown(path)
			mine.fields[path], mine.at = true, time.Now()
		}
	}
	return s.store(id, now, next)
}

// apply is a server-side apply.
func (s *standIn) apply(id string, now *object, manager string, force bool, sent map[string]any) (*object, int) {
	metadata := child(sent, "metadata")
	uid, guarded := metadata["uid"]
	version, versioned := metadata["resourceVersion"]
	if now == nil {
		if guarded {
			return nil, http.StatusConflict
		}
		return s.update(id, nil, manager, sent) // a resourceVersion alone does not stop it
	}
	live := child(now.body, "metadata")
	if (guarded && uid != live["uid"]) || (versioned && version != live["resourceVersion"]) {
		return nil, http.StatusConflict
	}
	next := &object{body: merged(now.body, map[string]any{}), owners: clone(now.owners)}
	mine := next.owner(manager, "Apply")
	wanted, before := leaves(sent), leaves(now.body)
	for path, value := range wanted {
		if old, had := before[path]; !had || fmt.Sprint(old) != fmt.Sprint(value) {
			if next.ownedByOthers(path, mine) && !force {
				return nil, http.StatusConflict
			}
			next.disown(path)
			mine.at = time.Now()
		}
		set(next.body, path, value)
	}
	for path := range mine.fields {
		if _, stays := wanted[path]; !stays && !next.ownedByOthers(path, mine) {
			set(next.body, path, nil)
		}
	}
	mine.fields = map[string]bool{}
	for path := range wanted {
		mine.fields[path] = true
	}
	return s.store(id, now, next)
}

// store keeps the next state of an object, if the rules of Secrets allow it.
func (s *standIn) store(id string, now, next *object) (*object, int) {
	data := child(next.body, "data")
	for key, value := range data {
		text, isText := value.(string)
		if _, err := base64.StdEncoding.DecodeString(text); !isText || err != nil || !dataKey.MatchString(key) {
			return nil, http.StatusUnprocessableEntity
		}
	}
	metadata := child(next.body, "metadata")
	if now == nil {
		metadata["namespace"], metadata["name"], _ = strings.Cut(id, "/")
		if next.body["type"] == nil {
			next.body["type"] = "Opaque"
		}
		s.made++
		metadata["uid"] = "uid-" + strconv.Itoa(s.made)
	} else if now.body["immutable"] == true && fmt.Sprint(now.body["data"]) != fmt.Sprint(data) {
		return nil, http.StatusUnprocessableEntity
	}
	if next.body["type"] == "kubernetes.io/basic-auth" && data["password"] == nil && data["username"] == nil {
		return nil, http.StatusUnprocessableEntity
	}
	next.owners = slices.DeleteFunc(next.owners, func(o *ownership) bool { return len(o.fields) == 0 })
	if now != nil && fmt.Sprint(now.shown()) == fmt.Sprint(next.shown()) {
		return now, 0
	}
	s.made++
	metadata["resourceVersion"] = strconv.Itoa(s.made)
	s.stored[id] = next
	return next, 0
}

func (s *standIn) review(w http.ResponseWriter, user string, raw []byte) {
	var sent struct {
		Kind, APIVersion string
		Spec             struct {
			ResourceAttributes struct{ Namespace, Verb, Version, Resource, Name string }
		}
	}
	asked := &sent.Spec.ResourceAttributes
	if json.Unmarshal(raw, &sent) != nil || sent.Kind != "SelfSubjectAccessReview" || asked.Resource != "secrets" || asked.Version != "v1" || asked.Verb == "" {
		s.t.Errorf("access review of %s", raw)
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": sent.Kind, "apiVersion": sent.APIVersion, "status": map[string]any{"allowed": s.may(user, asked.Verb, asked.Namespace, asked.Name)},
	})
}

func refuse(w http.ResponseWriter, code int, reason string, quoted []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "refused: " + string(quoted),
	})
}

func (o *object) owner(manager, operation string) *ownership {
	for _, owner := range o.owners {
		if owner.manager == manager && owner.operation == operation {
			return owner
		}
	}
	o.owners = append(o.owners, &ownership{manager: manager, operation: operation, at: time.Now(), fields: map[string]bool{}})
	return o.owners[len(o.owners)-1]
}

func (o *object) disown(path string) {
	for _, owner := range o.owners {
		delete(owner.fields, path)
	}
}

func (o *object) ownedByOthers(path string, mine *ownership) bool {
	return slices.ContainsFunc(o.owners, func(owner *ownership) bool { return owner != mine && owner.fields[path] })
}

// shown is the object as the API answers it.
func (o *object) shown() map[string]any {
	body := merged(o.body, map[string]any{"kind": "Secret", "apiVersion": "v1"})
	var managed []any
	for _, owner := range o.owners {
		fields := map[string]any{}
		for path := range owner.fields {
			below := fields
			for part := range strings.SplitSeq(path, "\x00") {
				below = child(below, "f:"+part)
			}
		}
		if data, ok := fields["f:data"].(map[string]any); ok && owner.operation == "Update" {
			data["."] = map[string]any{}
		}
		managed = append(managed, map[string]any{
			"manager": owner.manager, "operation": owner.operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
			"time": owner.at.UTC().Format(time.RFC3339),
		})
	}
	child(body, "metadata")["managedFields"] = managed
	return body
}

func clone(owners []*ownership) []*ownership {
	copied := make([]*ownership, len(owners))
	for i, owner := range owners {
		one := *owner
		one.fields = maps.Clone(owner.fields)
		copied[i] = &one
	}
	return copied
}

// leaves are the fields that have owners, by path.
func leaves(body map[string]any) map[string]any {
	found := map[string]any{}
	for _, name := range []string{"type", "immutable"} {
		if value, ok := body[name]; ok {
			found[name] = value
		}
	}
	for _, path := range []string{"data", "metadata\x00labels", "metadata\x00annotations"} {
		below := body
		for part := range strings.SplitSeq(path, "\x00") {
			below, _ = below[part].(map[string]any)
		}
		for key, value := range below {
			found[path+"\x00"+key] = value
		}
	}
	return found
}

// set sets a leaf, or takes it away.
func set(body map[string]any, path string, value any) {
	parts := strings.Split(path, "\x00")
	for _, part := range parts[:len(parts)-1] {
		body = child(body, part)
	}
	if body[parts[len(parts)-1]] = value; value == nil {
		delete(body, parts[len(parts)-1])
	}
}

// merged is a JSON merge patch (RFC 7386) of a copy.
func merged(target, patch map[string]any) map[string]any {
	result := map[string]any{}
	for key, value := range target {
		if below, ok := value.(map[string]any); ok {
			value = merged(below, map[string]any{})
		}
		result[key] = value
	}
	for key, value := range patch {
		below, isObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(result, key)
		case isObject:
			result[key] = merged(child(result, key), below)
		default:
			result[key] = value
		}
	}
	return result
}
