package gitlabcistore

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A lab stands in for GitLab: the calls for variables, as documented at
// https://docs.gitlab.com/api/project_level_variables/ and
// https://docs.gitlab.com/api/group_level_variables/. It checks what each request
// looks like and what its token may do.
type lab struct {
	t      testing.TB
	server *httptest.Server

	mu        sync.Mutex
	tokens    map[string]grant
	variables map[string][]*held // by projects/team/crm or groups/team
	free      bool               // groups have no scopes
	writes    int
	hook      func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

// held is a variable, and what the API shows of it.
type held struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	Type        string  `json:"variable_type"`
	Protected   bool    `json:"protected"`
	Masked      bool    `json:"masked"`
	Hidden      bool    `json:"hidden"`
	Raw         bool    `json:"raw"`
	Scope       string  `json:"environment_scope,omitempty"`
	Description *string `json:"description"`
}

// A grant is what a token may do: its scopes, and its role by place.
type grant struct {
	scopes []string
	roles  map[string]string
}

const (
	base      = "/gitlab" // an instance below a path
	goodToken = "glpat-s3cr3t"
	crm       = "projects/team/crm.api"
	team      = "groups/team/sub"
)

func everything() grant {
	return grant{scopes: []string{"api"}, roles: map[string]string{crm: "Maintainer", team: "Owner"}}
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, tokens: map[string]grant{goodToken: everything()}, variables: map[string][]*held{crm: nil, team: nil}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"/api/v4/personal_access_tokens/self", l.self)
	mux.HandleFunc("GET "+base+"/api/v4/{kind}/{id}/variables", l.list)
	mux.HandleFunc("POST "+base+"/api/v4/{kind}/{id}/variables", l.create)
	mux.HandleFunc("GET "+base+"/api/v4/{kind}/{id}/variables/{key}", l.get)
	mux.HandleFunc("PUT "+base+"/api/v4/{kind}/{id}/variables/{key}", l.update)
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.arrives(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(l.server.Close)
	return l
}

// arrives checks what all requests have in common.
func (l *lab) arrives(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet {
		l.writes++
	}
	if l.hook != nil && l.hook(w, r) {
		return false
	}
	if r.Header.Get("Accept") != "application/json" || r.Header.Get("User-Agent") != "rotatord" || r.Header.Get("Authorization") != "" ||
		(r.Method != http.MethodGet && (r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "")) {
		l.t.Errorf("%s %s has the headers %v", r.Method, r.URL.Path, r.Header)
	}
	if strings.Contains(r.URL.Path, "/variables") && !strings.Contains(r.URL.EscapedPath(), "%2F") {
		l.t.Errorf("%s %s has a path that is not escaped", r.Method, r.URL.EscapedPath())
	}
	if _, known := l.tokens[r.Header.Get("Private-Token")]; !known {
		l.answer(w, http.StatusUnauthorized, map[string]any{"message": "401 Unauthorized"})
		return false
	}
	return true
}

// allowed looks whether the place is there and the token may do that.
func (l *lab) allowed(w http.ResponseWriter, r *http.Request) (string, bool) {
	place := r.PathValue("kind") + "/" + r.PathValue("id")
	given := l.tokens[r.Header.Get("Private-Token")]
	role, member := given.roles[place]
	_, there := l.variables[place]
	mayRead := r.Method == http.MethodGet && slices.Contains(given.scopes, "read_api")
	enough := role == "Owner" || role == "Maintainer" && r.PathValue("kind") == "projects"
	switch {
	case !slices.Contains(given.scopes, "api") && !mayRead:
		l.answer(w, http.StatusForbidden, map[string]any{"error": "insufficient_scope", "scope": "api"})
		return "", false
	case !there || !member:
		l.answer(w, http.StatusNotFound, map[string]any{"message": "404 Project Not Found"})
		return "", false
	case !enough:
		l.answer(w, http.StatusForbidden, map[string]any{"message": "403 Forbidden"})
		return "", false
	}
	return place, true
}

func (l *lab) self(w http.ResponseWriter, r *http.Request) {
	l.answer(w, http.StatusOK, map[string]any{"id": 1, "name": "rotatord", "active": true, "scopes": l.tokens[r.Header.Get("Private-Token")].scopes})
}

// shown is what the API answers: a hidden value is null.
func (l *lab) shown(place string, v *held) held {
	shown := *v
	if v.Hidden {
		shown.Value = nil
	}
	if l.free && strings.HasPrefix(place, "groups/") {
		shown.Scope = ""
	}
	return shown
}

func (l *lab) list(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "per_page=1" {
		l.t.Errorf("GET %s has the query %q", r.URL.Path, r.URL.RawQuery)
	}
	if place, ok := l.allowed(w, r); ok {
		list := []held{}
		for _, v := range l.variables[place][:min(1, len(l.variables[place]))] {
			list = append(list, l.shown(place, v))
		}
		l.answer(w, http.StatusOK, list)
	}
}

// find returns the variable that is meant, or answers that there is none or several.
func (l *lab) find(w http.ResponseWriter, place, key, scope string) *held {
	all := scope == "" || l.free && strings.HasPrefix(place, "groups/")
	found := slices.DeleteFunc(slices.Clone(l.variables[place]), func(v *held) bool {
		return v.Key != key || !all && v.Scope != scope
	})
	switch len(found) {
	case 0:
		l.answer(w, http.StatusNotFound, map[string]any{"message": "404 Variable Not Found"})
		return nil
	case 1:
		return found[0]
	}
	l.answer(w, http.StatusConflict, map[string]any{"message": "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"})
	return nil
}

func (l *lab) get(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if len(query) != 1 || !query.Has("filter[environment_scope]") {
		l.t.Errorf("GET %s has the query %q", r.URL.Path, r.URL.RawQuery)
	}
	if place, ok := l.allowed(w, r); ok {
		if v := l.find(w, place, r.PathValue("key"), query.Get("filter[environment_scope]")); v != nil {
			l.answer(w, http.StatusOK, l.shown(place, v))
		}
	}
}

func (l *lab) update(w http.ResponseWriter, r *http.Request) {
	place, ok := l.allowed(w, r)
	var body struct {
		Value  *string `json:"value"`
		Filter struct {
			Scope string `json:"environment_scope"`
		} `json:"filter"`
	}
	if !ok || !l.decode(w, r, &body) {
		return
	}
	v := l.find(w, place, r.PathValue("key"), body.Filter.Scope)
	if v == nil {
		return
	}
	if body.Value == nil || !valid(*body.Value, v) {
		l.answer(w, http.StatusBadRequest, map[string]any{"message": map[string][]string{"value": {"is invalid"}}})
		return
	}
	v.Value = body.Value
	l.answer(w, http.StatusOK, l.shown(place, v))
}

func (l *lab) create(w http.ResponseWriter, r *http.Request) {
	place, ok := l.allowed(w, r)
	var body struct {
		held
		MaskedAndHidden bool `json:"masked_and_hidden"`
	}
	if !ok || !l.decode(w, r, &body) {
		return
	}
	made := body.held
	made.Masked, made.Hidden = made.Masked || body.MaskedAndHidden, body.MaskedAndHidden
	made.Type = "env_var"
	taken := slices.ContainsFunc(l.variables[place], func(v *held) bool { return v.Key == made.Key && v.Scope == made.Scope })
	switch {
	case taken:
		l.answer(w, http.StatusBadRequest, map[string]any{"message": map[string][]string{"key": {"(" + made.Key + ") has already been taken"}}})
	case made.Value == nil || !valid(*made.Value, &made):
		l.answer(w, http.StatusBadRequest, map[string]any{"message": map[string][]string{"value": {"is invalid"}}})
	default:
		l.variables[place] = append(l.variables[place], &made)
		l.answer(w, http.StatusCreated, l.shown(place, &made))
	}
}

var (
	maskable    = regexp.MustCompile(`^[a-zA-Z0-9_+=/@:.~-]{8,}$`)
	maskableRaw = regexp.MustCompile(`^\S{8,}$`)
)

// valid holds GitLab's rules for values.
// Source: https://docs.gitlab.com/ci/variables/#mask-a-cicd-variable
func valid(value string, v *held) bool {
	return len([]rune(value)) <= 10000 && (!v.Masked || maskable.MatchString(value) || v.Raw && maskableRaw.MatchString(value))
}

func (l *lab) decode(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		l.answer(w, http.StatusBadRequest, map[string]any{"message": "The request body is not valid JSON"})
		return false
	}
	return true
}

// answer answers; a refusal quotes a secret, as one may.
func (l *lab) answer(w http.ResponseWriter, status int, body any) {
	if message, ok := body.(map[string]any); ok && status >= 400 {
		message["error"] = "you sent s3cr3t"
	}
	raw, err := json.Marshal(body)
	if err != nil {
		l.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// at returns the variable under a key; nil: there is none.
func (l *lab) at(t testing.TB, key string) *held {
	t.Helper()
	p, err := parseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.variables[p.key()] {
		if v.Key == p.name && v.Scope == p.scope {
			return v
		}
	}
	return nil
}

func (p place) key() string {
	if p.group != "" {
		return "groups/" + p.group
	}
	return "projects/" + p.project
}

// set is a write of somebody else.
func (l *lab) set(t testing.TB, key, value string, change ...func(*held)) *held {
	t.Helper()
	v := l.at(t, key)
	p, _ := parseKey(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	if v == nil {
		v = &held{Key: p.name, Scope: p.scope, Type: "env_var", Raw: true}
		l.variables[p.key()] = append(l.variables[p.key()], v)
	}
	v.Value = &value
	for _, f := range change {
		f(v)
	}
	return v
}

// read is what a job gets.
func (l *lab) read(t testing.TB, key string) (string, bool) {
	t.Helper()
	v := l.at(t, key)
	if v == nil {
		return "", false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return *v.Value, true
}

func (l *lab) hooks(hook func(w http.ResponseWriter, r *http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// grants replaces all tokens by one.
func (l *lab) grants(token string, given grant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = map[string]grant{token: given}
}

func (l *lab) written() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

// address is where the stand-in is, as the configuration has it.
func address(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic(err)
	}
	return u.JoinPath(base).String()
}
