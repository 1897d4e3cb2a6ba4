package kubernetesstore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

// A kube is a cluster to test against.
type kube struct {
	addr, ca    string
	admin, user string   // tokens; the user may do what a role allows
	standIn     *standIn // nil: the real one
}

// each runs a test against the stand-in and, where one is asked for, against a
// real API server.
func each(t *testing.T, test func(t *testing.T, k kube)) {
	t.Helper()
	t.Run("stand-in", func(t *testing.T) { test(t, newStandIn(t)) })
	t.Run("kube-apiserver", func(t *testing.T) {
		server := testservers.KubeAPI(t)
		test(t, kube{addr: server.Addr, ca: server.CA, admin: server.AdminToken, user: server.RotatordToken})
	})
}

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		places := 0
		refusing := "s3cr3t-but-refused"
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			places++
			namespace := k.namespace(t, fmt.Sprintf("place-%d", places))
			create := func(c *Config) { c.Create = true }
			return storetest.Harness{
				Store: k.opened(t, k.admin, create),
				Key:   namespace + "/crm#INSTASENT_TOKEN",
				Bad: []string{
					"../crm#K", "a/../crm#K", "a/..#K", "a/crm#..", "a/crm#..K", "a/crm#.", "a/crm", "a/crm#", "a/#K", "#K", "", "crm#K", "/crm#K",
					"A/crm#K", "a.b/crm#K", "a/Crm#K", "a/b/crm#K", "a/crm#b/c", "a/crm#b c", "a/crm#b\n", "a/crm?x#K", "a/crm#K#L",
				},
				Sibling: func(i int) string { return fmt.Sprintf("%s/crm#OTHER.%d", namespace, i) },
				Write:   k.write,
				Read:    k.read,
				Breaking: func() rotator.Store {
					return between(t, k, breaking).opened(t, k.admin, create)
				}(),
				Unreachable: kube{addr: "https://" + closedPort(t), ca: k.ca}.opened(t, k.admin, create),
				Refused:     k.opened(t, refusing, create),
				Secrets:     []string{refusing, k.admin, "s3cr3t", base64.StdEncoding.EncodeToString([]byte("s3cr3t"))[:8]},
			}
		})
	})
}

// opened returns a store that logs in with a token.
func (k kube) opened(t testing.TB, token string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{Kubeconfig: k.kubeconfig(t, map[string]any{"token": token})}
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

// kubeconfig writes a file whose context, main, is this cluster.
func (k kube) kubeconfig(t testing.TB, user map[string]any) string {
	t.Helper()
	cluster := map[string]any{"server": k.addr, "certificate-authority-data": []byte(k.ca)}
	named := func(kind string, what any) []any { return []any{map[string]any{"name": "main", kind: what}} }
	return writeJSON(t, filepath.Join(t.TempDir(), "kubeconfig"), map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "main",
		"clusters": named("cluster", cluster), "users": named("user", user),
		"contexts": named("context", map[string]any{"cluster": "main", "user": "main"}),
	})
}

func writeJSON(t testing.TB, name string, content any) string {
	t.Helper()
	raw, err := json.Marshal(content)
	if err == nil {
		err = os.WriteFile(name, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// call makes a call as the administrator; body is sent as JSON unless it is nil.
func (k kube) call(t testing.TB, method, path, contentType string, body any) (int, map[string]any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if body == nil {
		raw = nil
	}
	request, err := http.NewRequestWithContext(t.Context(), method, k.addr+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+k.admin)
	request.Header.Set("Content-Type", contentType)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: k.tls()}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var decoded map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&decoded); err != nil && answer.StatusCode/100 == 2 && answer.ContentLength != 0 {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer.StatusCode, decoded
}

func (k kube) must(t testing.TB, method, path, contentType string, body any) map[string]any {
	t.Helper()
	status, answer := k.call(t, method, path, contentType, body)
	if status/100 != 2 {
		t.Fatalf("%s %s = %d, %v", method, path, status, answer)
	}
	return answer
}

func (k kube) tls() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(k.ca))
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func (k kube) namespace(t testing.TB, name string) string {
	t.Helper()
	k.must(t, http.MethodPost, "/api/v1/namespaces", "application/json", map[string]any{"metadata": map[string]any{"name": name}})
	return name
}

func pathOf(t testing.TB, key string) (path string, p place) {
	t.Helper()
	p, err := parseKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return "/" + p.path(true), p
}

// make makes the Secret of a key, with that key and whatever else it should have.
func (k kube) make(t testing.TB, key, value string, more map[string]any) {
	t.Helper()
	_, p := pathOf(t, key)
	secret := merged(map[string]any{"metadata": map[string]any{"name": p.secret}, "data": map[string]any{p.key: encoded(value)}}, more)
	k.must(t, http.MethodPost, "/"+p.path(false)+"?fieldManager=kubectl-create", "application/json", secret)
}

// patch changes the Secret of a key as another program would.
func (k kube) patch(t testing.TB, key string, change map[string]any) {
	t.Helper()
	path, _ := pathOf(t, key)
	k.must(t, http.MethodPatch, path+"?fieldManager=kubectl-edit", "application/merge-patch+json", change)
}

func (k kube) write(t testing.TB, key, value string) {
	t.Helper()
	path, p := pathOf(t, key)
	if status, _ := k.call(t, http.MethodGet, path, "", nil); status == http.StatusNotFound {
		k.make(t, key, value, nil)
		return
	}
	k.patch(t, key, map[string]any{"data": map[string]any{p.key: encoded(value)}})
}

func (k kube) read(t testing.TB, key string) (string, bool) {
	t.Helper()
	path, p := pathOf(t, key)
	status, secret := k.call(t, http.MethodGet, path, "", nil)
	if status == http.StatusNotFound {
		return "", false
	}
	text, ok := child(secret, "data")[p.key].(string)
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(value), ok
}

func encoded(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }

func pemOf(server *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
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

// between puts a proxy before a cluster, which writes of Secrets pass as the test says.
func between(t testing.TB, k kube, write func(t testing.TB, k kube, w http.ResponseWriter, r *http.Request, pass http.Handler)) kube {
	t.Helper()
	target, err := url.Parse(k.addr)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: k.tls()},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && secretsPath.MatchString(r.URL.Path) {
			write(t, k, w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return kube{addr: server.URL, ca: pemOf(server), admin: k.admin, user: k.user}
}

// breaking breaks every write off in the middle of its body.
func breaking(t testing.TB, k kube, _ http.ResponseWriter, r *http.Request, _ http.Handler) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = sendHalf(r.Context(), k, r, body)
	}
	if err != nil {
		t.Errorf("send half of a write: %v", err)
	}
	panic(http.ErrAbortHandler)
}

func sendHalf(ctx context.Context, k kube, r *http.Request, body []byte) error {
	connection, err := (&tls.Dialer{Config: k.tls()}).DialContext(ctx, "tcp", strings.TrimPrefix(k.addr, "https://"))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: cluster\r\nAuthorization: %s\r\nContent-Type: %s\r\nAccept: application/json\r\n"+
		"User-Agent: half\r\nContent-Length: %d\r\n\r\n%s",
		r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), len(body), body[:len(body)/2]); err != nil {
		return err
	}
	if err := connection.(*tls.Conn).CloseWrite(); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return nil // the server hung up, which is as good an answer
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode/100 == 2 {
		return fmt.Errorf("the cluster took half of a write: %s", answer.Status)
	}
	return nil
}
