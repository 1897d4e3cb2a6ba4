package vaultstore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

// opened returns a store that logs in with a token.
func opened(t testing.TB, address, token string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{Address: address, Auth: Auth{Method: "token_file", TokenFile: tokenFile(t, token)}}
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

func mount(name string) func(*Config) { return func(c *Config) { c.Mount = name } }

func TestKV1(t *testing.T) { conformance(t, "kv", storetest.Lacks{}) }

func TestKV2(t *testing.T) { conformance(t, "secret", storetest.Lacks{}) }

func conformance(t *testing.T, at string, lacks storetest.Lacks) {
	t.Helper()
	vault := server(t)
	refusing := "hvs.s3cr3t-but-refused"
	places := 0
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		places++
		secret := fmt.Sprintf("team/place %d/crm", places)
		field := func(key string) string { return strings.TrimPrefix(key, secret+"#") }
		return storetest.Harness{
			Store: opened(t, vault.Addr, vault.RootToken, mount(at)),
			Key:   secret + "#INSTASENT_TOKEN",
			Bad: []string{
				"../sys/policy#x", "a/../../sys/policy#x", "a/..#x", "/crm#x", "crm/#x", "a//b#x", "./a#x", "crm", "crm#", "#x", "", "a\nb#x",
			},
			Sibling: func(i int) string { return fmt.Sprintf("%s#OTHER.%d", secret, i) },
			Write: func(t testing.TB, key, value string) {
				fields := fieldsOf(t, vault, at, secret)
				fields[field(key)] = value
				vault.Must(t, http.MethodPost, pathOf(at, secret), bodyOf(at, fields))
			},
			Read: func(t testing.TB, key string) (string, bool) {
				value, ok := fieldsOf(t, vault, at, secret)[field(key)].(string)
				return value, ok
			},
			Breaking:    opened(t, breaking(t, vault.Addr), vault.RootToken, mount(at)),
			Unreachable: opened(t, "http://"+closedPort(t), vault.RootToken, mount(at)),
			Refused:     opened(t, vault.Addr, refusing, mount(at)),
			Secrets:     []string{refusing, "s3cr3t"},
			Lacks:       lacks,
		}
	})
}

func pathOf(at, secret string) string {
	escaped := (&url.URL{Path: secret}).EscapedPath()
	if at == "secret" {
		return at + "/data/" + escaped
	}
	return at + "/" + escaped
}

func bodyOf(at string, fields map[string]any) any {
	if at == "secret" {
		return map[string]any{"data": fields}
	}
	return fields
}

func fieldsOf(t testing.TB, vault *testservers.VaultServer, at, secret string) map[string]any {
	t.Helper()
	data := vault.Must(t, http.MethodGet, pathOf(at, secret), nil)
	if at == "secret" {
		data, _ = data["data"].(map[string]any)
	}
	if data == nil {
		data = map[string]any{}
	}
	return data
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

// between puts a proxy before Vault, which writes pass as the test says.
func between(t testing.TB, vault string, write func(http.ResponseWriter, *http.Request, http.Handler)) string {
	t.Helper()
	target, err := url.Parse(vault)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && !strings.HasPrefix(r.URL.Path, "/v1/sys/") && !strings.HasPrefix(r.URL.Path, "/v1/auth/") {
			write(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// breaking is an address of Vault where every write breaks off in the middle of its body.
func breaking(t testing.TB, vault string) string {
	t.Helper()
	return between(t, vault, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = sendHalf(r.Context(), vault, r, body)
		}
		if err != nil {
			t.Errorf("send half of a write: %v", err)
		}
		panic(http.ErrAbortHandler)
	})
}

func sendHalf(ctx context.Context, vault string, r *http.Request, body []byte) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(vault, "http://"))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: vault\r\nX-Vault-Token: %s\r\nX-Vault-Request: true\r\nContent-Length: %d\r\n\r\n%s",
		r.URL.EscapedPath(), r.Header.Get("X-Vault-Token"), len(body), body[:len(body)/2]); err != nil {
		return err
	}
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return nil // Vault hung up, which is as good an answer
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode/100 == 2 {
		return fmt.Errorf("vault took half of a write: %s", answer.Status)
	}
	return nil
}

func tokenFile(t testing.TB, token string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	writeFile(t, name, token+"\n")
	return name
}

// put puts a value over whatever is there and returns the error.
func put(t testing.TB, store *Store, key, value string) (rotator.Version, error) {
	t.Helper()
	now, err := store.Get(t.Context(), key)
	if err != nil && statusOf(err) != 0 {
		return rotator.Version{}, err
	}
	return store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret(value), Prev: now.ID, Attempt: "a"})
}
