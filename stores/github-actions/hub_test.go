package githubactionsstore

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/nacl/box"
)

// A hub stands in for GitHub: the calls for Actions secrets, as documented at
// https://docs.github.com/en/rest/actions/secrets. It checks what each request
// looks like and what its log-in may do, and opens what was sealed for it.
type hub struct {
	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex
	clock    time.Time // a second later at each request
	realTime bool      // the clock is that of this machine
	stopped  bool      // the clock stands still
	keyID    int
	public   *[32]byte
	private  *[32]byte
	repos    map[string][]string // owner/repo → environments
	orgs     []string
	secrets  map[string]*held // by the path of the API
	tokens   map[string]grant
	appMay   map[string]string
	appKey   *rsa.PrivateKey
	refuse   bool // the App's installation is suspended
	selects  []int64
	asked    []string
	hook     func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

type held struct {
	value            string
	created, updated time.Time
	visibility       string
	repositories     []int64
}

// A grant is what a token may do: permissions, or scopes of a classic token.
type grant struct {
	may     map[string]string
	classic []string
}

const (
	base         = "/api/v3"
	goodToken    = "github_pat_s3cr3t"
	appID        = "Iv23liAbc"
	installation = 4711
)

func everything() grant {
	return grant{may: map[string]string{"secrets": "write", "environments": "write", "organization_secrets": "write"}}
}

func newHub(t testing.TB) *hub {
	t.Helper()
	h := &hub{
		t: t, clock: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), secrets: map[string]*held{}, tokens: map[string]grant{goodToken: everything()},
		repos: map[string][]string{"acme/crm": {"production", "eu/west #1"}}, orgs: []string{"acme"},
	}
	h.newKey()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"/rate_limit", func(w http.ResponseWriter, _ *http.Request) { h.answer(w, http.StatusOK, map[string]any{}) })
	mux.HandleFunc("POST "+base+"/app/installations/{id}/access_tokens", h.installation)
	for _, place := range []string{"/repos/{owner}/{repo}/actions/secrets", "/repos/{owner}/{repo}/environments/{environment}/secrets", "/orgs/{org}/actions/secrets"} {
		mux.HandleFunc("GET "+base+place+"/public-key", h.key)
		mux.HandleFunc("GET "+base+place+"/{name}", h.look)
		mux.HandleFunc("PUT "+base+place+"/{name}", h.put)
	}
	mux.HandleFunc("GET "+base+"/orgs/{org}/actions/secrets/{name}/repositories", h.repositories)
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.arrives(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *hub) newKey() {
	var err error
	h.keyID++
	if h.public, h.private, err = box.GenerateKey(rand.Reader); err != nil {
		h.t.Fatal(err)
	}
}

// arrives checks what all requests have in common.
func (h *hub) arrives(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case h.realTime:
		h.clock = time.Now().UTC().Truncate(time.Second)
	case !h.stopped:
		h.clock = h.clock.Add(time.Second)
	}
	w.Header().Set("Date", h.clock.Format(http.TimeFormat))
	h.asked = append(h.asked, r.Method+" "+r.URL.EscapedPath())
	if h.hook != nil && h.hook(w, r) {
		return false
	}
	accepts := []string{"application/vnd.github+json", "application/vnd.github.v3+json"}
	if !slices.Contains(accepts, r.Header.Get("Accept")) || r.Header.Get("X-GitHub-Api-Version") != "2022-11-28" || r.Header.Get("User-Agent") != "rotatord" {
		h.t.Errorf("%s has Accept %q, API version %q, User-Agent %q", r.URL.Path, r.Header.Get("Accept"), r.Header.Get("X-GitHub-Api-Version"), r.Header.Get("User-Agent"))
	}
	if !strings.HasSuffix(r.URL.Path, "/repositories") && r.URL.RawQuery != "" {
		h.t.Errorf("%s has the query %q", r.URL.Path, r.URL.RawQuery)
	}
	if strings.HasPrefix(r.URL.Path, base+"/app/") {
		return true // logs in by itself
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	given, known := h.tokens[token]
	if !bearer || !known {
		h.answer(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials"})
		return false
	}
	w.Header().Set("X-OAuth-Scopes", strings.Join(given.classic, ", "))
	return true
}

// allowed looks whether the place is there and the log-in may do that.
func (h *hub) allowed(w http.ResponseWriter, r *http.Request) bool {
	permission, scope, there := "secrets", "repo", false
	environments, repo := h.repos[r.PathValue("owner")+"/"+r.PathValue("repo")]
	switch {
	case r.PathValue("org") != "":
		permission, scope, there = "organization_secrets", "admin:org", slices.Contains(h.orgs, r.PathValue("org"))
	case r.PathValue("environment") != "":
		permission, there = "environments", repo && slices.Contains(environments, r.PathValue("environment"))
	default:
		there = repo
	}
	given := h.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	has := given.may[permission]
	if slices.Contains(given.classic, scope) {
		has = "write"
	}
	switch {
	case !there, given.classic != nil && has == "":
		h.answer(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return false
	case has == "", r.Method != http.MethodGet && has != "write":
		h.answer(w, http.StatusForbidden, map[string]string{"message": "Resource not accessible by integration"})
		return false
	}
	return true
}

func (h *hub) key(w http.ResponseWriter, r *http.Request) {
	if h.allowed(w, r) {
		h.answer(w, http.StatusOK, map[string]string{"key_id": strconv.Itoa(h.keyID), "key": base64.StdEncoding.EncodeToString(h.public[:])})
	}
}

func (h *hub) look(w http.ResponseWriter, r *http.Request) {
	if !h.allowed(w, r) {
		return
	}
	secret, ok := h.secrets[r.URL.Path]
	if !ok {
		h.answer(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return
	}
	body := map[string]any{"name": r.PathValue("name"), "created_at": secret.created, "updated_at": secret.updated}
	if r.PathValue("org") != "" {
		body["visibility"] = secret.visibility
	}
	h.answer(w, http.StatusOK, body)
}

func (h *hub) put(w http.ResponseWriter, r *http.Request) {
	if !h.allowed(w, r) {
		return
	}
	org := r.PathValue("org") != ""
	var body struct {
		KeyID        string   `json:"key_id"`
		Sealed       string   `json:"encrypted_value"`
		Visibility   *string  `json:"visibility"`
		Repositories *[]int64 `json:"selected_repository_ids"`
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/json" {
		h.answer(w, http.StatusBadRequest, map[string]string{"message": "Problems parsing JSON"})
		return
	}
	sealed, err := base64.StdEncoding.DecodeString(body.Sealed)
	value, opened := box.OpenAnonymous(nil, sealed, h.public, h.private)
	if err != nil || !opened || body.KeyID != strconv.Itoa(h.keyID) {
		h.answer(w, http.StatusUnprocessableEntity, map[string]string{"message": "Bad request"})
		return
	}
	if org != (body.Visibility != nil) || (org && *body.Visibility != "selected" && body.Repositories != nil) || len(value) > 48<<10 {
		h.t.Errorf("PUT %s with visibility %v and repositories %v", r.URL.Path, body.Visibility, body.Repositories)
	}
	secret, found := h.secrets[r.URL.Path]
	status := http.StatusNoContent
	if !found {
		secret, status = &held{created: h.clock}, http.StatusCreated
		h.secrets[r.URL.Path] = secret
	}
	secret.value, secret.updated = string(value), h.clock
	if org {
		secret.visibility, secret.repositories = *body.Visibility, nil // without a list it becomes empty
		if body.Repositories != nil {
			secret.repositories = *body.Repositories
		}
	}
	w.WriteHeader(status)
}

func (h *hub) repositories(w http.ResponseWriter, r *http.Request) {
	if !h.allowed(w, r) {
		return
	}
	secret, ok := h.secrets[strings.TrimSuffix(r.URL.Path, "/repositories")]
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	if !ok || size < 1 || size > 100 || page < 1 {
		h.t.Errorf("GET %s?%s", r.URL.Path, r.URL.RawQuery)
	}
	list := []map[string]any{}
	shown := secret.repositories[:len(secret.repositories)-len(h.selects)] // the last ones are not visible to us
	for i := (page - 1) * size; i < min(page*size, len(shown)); i++ {
		list = append(list, map[string]any{"id": shown[i], "name": "r"})
	}
	h.answer(w, http.StatusOK, map[string]any{"total_count": len(secret.repositories), "repositories": list})
}

// installation answers an App that proves itself with its key.
func (h *hub) installation(w http.ResponseWriter, r *http.Request) {
	own := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(own, &claims, func(*jwt.Token) (any, error) { return &h.appKey.PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(appID), jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	switch {
	case err != nil, time.Until(claims.ExpiresAt.Time) > 10*time.Minute, claims.IssuedAt == nil:
		h.answer(w, http.StatusUnauthorized, map[string]string{"message": "A JSON web token could not be decoded"})
	case r.PathValue("id") != strconv.Itoa(installation):
		h.answer(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
	case h.refuse:
		h.answer(w, http.StatusForbidden, map[string]string{"message": "This installation has been suspended"})
	default:
		token := fmt.Sprintf("ghs_s3cr3t%d", len(h.tokens))
		h.tokens[token] = grant{may: h.appMay}
		h.answer(w, http.StatusCreated, map[string]any{"token": token, "expires_at": time.Now().Add(time.Hour), "permissions": h.appMay})
	}
}

// answer answers; a refusal quotes a secret, as one may.
func (h *hub) answer(w http.ResponseWriter, status int, body any) {
	if message, ok := body.(map[string]string); ok && status >= 400 {
		message["message"] += " (you sent s3cr3t)"
	}
	raw, err := json.Marshal(body)
	if err != nil {
		h.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// path is where the stand-in keeps what is under a key.
func path(t testing.TB, key string) string {
	t.Helper()
	p, err := parseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.environment = strings.ReplaceAll(p.environment, "/", "\x00") // the path is kept unescaped
	unescaped := strings.NewReplacer("%00", "/", "%20", " ", "%23", "#").Replace(p.path())
	return base + "/" + unescaped + "/" + p.name
}

// set is a write of somebody else.
func (h *hub) set(t testing.TB, key, value string) *held {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = h.clock.Add(time.Second)
	secret, ok := h.secrets[path(t, key)]
	if !ok {
		secret = &held{created: h.clock, visibility: "all"}
		h.secrets[path(t, key)] = secret
	}
	secret.value, secret.updated = value, h.clock
	return secret
}

// read is what a workflow gets.
func (h *hub) read(t testing.TB, key string) (string, bool) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	secret, ok := h.secrets[path(t, key)]
	if !ok {
		return "", false
	}
	return secret.value, true
}

func (h *hub) revokeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.tokens)
}

// grants replaces what all tokens may do.
func (h *hub) grants(token string, given grant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens, h.appMay = map[string]grant{token: given}, maps.Clone(given.may)
}

func (h *hub) hooks(hook func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}
