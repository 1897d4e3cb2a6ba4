package vaultstore

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

const allowed = `path "secret/data/crm" { capabilities = ["create", "read", "update"] }`

// appRole makes a role and a store that logs in with it.
func appRole(t *testing.T, vault *testservers.VaultServer, ttl string) *Store {
	t.Helper()
	vault.Must(t, http.MethodPut, "sys/policy/rotatord", map[string]string{"policy": allowed})
	vault.Must(t, http.MethodPost, "auth/approle/role/rotatord", map[string]any{
		"token_policies": []string{"rotatord"}, "token_ttl": ttl, "token_max_ttl": "1h",
	})
	id, _ := vault.Must(t, http.MethodGet, "auth/approle/role/rotatord/role-id", nil)["role_id"].(string)
	secret, _ := vault.Must(t, http.MethodPost, "auth/approle/role/rotatord/secret-id", nil)["secret_id"].(string)
	return opened(t, vault.Addr, "", func(c *Config) {
		c.Auth = Auth{Method: "approle", RoleID: id, SecretID: rotator.SecretSource{File: tokenFile(t, secret)}}
	})
}

func TestAppRole(t *testing.T) {
	vault := server(t)
	store := appRole(t, vault, "30m")
	work := func(what, value string) string {
		t.Helper()
		if _, err := put(t, store, key, value); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return store.session.now.client.Token()
	}
	first := work("the first call", "1")
	if again := work("the second call", "2"); again != first {
		t.Errorf("the second call logged in again")
	}

	store.session.now.renewAt = time.Now()
	if again := work("a call when two thirds of the life are over", "3"); again != first {
		t.Errorf("the log-in was made anew; want it renewed")
	}
	renewed := vault.Must(t, http.MethodPost, "auth/token/lookup", map[string]string{"token": first})
	if renewed["last_renewal"] == nil || time.Until(store.session.now.renewAt) < 15*time.Minute {
		t.Errorf("last renewal %v, next at %v; want a renewed token", renewed["last_renewal"], store.session.now.renewAt)
	}

	store.session.now.renewAt, store.session.now.life = time.Now(), 3*time.Hour
	second := work("a call when renewing gives too little", "4")
	if second == first {
		t.Errorf("the log-in was renewed; want a new one")
	}

	vault.Must(t, http.MethodPost, "auth/token/revoke", map[string]string{"token": second})
	if third := work("a call after the token was revoked", "5"); third == second {
		t.Errorf("the revoked token is still used")
	}
	_, err := store.Get(t.Context(), "billing#F")
	if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), `capability "read"`) {
		t.Errorf("Get of what the policy forbids = %v; want a permanent error that names the capability", err)
	}
}

// A token that lives a second: the store outlives it.
func TestShortLife(t *testing.T) {
	vault := server(t)
	store := appRole(t, vault, "1s")
	if _, err := put(t, store, key, "1"); err != nil {
		t.Fatal(err)
	}
	first := store.session.now.client.Token()
	store.session.now.renewAt = time.Time{} // as if the clock had gone wrong: Vault is the one that says no
	eventually(t, "the token expires", func() bool {
		status, _, err := vault.Call(t.Context(), http.MethodPost, "auth/token/lookup", map[string]string{"token": first})
		return err == nil && status != http.StatusOK
	})
	if _, err := put(t, store, key, "2"); err != nil || store.session.now.client.Token() == first {
		t.Errorf("Put after the token's end = %v; want a new log-in", err)
	}
}

func TestRefusedLogIns(t *testing.T) {
	vault := server(t)
	role := appRole(t, vault, "30m").config.Auth
	wrong := tokenFile(t, "s3cr3t-secret-id")
	for name, test := range map[string]struct {
		auth      Auth
		permanent bool
	}{
		"wrong token":      {Auth{Method: "token_file", TokenFile: tokenFile(t, "s3cr3t-token")}, true},
		"no token":         {Auth{Method: "token_file", TokenFile: "/nonexistent/token"}, false},
		"not a token":      {Auth{Method: "token_file", TokenFile: tokenFile(t, "s3cr3t\nlines")}, true},
		"wrong secret ID":  {Auth{Method: "approle", RoleID: role.RoleID, SecretID: rotator.SecretSource{File: wrong}}, true},
		"wrong role":       {Auth{Method: "approle", RoleID: "no-role", SecretID: role.SecretID}, true},
		"wrong auth mount": {Auth{Method: "approle", RoleID: role.RoleID, SecretID: role.SecretID, Mount: "nope"}, true},
		"no variable":      {Auth{Method: "token", Token: rotator.SecretSource{Env: "ROTATORD_TEST_UNSET"}}, false},
	} {
		store := opened(t, vault.Addr, "", func(c *Config) { c.Auth = test.auth })
		err := store.Ping(t.Context())
		if err == nil || rotator.IsPermanent(err) != test.permanent || !rotator.HadNoEffect(err) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Ping = %v, permanent %v; want permanent %v", name, err, rotator.IsPermanent(err), test.permanent)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "log in") {
			t.Errorf("%s: Ping = %v; want an error that speaks of the log-in", name, err)
		}
	}
}

func TestTokenFileIsReadAnew(t *testing.T) {
	vault := server(t)
	create := func() string {
		token, _ := vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{"ttl": "1h"})["client_token"].(string)
		return token
	}
	token := create()
	store := opened(t, vault.Addr, token)
	if err := store.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(store.session.now.renewAt); left < 30*time.Minute || left > time.Hour {
		t.Errorf("a token of an hour is renewed in %v", left)
	}
	writeFile(t, store.config.Auth.TokenFile, create())
	vault.Must(t, http.MethodPost, "auth/token/revoke", map[string]string{"token": token})
	if _, err := put(t, store, key, "v"); err != nil {
		t.Errorf("Put after the file got a new token = %v; want nil", err)
	}
}

// standIn answers like a Vault with a KV mount of version 2 and one log-in by
// Kubernetes; it refuses every request that is not as documented.
// https://developer.hashicorp.com/vault/api-docs/auth/kubernetes#login
func standIn(t *testing.T, namespace string) http.Handler {
	t.Helper()
	var mu sync.Mutex
	logins, refused := 0, 0
	token := func() string { return fmt.Sprintf("hvs.of-login-%d", logins) }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		answer := func(status int, body string) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
		if got := r.Header.Get("X-Vault-Namespace"); got != namespace || r.Header.Get("X-Vault-Request") != "true" || r.Header.Get("X-Foreign") != "" {
			t.Errorf("%s %s: headers %v; want namespace %q", r.Method, r.URL, r.Header, namespace)
		}
		if r.URL.Path == "/v1/auth/k8s/west/login" {
			var body map[string]string
			err := json.NewDecoder(r.Body).Decode(&body)
			want := map[string]string{"jwt": "the.pods.jwt", "role": "rotatord"}
			if body["jwt"] == "an.expired.jwt" {
				refused++
				answer(http.StatusForbidden, `{"errors":["permission denied"]}`)
				return
			}
			if err != nil || !cmp.Equal(body, want) || r.Header.Get("X-Vault-Token") != "" || (r.Method != http.MethodPut && r.Method != http.MethodPost) {
				t.Errorf("log-in %s with %v, %v, token %q", r.Method, body, err, r.Header.Get("X-Vault-Token"))
				answer(http.StatusForbidden, `{"errors":["permission denied"]}`)
				return
			}
			logins++
			answer(http.StatusOK, `{"auth":{"client_token":"`+token()+`","lease_duration":3600,"renewable":true}}`)
			return
		}
		if r.Header.Get("X-Vault-Token") != token() {
			answer(http.StatusForbidden, `{"errors":["permission denied"]}`)
			return
		}
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/sys/internal/ui/mounts/secret":
			answer(http.StatusOK, `{"data":{"type":"kv","options":{"version":"2"}}}`)
		case "GET /v1/secret/data/crm":
			answer(http.StatusOK, `{"data":{"data":{"INSTASENT_TOKEN":"v"},"metadata":{"version":7,"created_time":"2026-01-02T03:04:05.6Z"}}}`)
		case "GET /v1/secret/data/refused":
			answer(http.StatusOK, fmt.Sprintf(`{"data":{"data":{"F":"%d"},"metadata":{"version":1}}}`, refused))
		case "GET /v1/secret/data/expire":
			logins++ // the token of the last log-in is no longer accepted
			answer(http.StatusForbidden, `{"errors":["permission denied"]}`)
		default:
			answer(http.StatusNotFound, `{"errors":[]}`)
		}
	})
}

func TestKubernetes(t *testing.T) {
	server := httptest.NewServer(standIn(t, "team-a"))
	defer server.Close()
	jwt := filepath.Join(t.TempDir(), "jwt")
	writeFile(t, jwt, "the.pods.jwt\n")
	store := opened(t, server.URL, "", func(c *Config) {
		c.Namespace, c.Auth = "team-a", Auth{Method: "kubernetes", Role: "rotatord", JWTFile: jwt, Mount: "k8s/west/"}
	})
	for range 2 {
		got, err := store.Get(t.Context(), key)
		want := time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC)
		if err != nil || got.ID != "7" || got.Value.Reveal() != "v" || !got.At.Equal(want) {
			t.Errorf("Get = %+v, %v; want version 7", got, err)
		}
	}
	if got := store.session.now.client.Token(); got != "hvs.of-login-1" {
		t.Errorf("the token is %q; want that of the one log-in", got)
	}
	if _, err := store.Get(t.Context(), "expire#F"); !rotator.IsPermanent(err) {
		t.Errorf("Get that is refused with a new log-in too = %v; want a permanent error", err)
	}
	if got, err := store.Get(t.Context(), key); err != nil || got.ID != "7" {
		t.Errorf("Get after it = %v, %v; want a new log-in", got.ID, err)
	}
	writeFile(t, jwt, "an.expired.jwt")
	_, _ = store.Get(t.Context(), "expire#F") // ends the log-in; another can't be had
	if _, err := store.Get(t.Context(), key); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "Vault may review its tokens") || strings.Contains(err.Error(), "jwt") {
		t.Errorf("Get when no log-in works = %v; want a permanent error that says what to look at", err)
	}
	writeFile(t, jwt, "the.pods.jwt")
	if got, err := store.Get(t.Context(), "refused#F"); err != nil || got.Value.Reveal() != "2" {
		t.Errorf("log-ins were tried %q times, %v; want once for each of two calls", got.Value.Reveal(), err)
	}
	missing := opened(t, server.URL, "", func(c *Config) {
		c.Auth = Auth{Method: "kubernetes", Role: "rotatord", JWTFile: filepath.Join(t.TempDir(), "none")}
	})
	if err := missing.Ping(t.Context()); err == nil || !rotator.HadNoEffect(err) {
		t.Errorf("Ping without a service account = %v; want an error", err)
	}
}

// What the environment says of Vault is for its own tools, not for this store.
func TestEnvironmentIsIgnored(t *testing.T) {
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_PROXY_ADDR": "http://127.0.0.1:1",
		"VAULT_HTTP_PROXY": "http://127.0.0.1:1", "VAULT_TOKEN": "hvs.foreign", "VAULT_NAMESPACE": "foreign",
		"VAULT_HEADERS": `{"X-Foreign": "1"}`, "VAULT_MAX_RETRIES": "9", "VAULT_SKIP_VERIFY": "true", "VAULT_CLIENT_TIMEOUT": "1",
	} {
		t.Setenv(name, value)
	}
	server := httptest.NewServer(standIn(t, ""))
	defer server.Close()
	jwt := tokenFile(t, "the.pods.jwt")
	store := opened(t, server.URL, "", func(c *Config) {
		c.Auth = Auth{Method: "kubernetes", Role: "rotatord", JWTFile: jwt, Mount: "k8s/west"}
	})
	if got, err := store.Get(t.Context(), key); err != nil || got.ID != "7" {
		t.Errorf("Get = %v, %v; want version 7", got.ID, err)
	}
}

func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(standIn(t, ""))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is refused
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	jwt := tokenFile(t, "the.pods.jwt")
	auth := func(c *Config) {
		c.Auth = Auth{Method: "kubernetes", Role: "rotatord", JWTFile: jwt, Mount: "k8s/west"}
	}

	_, err := opened(t, server.URL, "", auth).Get(t.Context(), key)
	if err == nil || rotator.IsPermanent(err) || !strings.Contains(err.Error(), "certificate") || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("Get from a server of another CA = %v; want an error that names ca_file", err)
	}
	if _, err := opened(t, server.URL, "", auth, func(c *Config) { c.CAFile = ca }).Get(t.Context(), key); err != nil {
		t.Errorf("Get with ca_file = %v; want nil", err)
	}
	var field *rotator.FieldError
	_, err = New(t.Context(), Config{Address: server.URL, CAFile: jwt, Auth: Auth{Method: "token_file", TokenFile: jwt}})
	if !errors.As(err, &field) || field.Path != "ca_file" {
		t.Errorf("New with a ca_file without certificates = %v; want an error of that field", err)
	}
}

// Whatever answers at the address, the error is short, classified, and shows nothing of the answer.
func TestOddAnswers(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for name, test := range map[string]struct {
		handler   http.HandlerFunc
		permanent bool
		says      string
	}{
		"a page":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>s3cr3t")) }, false, "not one of Vault"},
		"an empty page": {func(http.ResponseWriter, *http.Request) {}, false, ""},
		"another JSON":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"s3cr3t": 1}`)) }, true, ""},
		"a long page":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 8<<20)) }, false, "longer than 1048576 bytes"},
		"400":           {status(http.StatusBadRequest), true, ""},
		"429":           {status(http.StatusTooManyRequests), false, ""},
		"500":           {status(http.StatusInternalServerError), false, ""},
		"502 of a page": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>s3cr3t", http.StatusBadGateway) }, false, ""},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/s3cr3t", http.StatusTemporaryRedirect)
		}, false, ""},
		"a closed line": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				test.handler(w, r)
			}))
			defer server.Close()
			store := opened(t, server.URL, "hvs.s3cr3t")
			_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("s3cr3t")})
			if err == nil || rotator.IsPermanent(err) != test.permanent || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("Put = %v, permanent %v, no effect %v; want permanent %v without effect, and %q", err, rotator.IsPermanent(err), rotator.HadNoEffect(err), test.permanent, test.says)
			}
			if text := err.Error(); strings.Contains(text, "s3cr3t") || strings.Contains(text, "http://") || strings.Contains(text, "<html>") || strings.Contains(text, "\n") {
				t.Errorf("the error shows too much: %v", err)
			}
			if calls.Load() > 2 {
				t.Errorf("%d calls were made; the client retries by itself", calls.Load())
			}
		})
	}
}

// Of a write, only an error before the connection stands surely had no effect.
func TestNetworkErrors(t *testing.T) {
	for _, test := range []struct {
		err      error
		noEffect bool
	}{
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, true},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, true},
		{&net.DNSError{Name: "vault", IsNotFound: true}, true},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, false},
		{io.ErrUnexpectedEOF, false},
	} {
		err := call{"write", "secret/data/crm", "update"}.explain(t.Context(), &url.Error{Op: "Put", URL: "http://s3cr3t", Err: test.err})
		if rotator.HadNoEffect(err) != test.noEffect || rotator.IsPermanent(err) || !errors.Is(err, test.err) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%v becomes %v, no effect %v; want %v", test.err, err, rotator.HadNoEffect(err), test.noEffect)
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"errors":["s3cr3t"]}`))
	}
}
