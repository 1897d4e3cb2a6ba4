package githubactionsstore

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

func TestRepository(t *testing.T) { conformance(t, "acme/crm#INSTASENT_TOKEN") }

func TestEnvironment(t *testing.T) { conformance(t, "acme/crm@eu/west #1#INSTASENT_TOKEN") }

func TestOrganisation(t *testing.T) { conformance(t, "org:acme#INSTASENT_TOKEN") }

func conformance(t *testing.T, key string) {
	t.Helper()
	const refusing = "ghp_s3cr3t-but-refused"
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		h := newHub(t)
		return storetest.Harness{
			Store: opened(t, h.server.URL, goodToken),
			Key:   key,
			Bad: []string{
				"", "#", "TOKEN", "acme#TOKEN", "acme/crm", "acme/crm#", "acme/crm#token", "acme/crm#1TOKEN", "acme/crm#GITHUB_TOKEN", "acme/crm#A-B",
				"acme/..#TOKEN", "../crm#TOKEN", "acme/crm/x#TOKEN", "acme/crm@#TOKEN", "acme/crm@..#TOKEN", "acme/crm@a/../b#TOKEN", "acme/crm@a\nb#TOKEN",
				"org:#TOKEN", "org:a/b#TOKEN", "org:..#TOKEN", "acme/crm?x=y#TOKEN", "acme/crm%2f..#TOKEN",
			},
			Write:       func(t testing.TB, key, value string) { h.set(t, key, value) },
			Read:        h.read,
			Breaking:    opened(t, h.breaking(t), goodToken),
			Unreachable: opened(t, "http://"+closedPort(t), goodToken),
			Refused:     opened(t, h.server.URL, refusing),
			Secrets:     []string{refusing, goodToken, "s3cr3t"},
			Lacks:       storetest.Lacks{Fields: true, Reading: true, Empty: true, CompareAndSet: true},
		}
	})
}

func closedPort(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// breaking is the hub behind a connection that breaks in the middle of each write.
func (h *hub) breaking(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			h.server.Config.Handler.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body[:len(body)/2]))
		h.server.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// opened returns a store that logs in with a token.
func opened(t testing.TB, address, token string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{BaseURL: address + base, Auth: Auth{Method: "token", Token: secretFile(t, token)}, Create: true}
	for _, f := range change {
		f(&c)
	}
	store, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(func() { _ = store.(*Store).Close() })
	return store.(*Store)
}

// app returns a change that logs in as the App of the hub.
func (h *hub) app(t testing.TB) func(*Config) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h.appKey, h.appMay = key, everything().may
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return func(c *Config) {
		c.Auth = Auth{Method: "app", AppID: appID, InstallationID: installation, PrivateKey: secretFile(t, string(block))}
	}
}

func secretFile(t testing.TB, content string) rotator.SecretSource {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return rotator.SecretSource{File: name}
}
