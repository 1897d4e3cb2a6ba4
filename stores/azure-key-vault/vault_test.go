package azurekeyvaultstore

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	tenant   = "11111111-2222-3333-4444-555555555555"
	robot    = "aaaaaaaa-0000-0000-0000-000000000001"
	stranger = "aaaaaaaa-0000-0000-0000-000000000002"
	secretOf = "s3cr3t-of-robot"
	host     = "my-vault.vault.azure.net"
	cutting  = "cutting.vault.azure.net" // the same vault, where each write breaks off
)

// vault is a stand-in of one Key Vault by its documented REST rules: the
// api-version, the challenge, tokens for its own resource, data actions, names,
// versions, pages, attributes, soft delete. What it refuses it words as the
// service does, values included: none of that may reach an error of ours.
type vault struct {
	mu       sync.Mutex
	secrets  map[string]*kept
	tokens   map[string]string   // token → account
	accounts map[string]bool     // that may log in
	actions  map[string][]string // account → data actions
	policy   bool                // the vault has access policies instead of roles
	resource string              // that the challenge names
	count    int                 // of versions
	issued   int                 // tokens
	calls    []string

	// before runs ahead of an authorized call, without the lock; true: it answered.
	before func(w http.ResponseWriter, r *http.Request) bool
	// lose takes the answer of a call away that had its effect.
	lose func(r *http.Request) bool
	// logIn, with a status, is what the log-in answers.
	logIn int
}

type kept struct {
	versions []*bundle // the last one is current
	deleted  bool
}

type attributes struct {
	Enabled         *bool  `json:"enabled,omitempty"`
	Exp             int64  `json:"exp,omitempty"`
	Nbf             int64  `json:"nbf,omitempty"`
	Created         int64  `json:"created,omitempty"`
	Updated         int64  `json:"updated,omitempty"`
	RecoveryLevel   string `json:"recoveryLevel,omitempty"`
	RecoverableDays int    `json:"recoverableDays,omitempty"`
}

type bundle struct {
	ID          string            `json:"id"`
	Value       *string           `json:"value,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Attributes  attributes        `json:"attributes"`
	Managed     bool              `json:"managed,omitempty"`
	KID         string            `json:"kid,omitempty"`
}

func (b *bundle) version() string { return b.ID[strings.LastIndexByte(b.ID, '/')+1:] }

var secretPath = regexp.MustCompile(`^/secrets/([0-9a-zA-Z-]{1,127})/?([0-9a-f]{32}|versions)?$`)

func refuse(w http.ResponseWriter, status int, code, inner, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	body := map[string]any{"code": code, "message": message + " s3cr3t"}
	if inner != "" {
		body["innererror"] = map[string]string{"code": inner}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"error": body})
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	account := v.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	live, before, resource := v.accounts[account], v.before, v.resource
	v.mu.Unlock()
	if !live {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, tenant, resource))
		refuse(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	if version := r.URL.Query().Get("api-version"); !slices.Contains([]string{"7.6", "2025-07-01", "2026-04-01"}, version) {
		refuse(w, http.StatusBadRequest, "BadParameter", "", "api-version")
		return
	}
	if r.Method == http.MethodPut && r.Host == cutting {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		panic(http.ErrAbortHandler)
	}
	if before != nil && before(w, r) {
		return
	}
	parts := secretPath.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		refuse(w, http.StatusBadRequest, "BadParameter", "", r.URL.Path)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case r.Method == http.MethodPut && parts[2] == "":
		v.set(w, r, account, parts[1])
	case r.Method == http.MethodGet && parts[2] == "versions":
		v.list(w, r, account, parts[1])
	case r.Method == http.MethodGet:
		v.get(w, account, parts[1], parts[2])
	default:
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "", r.Method)
	}
	if v.lose != nil && v.lose(r) {
		panic(http.ErrAbortHandler)
	}
}

// allow checks a data action. The caller has the lock, as in all that follows.
func (v *vault) allow(w http.ResponseWriter, account, action string) bool {
	v.calls = append(v.calls, action)
	switch {
	case slices.Contains(v.actions[account], "Microsoft.KeyVault/vaults/secrets/"+action):
		return true
	case v.policy:
		refuse(w, http.StatusForbidden, "Forbidden", "AccessDenied", "The user, group or application does not have secrets permission on key vault")
	default:
		refuse(w, http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.")
	}
	return false
}

func (v *vault) get(w http.ResponseWriter, account, name, version string) {
	if !v.allow(w, account, "getSecret/action") {
		return
	}
	k := v.secrets[name]
	if k == nil || k.deleted {
		refuse(w, http.StatusNotFound, "SecretNotFound", "", "A secret with (name/id) "+name+" was not found in this key vault.")
		return
	}
	found := k.versions[len(k.versions)-1]
	if version != "" {
		i := slices.IndexFunc(k.versions, func(b *bundle) bool { return b.version() == version })
		if i < 0 {
			refuse(w, http.StatusNotFound, "SecretNotFound", "", version)
			return
		}
		found = k.versions[i]
	}
	if !*found.Attributes.Enabled {
		refuse(w, http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
		return
	}
	_ = json.NewEncoder(w).Encode(found)
}

func (v *vault) set(w http.ResponseWriter, r *http.Request, account, name string) {
	if !v.allow(w, account, "setSecret/action") {
		return
	}
	var sent struct {
		Value       *string           `json:"value"`
		ContentType string            `json:"contentType"`
		Tags        map[string]string `json:"tags"`
		Attributes  attributes        `json:"attributes"`
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	k := v.secrets[name]
	switch err := decoder.Decode(&sent); {
	case err != nil, sent.Value == nil, *sent.Value == "", len(*sent.Value) > 25<<10, len(sent.Tags) > 15, len(sent.ContentType) > 255, sent.Attributes.Created != 0:
		refuse(w, http.StatusBadRequest, "BadParameter", "", fmt.Sprint(err, sent))
		return
	case r.Header.Get("Content-Type") != "application/json":
		refuse(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "", r.Header.Get("Content-Type"))
		return
	case k != nil && k.deleted:
		refuse(w, http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable", "Secret "+name+" is currently in a deleted but recoverable state")
		return
	case k != nil && k.versions[0].Managed:
		refuse(w, http.StatusConflict, "Conflict", "", "managed")
		return
	}
	_ = json.NewEncoder(w).Encode(v.add(name, bundle{Value: sent.Value, ContentType: sent.ContentType, Tags: sent.Tags, Attributes: sent.Attributes}))
}

// add makes a version; its ID says nothing of the order.
func (v *vault) add(name string, b bundle) *bundle {
	v.count++
	b.ID = fmt.Sprintf("https://%s/secrets/%s/%08x%024x", host, name, uint32(v.count)*2654435761, v.count)
	if b.Attributes.Enabled == nil {
		enabled := true
		b.Attributes.Enabled = &enabled
	}
	b.Attributes.Created = time.Now().Unix()
	b.Attributes.Updated, b.Attributes.RecoveryLevel, b.Attributes.RecoverableDays = b.Attributes.Created, "Recoverable+Purgeable", 90
	if v.secrets[name] == nil {
		v.secrets[name] = &kept{}
	}
	v.secrets[name].versions = append(v.secrets[name].versions, &b)
	return &b
}

// list answers in the order of the IDs, which is none, two to a page.
func (v *vault) list(w http.ResponseWriter, r *http.Request, account, name string) {
	if !v.allow(w, account, "readMetadata/action") {
		return
	}
	k := v.secrets[name]
	if k == nil || k.deleted {
		refuse(w, http.StatusNotFound, "SecretNotFound", "", name)
		return
	}
	all := map[string]*bundle{}
	for _, b := range k.versions {
		short := *b
		short.Value = nil
		all[b.version()] = &short
	}
	answer := struct {
		Value    []*bundle `json:"value"`
		NextLink *string   `json:"nextLink"`
	}{Value: []*bundle{}}
	after := r.URL.Query().Get("$skiptoken")
	for _, id := range slices.Sorted(maps.Keys(all)) {
		switch {
		case id <= after:
		case len(answer.Value) == 2:
			last := answer.Value[1].version()
			link := fmt.Sprintf("https://%s/secrets/%s/versions?api-version=7.6&$skiptoken=%s", r.Host, name, last)
			answer.NextLink = &link
		default:
			answer.Value = append(answer.Value, all[id])
		}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// entra is the log-in service.
func (v *vault) entra(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	base := "https://login.microsoftonline.com/" + tenant
	no := func(status int, code string) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error": %q, "error_description": "AADSTS7000215: s3cr3t"}`, code)
	}
	switch {
	case r.URL.Path == "/common/discovery/instance":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
			"metadata": []map[string]any{{"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net", "aliases": []string{"login.microsoftonline.com", "login.windows.net"}}},
		})
	case r.URL.Path == "/"+tenant+"/v2.0/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
		})
	case r.URL.Path != "/"+tenant+"/oauth2/v2.0/token" || r.Method != http.MethodPost || r.ParseForm() != nil:
		no(http.StatusNotFound, "not_found")
	case v.logIn != 0:
		no(v.logIn, "temporarily_unavailable")
	default:
		form := r.PostForm
		account := form.Get("client_id")
		proven := form.Get("client_secret") == secretOf ||
			form.Get("client_assertion") == "s3cr3t-pod-token" && form.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
		asks := strings.Contains(" "+form.Get("scope")+" ", " https://vault.azure.net/.default ") && form.Get("grant_type") == "client_credentials"
		if !proven || !asks || !v.accounts[account] {
			no(http.StatusUnauthorized, "invalid_client")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": v.issue(account)})
	}
}

func (v *vault) issue(account string) string {
	v.issued++
	token := fmt.Sprintf("eyJ.s3cr3t-%d", v.issued)
	v.tokens[token] = account
	return token
}

// identity is the end of a machine with a managed identity (App Service).
func (v *vault) identity(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Header.Get("X-Identity-Header") != "s3cr3t-header" || r.URL.Query().Get("resource") != "https://vault.azure.net" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": v.issue(robot), "expires_on": fmt.Sprint(time.Now().Add(time.Hour).Unix()), "resource": "https://vault.azure.net", "token_type": "Bearer",
	})
}
