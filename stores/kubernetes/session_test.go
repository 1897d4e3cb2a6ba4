package kubernetesstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

// Variables with which this test's binary is the log-in command of a kubeconfig.
const (
	credentialsVariable = "ROTATORD_TEST_CREDENTIALS" // the file with the token
	hangVariable        = "ROTATORD_TEST_HANG"
)

func TestMain(m *testing.M) {
	if os.Getenv(hangVariable) != "" {
		time.Sleep(3 * time.Second)
		os.Exit(1)
	}
	if file := os.Getenv(credentialsVariable); file != "" {
		token, err := os.ReadFile(file)
		if err != nil {
			os.Exit(1)
		}
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
			"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": map[string]any{"token": string(token)},
		})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// execUser is a user of a kubeconfig whose log-in is this test's binary.
func execUser(t testing.TB, variable, value string) map[string]any {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"exec": map[string]any{
		"apiVersion": "client.authentication.k8s.io/v1", "command": self, "interactiveMode": "IfAvailable",
		"env": []any{map[string]any{"name": variable, "value": value}},
	}}
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func openedWith(t testing.TB, c Config) *Store {
	t.Helper()
	store, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.(*Store).Close() })
	return store.(*Store)
}

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "kubernetes" {
		t.Errorf("the example is of type %q, %v; want kubernetes", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, right := range []Config{{}, {Kubeconfig: "k"}, {Kubeconfig: "k", Context: "c", Namespace: "team-1", Create: true}} {
		if err := right.Validate(); err != nil {
			t.Errorf("%+v.Validate() = %v; want nil", right, err)
		}
	}
	err := Config{Context: "c", Namespace: "Team.x"}.Validate()
	if err == nil || !strings.Contains(err.Error(), "context: goes with kubeconfig") || !strings.Contains(err.Error(), "namespace: a namespace has") {
		t.Errorf("Validate() = %v; want two mistakes", err)
	}
}

// What the kubeconfig can have wrong, before anybody is called.
func TestKubeconfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	k := kube{addr: "https://127.0.0.1:1", ca: "", admin: "s3cr3t"}
	good := k.kubeconfig(t, map[string]any{"token": "s3cr3t"})
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	with := func(part, instead string) string {
		return writeFile(t, filepath.Join(t.TempDir(), "kubeconfig"), strings.ReplaceAll(string(raw), part, instead))
	}
	for name, test := range map[string]struct {
		config    Config
		permanent bool
		want      string
	}{
		"not in a cluster": {Config{}, true, "set kubeconfig"},
		"no file":          {Config{Kubeconfig: "/nonexistent/kubeconfig"}, false, "/nonexistent/kubeconfig"},
		"not a kubeconfig": {Config{Kubeconfig: writeFile(t, filepath.Join(t.TempDir(), "k"), "token: [s3cr3t\nx")}, true, "is no kubeconfig file"},
		"no such context":  {Config{Kubeconfig: good, Context: "west"}, true, `no context "west"`},
		"no context":       {Config{Kubeconfig: with(`"current-context":"main"`, `"current-context":""`)}, true, "set context"},
		"no user":          {Config{Kubeconfig: with(`"user":"main"`, `"namespace":"x"`)}, true, `context "main" can't be used`},
		"no such cluster":  {Config{Kubeconfig: with(`"cluster":"main"`, `"cluster":"s3cr3t"`)}, true, `context "main" can't be used`},
		"no such user":     {Config{Kubeconfig: with(`"user":"main"`, `"user":"s3cr3t"`)}, true, `context "main" can't be used`},
		"no TLS":           {Config{Kubeconfig: with("https://127.0.0.1:1", "http://10.0.0.1:8080")}, true, "must be https"},
		"a user in it":     {Config{Kubeconfig: with("https://127.0.0.1:1", "https://u:s3cr3t@127.0.0.1:1")}, true, "without a user"},
		"unverified TLS":   {Config{Kubeconfig: with(`"certificate-authority-data":""`, `"insecure-skip-tls-verify":true`)}, true, "insecure-skip-tls-verify"},
		"a bad CA":         {Config{Kubeconfig: with(`"certificate-authority-data":""`, `"certificate-authority-data":"czNjcjN0"`)}, true, "the CA"},
	} {
		err := openedWith(t, test.config).Ping(t.Context())
		if err == nil || rotator.IsPermanent(err) != test.permanent || !rotator.HadNoEffect(err) || !strings.HasPrefix(err.Error(), "log in: ") ||
			!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Ping = %v, permanent %v; want permanent %v with %q", name, err, rotator.IsPermanent(err), test.permanent, test.want)
		}
	}
}

// One store entry is one cluster.
func TestContexts(t *testing.T) {
	file := map[string]any{"apiVersion": "v1", "kind": "Config", "current-context": "east"}
	var clusters, users, contexts []any
	for _, name := range []string{"east", "west"} {
		k := newStandIn(t)
		k.namespace(t, "team")
		k.make(t, key, "of "+name, nil)
		clusters = append(clusters, map[string]any{"name": name, "cluster": map[string]any{"server": k.addr, "certificate-authority-data": []byte(k.ca)}})
		users = append(users, map[string]any{"name": name, "user": map[string]any{"token": k.admin}})
		contexts = append(contexts, map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": name}})
	}
	file["clusters"], file["users"], file["contexts"] = clusters, users, contexts
	path := writeJSON(t, filepath.Join(t.TempDir(), "kubeconfig"), file)
	for context, want := range map[string]string{"": "of east", "east": "of east", "west": "of west"} {
		now, err := openedWith(t, Config{Kubeconfig: path, Context: context}).Get(t.Context(), key)
		if err != nil || now.Value.Reveal() != want {
			t.Errorf("Get in context %q = %q, %v; want %q", context, now.Value.Reveal(), err, want)
		}
	}
}

// Our token is replaced while we work: it is read again once. The file is not read for every call.
func TestLogInAgain(t *testing.T) {
	tokens := t.TempDir()
	tokenFile := writeFile(t, filepath.Join(tokens, "token"), "token-of-rotatord")
	execFile := writeFile(t, filepath.Join(tokens, "exec"), "token-of-rotatord")
	for name, user := range map[string]map[string]any{
		"token":      {"token": "token-of-rotatord"},
		"token file": {"tokenFile": tokenFile},
		"command":    execUser(t, credentialsVariable, execFile),
	} {
		t.Run(name, func(t *testing.T) {
			k := newStandIn(t)
			k.namespace(t, "team")
			k.make(t, key, "1", nil)
			k.standIn.mu.Lock()
			k.standIn.may = func(string, string, string, string) bool { return true }
			k.standIn.mu.Unlock()
			store := openedWith(t, Config{Kubeconfig: k.kubeconfig(t, user)})
			now := mustPut(t, store, key, "2")

			k.standIn.mu.Lock()
			delete(k.standIn.tokens, "token-of-rotatord")
			k.standIn.tokens["token-after"] = "rotatord"
			k.standIn.mu.Unlock()
			_, err := store.Put(t.Context(), key, secretOf("s3cr3t", now.ID))
			wantPermanent(t, "Put with a revoked log-in", err, "refuses the log-in")
			wantPermanent(t, "Ping with a revoked log-in", store.Ping(t.Context()), "refuses the log-in")
			wantRead(t, k, key, "2")

			writeFile(t, tokenFile, "token-after")
			writeFile(t, execFile, "token-after")
			fresh, err := os.ReadFile(k.kubeconfig(t, map[string]any{"token": "token-after"}))
			if name == "token" && err == nil {
				writeFile(t, store.config.Kubeconfig, string(fresh))
			}
			if _, err := store.Put(t.Context(), key, secretOf("3", now.ID)); err != nil {
				t.Errorf("Put after the log-in was replaced = %v; want nil", err)
			}
			writeFile(t, tokenFile, "token-of-rotatord")
			writeFile(t, execFile, "token-of-rotatord")
		})
	}
}

// The token is refused between the look and the write.
func TestLogInAgainInTheMiddle(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "1", nil)
		refusals := 0
		store := between(t, k, func(_ testing.TB, _ kube, w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if refusals++; refusals == 1 {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			pass.ServeHTTP(w, r)
		}).opened(t, k.admin)
		mustPut(t, store, key, "2")
		wantRead(t, k, key, "2")
	})
}

// client-go waits for a log-in command without looking at ctx; we don't.
func TestCommandHangs(t *testing.T) {
	k := newStandIn(t)
	store := openedWith(t, Config{Kubeconfig: k.kubeconfig(t, execUser(t, hangVariable, "1"))})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	_, err := store.Get(ctx, key)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 2*time.Second {
		t.Errorf("Get = %v after %v; want it to end with ctx", err, time.Since(started))
	}
	broken := openedWith(t, Config{Kubeconfig: k.kubeconfig(t, execUser(t, credentialsVariable, "/nonexistent/token"))})
	_, err = broken.Put(t.Context(), key, secretOf("s3cr3t", ""))
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "gave no credentials") {
		t.Errorf("Put with a broken log-in command = %v; want one that can be tried again and says so", err)
	}
}

// A server whose certificate is another's gets no request.
func TestUnverifiedCluster(t *testing.T) {
	k := newStandIn(t)
	for what, test := range map[string]struct {
		k    kube
		want string
	}{
		"another CA":   {kube{addr: k.addr, ca: otherCA(t)}, "certificate-authority"},
		"another name": {kube{addr: strings.Replace(k.addr, "127.0.0.1", "localhost", 1), ca: k.ca}, "tls-server-name"},
	} {
		err := test.k.opened(t, k.admin).Ping(t.Context())
		if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Ping = %v; want one that can be tried again and names %s", what, err, test.want)
		}
	}
}

func otherCA(t testing.TB) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// How each refusal of the server is read: whether it may be tried again, and whether the write may have had its effect.
func TestRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		status              int
		header, body        string
		permanent, noEffect bool
	}{
		"bad request":       {400, "", `{"kind":"Status","reason":"BadRequest","message":"s3cr3t"}`, true, true},
		"forbidden":         {403, "", `{"kind":"Status","reason":"Forbidden","message":"s3cr3t"}`, true, true},
		"not found":         {404, "", "s3cr3t", true, true},
		"too large":         {413, "", "s3cr3t", true, true},
		"invalid":           {422, "", `{"kind":"Status","reason":"Invalid","message":"s3cr3t"}`, true, true},
		"too many requests": {429, "7", `{"kind":"Status","reason":"TooManyRequests","message":"s3cr3t"}`, false, true},
		"server error":      {500, "", `{"kind":"Status","reason":"InternalError","message":"s3cr3t"}`, false, false},
		"unavailable":       {503, "", "s3cr3t", false, false},
		"time-out":          {504, "", `{"kind":"Status","reason":"Timeout","message":"s3cr3t"}`, false, false},
		"another page":      {200, "", "<html>s3cr3t</html>", false, false},
		"another object":    {200, "", `{"kind":"Secret","metadata":{"name":"s3cr3t","resourceVersion":"1"}}`, false, false},
		"another place":     {307, "", "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newStandIn(t)
			k.namespace(t, "team")
			k.make(t, key, "old", nil)
			answer := func(_ testing.TB, _ kube, w http.ResponseWriter, r *http.Request, _ http.Handler) {
				if test.header != "" {
					w.Header().Set("Retry-After", test.header)
				}
				if test.status == http.StatusTemporaryRedirect {
					w.Header().Set("Location", k.addr+r.URL.Path)
				}
				w.WriteHeader(test.status)
				_, _ = fmt.Fprint(w, test.body)
			}
			store := between(t, k, answer).opened(t, k.admin)
			now, err := store.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = store.Put(t.Context(), key, secretOf("s3cr3t", now.ID))
			if test.status == http.StatusNotFound { // the Secret went away: another look tells; here it is always back
				if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) {
					t.Errorf("Put = %v; want one that can be tried again", err)
				}
				return
			}
			if err == nil || rotator.IsPermanent(err) != test.permanent || rotator.HadNoEffect(err) != test.noEffect || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("Put = %v, permanent %v, no effect %v; want %v, %v", err, rotator.IsPermanent(err), rotator.HadNoEffect(err), test.permanent, test.noEffect)
			}
			if wait := time.Until(rotator.RetryTime(err)); test.header != "" && (wait < 5*time.Second || wait > 7*time.Second) {
				t.Errorf("Put is to be tried again in %v; want 7 s", wait)
			}
			wantRead(t, k, key, "old")
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(t, k, w, r, nil) }))
			defer server.Close()
			_, err = (kube{addr: server.URL, ca: pemOf(server)}).opened(t, k.admin).Get(t.Context(), key)
			if err == nil || rotator.IsPermanent(err) != test.permanent || !rotator.HadNoEffect(err) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("Get = %v, permanent %v; want permanent %v, without effect", err, rotator.IsPermanent(err), test.permanent)
			}
		})
	}
}

// Calls that a log-in command holds up are bounded: one more is refused at once.
func TestLogInCommandThatNeverEnds(t *testing.T) {
	held := &client{plugin: "log-in", calls: make(chan struct{}, 1)}
	held.calls <- struct{}{}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://cluster/", nil)
	if _, err := held.do(request); !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("do = %v; want one that says that the command does not end", err)
	}
}
