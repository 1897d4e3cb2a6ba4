package vaultstore

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/rotatord/rotatord/rotator"
)

// answering is an address of Vault whose writes are answered by the test.
func answering(t *testing.T, vault string, answer http.HandlerFunc) string {
	t.Helper()
	return between(t, vault, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if r.URL.Path != "/v1/secret/data/crm" || r.Header.Get("X-Vault-Token") == "" {
			t.Errorf("a write to %s, token %v", r.URL.Path, r.Header.Get("X-Vault-Token") != "")
		}
		answer(w, r)
	})
}

// What Vault refuses a write with, in its own words, and what a person is told.
// https://developer.hashicorp.com/vault/api-docs#http-status-codes; the words are
// those of the sources of Vault 1.14 and OpenBao 2.
func TestRefusals(t *testing.T) {
	vault := server(t)
	covered := map[int]bool{}
	for _, test := range []struct {
		status    int
		body      string
		permanent bool
		says      string
	}{
		{503, "Vault is sealed", false, "Vault is sealed"},
		{503, "API access to this namespace has been locked by an administrator", false, "locked the API of this namespace"},
		{503, "no active Vault instance found", false, "standby"},
		{503, "node is not active", false, "standby"},
		{500, "local node not active but active cluster node not found", false, "standby"},
		{500, "1 error occurred:\n\t* Vault is in standby mode\n\n", false, "standby"},
		{500, "1 error occurred:\n\t* cannot write to readonly storage\n\n", false, "read-only replica"},
		{400, "failed to persist lease entry: cannot write to readonly storage", false, "read-only replica"},
		{400, "path disabled in replication DR secondary mode", false, "disaster-recovery replica"},
		{429, `request path "secret/data/crm": rate limit quota exceeded`, false, "rate limit quota of Vault"},
		{429, `request path "secret/data/crm": lease count quota exceeded`, false, "lease count quota"},
		{400, "check-and-set parameter required for this call", true, "asks for check-and-set"},
		{400, "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly.", false, "turning the mount into KV version 2"},
		{404, "no handler for route \"secret/data/crm\". route entry not found.", true, "no such mount; check mount and namespace"},
		{404, "namespace not found", true, "no such namespace"},
		{412, "required index state not present", false, "not caught up"},
		{403, "1 error occurred:\n\t* permission denied\n\n", true, `the policy must give the capability "create"`},
	} {
		body, err := json.Marshal(map[string][]string{"errors": {test.body}})
		if err != nil {
			t.Fatal(err)
		}
		store := opened(t, answering(t, vault.Addr, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = w.Write(body)
		}), vault.RootToken)
		_, err = store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("s3cr3t")})
		if err == nil || rotator.IsPermanent(err) != test.permanent || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%d %q: Put = %v, permanent %v, no effect %v; want permanent %v, no effect, %q",
				test.status, test.body, err, rotator.IsPermanent(err), rotator.HadNoEffect(err), test.permanent, test.says)
		}
		if err != nil && (!strings.HasPrefix(err.Error(), `write "secret/data/crm": `) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%d %q: Put = %q; want one line that says what was done", test.status, test.body, err)
		}
		response := &api.ResponseError{StatusCode: test.status, Errors: []string{test.body}}
		if found, ok := known(response); ok {
			covered[slices.IndexFunc(refusals(), func(r refusal) bool { return r.status == found.status && r.words == found.words })] = true
		}
		if response.RawError = true; test.status != http.StatusPreconditionFailed {
			if _, ok := known(response); ok {
				t.Errorf("a page with %q is taken for an answer of Vault", test.body)
			}
		}
	}
	for _, r := range refusals() {
		if told, _, _ := strings.Cut(strings.SplitN(r.text, ";", 2)[0], ":"); !strings.Contains(readPage(t), told) {
			t.Errorf("%s does not say %q", page, told)
		}
	}
	if len(covered) != len(refusals()) {
		t.Errorf("%d refusals are tested, of %d", len(covered), len(refusals()))
	}
}

// A standby that can't forward sends us on; our log-in must not travel there.
func TestStandbyThatCannotForward(t *testing.T) {
	active := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer active.Close()
	vault := server(t)
	store := opened(t, answering(t, vault.Addr, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, active.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}), vault.RootToken)
	_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("s3cr3t")})
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "standby") ||
		!strings.Contains(err.Error(), strings.TrimPrefix(active.URL, "http://")) {
		t.Errorf("Put = %v; want an error about a standby with the other host, that can be tried again", err)
	}
}

// A Vault without an active node: the only one has stepped down and waits a
// while before it may be active again.
func TestStandby(t *testing.T) {
	vault := server(t)
	only(t, vault, "it may have no standby mode")
	store := opened(t, vault.Addr, vault.RootToken)
	if _, err := put(t, store, key, "v"); err != nil {
		t.Fatal(err)
	}
	vault.Must(t, http.MethodPut, "sys/step-down", nil)
	eventually(t, "the error says that the node is a standby", func() bool {
		_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("w"), Prev: "1"})
		return err != nil && !rotator.IsPermanent(err) && rotator.HadNoEffect(err) && strings.Contains(err.Error(), "standby")
	})
	if err := store.Ping(t.Context()); err == nil || rotator.IsPermanent(err) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("Ping of a standby = %v; want an error that says so and can be tried again", err)
	}
}

func TestRateLimitQuota(t *testing.T) {
	vault := server(t)
	store := opened(t, vault.Addr, vault.RootToken)
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	vault.Must(t, http.MethodPost, "sys/quotas/rate-limit/small", map[string]any{"path": "secret/", "rate": 1, "interval": "1h"})
	defer vault.Must(t, http.MethodDelete, "sys/quotas/rate-limit/small", nil)
	w := rotator.Write{Value: rotator.NewSecret("v")} // a read, then a write
	_, err := store.Put(t.Context(), key, w)
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "rate limit quota of Vault is used up") {
		t.Errorf("Put over the quota = %v; want an error that says so and can be tried again", err)
	}
	vault.Must(t, http.MethodDelete, "sys/quotas/rate-limit/small", nil)
	if version, err := store.Put(t.Context(), key, w); err != nil || version.ID != "1" {
		t.Errorf("Put after the quota = %q, %v; want version 1", version.ID, err)
	}
}

// Of a Vault that was never initialised every call says that it is sealed; only
// sys/seal-status tells. https://developer.hashicorp.com/vault/api-docs/system/seal-status
func TestNotInitialised(t *testing.T) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/v1/sys/seal-status" && r.Header.Get("X-Vault-Token") == "" {
			_, _ = w.Write([]byte(`{"type":"shamir","initialized":false,"sealed":true,"t":0,"n":0,"progress":0,"version":"1.14.1"}`))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"errors":["Vault is sealed"]}`))
	}))
	defer vault.Close()
	err := opened(t, vault.URL, "hvs.token").Ping(t.Context())
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "not initialised") {
		t.Errorf("Ping = %v; want an error that says so and can be tried again", err)
	}
}

// A log-in that hits what passes by itself is no refusal of the log-in.
func TestLogInHitsWhatPasses(t *testing.T) {
	for body, says := range map[string]string{
		`400 {"errors":["cannot write to readonly storage"]}`:             "read-only replica",
		`429 {"errors":["lease count quota exceeded"]}`:                   "lease count quota",
		`500 {"errors":["internal error"]}`:                               "500",
		`200 {"auth":{"mfa_requirement":{"mfa_request_id":"s3cr3t-id"}}}`: "second factor",
	} {
		vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/auth/jwt/login" {
				t.Errorf("a call to %s; want the log-in only", r.URL.Path)
			}
			status := map[string]int{"2": 200, "4": 400, "5": 500}[body[:1]]
			if body[:3] == "429" {
				status = http.StatusTooManyRequests
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body[4:]))
		}))
		file := tokenFile(t, "a.jwt.s3cr3t")
		err := opened(t, vault.URL, "", func(c *Config) { c.Auth = Auth{Method: "jwt", Role: "r", JWTFile: file} }).Ping(t.Context())
		vault.Close()
		if err == nil || rotator.IsPermanent(err) != (says == "second factor") || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Ping = %v, permanent %v; want %q", body, err, rotator.IsPermanent(err), says)
		}
	}
}

// A call is refused, and then Vault can't say whether the token is to blame: no
// log-in is spent, and the call can be made again.
func TestNobodyCanTell(t *testing.T) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/auth/jwt/login":
			_, _ = w.Write([]byte(`{"auth":{"client_token":"hvs.token","lease_duration":3600,"renewable":true}}`))
		case "/v1/auth/token/lookup-self":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"errors":["permission denied"]}`))
		}
	}))
	defer vault.Close()
	address, logins := counting(t, vault.URL)
	file := tokenFile(t, "a.jwt")
	store := opened(t, address, "", func(c *Config) { c.KVVersion, c.Auth = 2, Auth{Method: "jwt", Role: "r", JWTFile: file} })
	_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("v")})
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || logins.Load() != 1 {
		t.Errorf("Put = %v after %d log-ins; want an error that can be tried again, after one", err, logins.Load())
	}
}
