package azurekeyvaultstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Our token is revoked, our secret is replaced, our application is switched off,
// and the log-in service is down.
func TestLogIn(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", "v")
	store := s.opened(t)
	if _, err := store.Get(t.Context(), "crm"); err != nil {
		t.Fatal(err)
	}
	s.change(func() { s.tokens = map[string]string{} })
	second, err := store.Put(t.Context(), "crm", write("w", first.version()))
	if err != nil {
		t.Fatalf("Put with a revoked token = %v; want a new log-in", err)
	}
	s.before = atPut(func() { s.change(func() { s.tokens = map[string]string{} }) })
	if _, err = store.Put(t.Context(), "crm", write("x", second.ID)); err != nil {
		t.Fatalf("Put with a token revoked in the middle = %v; want a new log-in", err)
	}
	wantRead(t, s, "x")

	s.change(func() { s.accounts[robot] = false })
	for call, err := range failures(t, store, second.ID) {
		wantError(t, call+" of an application that is off", err, true, true, "log in: refused", "401")
	}
	s.change(func() { s.accounts[robot] = true })
	for status, permanent := range map[int]bool{503: false, 429: false, 400: true} {
		s.change(func() { s.logIn = status })
		_, err = s.opened(t).Get(t.Context(), "crm")
		wantError(t, "Get while the log-in is answered", err, permanent, true, "log in:", fmt.Sprint(status))
	}
	s.change(func() { s.logIn = 0 })
	t.Setenv("EMPTY", "")
	_, err = s.opened(t, func(c *Config) { c.Auth.ClientSecret = rotator.SecretSource{Env: "EMPTY"} }).Get(t.Context(), "crm")
	wantError(t, "Get without a secret", err, false, true, `"EMPTY"`)

	// A vault, or who says to be one, that wants a token for another domain.
	s.change(func() { s.resource = "https://evil.example.com" })
	issued := s.issued
	_, err = s.opened(t).Get(t.Context(), "crm")
	wantError(t, "Get where the challenge is for another domain", err, false, true, "another domain")
	if s.issued != issued {
		t.Error("a token was asked for another domain than that of the vault")
	}
}

func TestMethods(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	s.put("crm", "v")
	podToken := filepath.Join(t.TempDir(), "token")
	writeFile(t, podToken, []byte("s3cr3t-pod-token"))
	machine := httptest.NewServer(http.HandlerFunc(s.identity))
	t.Cleanup(machine.Close)
	for name, test := range map[string]struct {
		auth Auth
		env  map[string]string
	}{
		"workload_identity":             {auth: Auth{Method: "workload_identity", TenantID: tenant, ClientID: robot, TokenFile: podToken}},
		"workload_identity, from AKS":   {auth: Auth{Method: "workload_identity"}, env: map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": robot, "AZURE_FEDERATED_TOKEN_FILE": podToken}},
		"managed_identity":              {auth: Auth{Method: "managed_identity"}, env: map[string]string{"IDENTITY_ENDPOINT": machine.URL, "IDENTITY_HEADER": "s3cr3t-header"}},
		"default, from the environment": {auth: Auth{}, env: map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": robot, "AZURE_CLIENT_SECRET": secretOf}},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			store := s.opened(t, func(c *Config) { c.Auth = test.auth })
			if err := store.Ping(t.Context()); err != nil {
				t.Fatalf("Ping = %v", err)
			}
			for range 2 {
				if now, err := store.Get(t.Context(), "crm"); err != nil || now.Value.Reveal() != "v" {
					t.Errorf("Get = %v, %v", now, err)
				}
				s.change(func() { clear(s.tokens) })
			}
		})
	}
	t.Setenv("AZURE_TENANT_ID", "")
	err := s.opened(t, func(c *Config) { c.Auth = Auth{Method: "workload_identity"} }).Ping(t.Context())
	wantError(t, "Ping without settings", err, true, true, "log in: method workload_identity has not all that it needs")
	writeFile(t, podToken, []byte("s3cr3t-wrong"))
	err = s.opened(t, func(c *Config) {
		c.Auth = Auth{Method: "workload_identity", TenantID: tenant, ClientID: robot, TokenFile: podToken}
	}).Ping(t.Context())
	wantError(t, "Ping with a wrong pod token", err, true, true, "log in: refused")
}

// A connection that breaks in the middle leaves the write in doubt, and one that
// was never made does not.
func TestConnections(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", "v")
	_, err := s.opened(t, at(cutting)).Put(t.Context(), "crm", write("s3cr3t", first.version()))
	wantError(t, "Put that breaks off", err, false, false)
	wantRead(t, s, "v")
	_, err = s.opened(t, at("other-vault.vault.azure.net")).Put(t.Context(), "crm", write("s3cr3t", first.version()))
	wantError(t, "Put to another server", err, false, true, "certificate")

	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			<-stuck
		}
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = s.opened(t).Put(ctx, "crm", write("s3cr3t", first.version()))
	wantError(t, "Put that takes too long", err, false, false)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put that takes too long = %v; want context.DeadlineExceeded", err)
	}
}

// A machine's identity endpoint that is being updated answers 404 or 410.
func TestIdentityEndpointIsUpdated(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	s.put("crm", "v")
	for _, status := range []int{http.StatusNotFound, http.StatusGone} {
		endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"error":"x"}`))
		}))
		t.Cleanup(endpoint.Close)
		store := s.opened(t, func(c *Config) { c.Auth = Auth{Method: "managed_identity"} })
		dial := store.session.transport.DialContext
		store.session.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "169.254.169.254:80" {
				return (&net.Dialer{}).DialContext(ctx, network, endpoint.Listener.Addr().String())
			}
			return dial(ctx, network, address)
		}
		if _, err := store.Get(t.Context(), "crm"); err == nil || rotator.IsPermanent(err) {
			t.Errorf("Get while the endpoint answers %d = %v; want an error that is tried again", status, err)
		}
	}
}
