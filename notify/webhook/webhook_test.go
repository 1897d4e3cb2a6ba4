package webhooknotifier

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/notify/notifytest"
	"github.com/rotatord/rotatord/rotator"
)

const (
	pathSecret  = "path-secret"
	querySecret = "query-secret"
	userSecret  = "user-secret"
)

func key() string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))) }

// receiver checks each request as a stranger's Standard Webhooks library does.
type receiver struct {
	t        *testing.T
	mu       sync.Mutex
	status   int
	header   http.Header
	calls    int
	messages []notifytest.Message
	requests []http.Header
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Errorf("read request: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("request is %s of %q; want POST of application/json", req.Method, req.Header.Get("Content-Type"))
	}
	verifier, err := standardwebhooks.NewWebhook("whsec_" + key())
	if err != nil {
		r.t.Error(err)
		return
	}
	if err := verifier.Verify(body, req.Header); err != nil {
		r.t.Errorf("verify signature: %v", err)
	}
	if !json.Valid(body) {
		r.t.Errorf("body %q is not JSON", body)
	}
	maps.Copy(w.Header(), r.header)
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, "thanks for "+pathSecret)
	if r.status < 300 {
		r.messages = append(r.messages, notifytest.Message{ID: req.Header.Get("webhook-id"), Text: string(body)})
		r.requests = append(r.requests, req.Header)
	}
}

func openReceiver(t *testing.T) (*receiver, string) {
	t.Helper()
	t.Setenv("HOOK_SECRET", "whsec_"+key())
	r := &receiver{t: t, status: http.StatusAccepted}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server.URL
}

func config(url string) Config {
	return Config{URL: url, SigningSecret: rotator.SecretSource{Env: "HOOK_SECRET"}}
}

func newNotifier(t *testing.T, c Config) rotator.Notifier {
	t.Helper()
	n, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New(%+v) = %v", c, err)
	}
	return n
}

func nobody(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return "http://" + listener.Addr().String()
}

func TestConformance(t *testing.T) {
	notifytest.Run(t, func(t *testing.T) notifytest.Harness {
		r, url := openReceiver(t)
		secretPart := "/" + pathSecret + "?key=" + querySecret
		t.Setenv("HOOK_URL", strings.Replace(url, "http://", "http://me:"+userSecret+"@", 1)+secretPart+"\n")
		there := config("")
		there.URLFrom = rotator.SecretSource{Env: "HOOK_URL"}
		return notifytest.Harness{
			Notifier: newNotifier(t, there),
			Refused:  newNotifier(t, config(nobody(t)+secretPart)),
			Messages: func() []notifytest.Message { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.messages) },
			Calls:    func() int { r.mu.Lock(); defer r.mu.Unlock(); return r.calls },
			Answer: func(status int, header http.Header) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.status, r.header = status, header
			},
			HasID:   true,
			Fits:    func(m notifytest.Message) bool { return len(m.Text) <= 20_000 },
			Secrets: []string{pathSecret, querySecret, userSecret, key()},
		}
	})
}

func TestBodyAndHeaders(t *testing.T) {
	r, url := openReceiver(t)
	n := newNotifier(t, config(url))
	e := notifytest.Event("e1")
	e.Urgent = true
	for _, event := range []rotator.Event{e, {ID: "e2", Kind: rotator.EventPaused, Token: "crm-sync", At: e.At, Summary: "<paused> & held"}} {
		if err := n.Notify(t.Context(), event); err != nil {
			t.Fatalf("Notify() = %v", err)
		}
	}
	want := []string{
		`{"type":"rotation.held","timestamp":"2026-11-23T10:00:00Z","data":{"token":"crm-sync","rotation":"01JD0000000000000000000000",` +
			`"reason":"scheduled","step":"probe","status":"held","old_fingerprint":"` + string(rotator.FingerprintOf("old e1")) +
			`","new_fingerprint":"` + string(rotator.FingerprintOf("new e1")) + `","summary":"crm-sync is held: a consumer of e1 is not ready",` +
			`"detail":"Both credentials are live.\nLook at the consumer, then resume.","awaited":[{"probe":"http 1",` +
			`"target":"http://crm-worker:8080/healthz","detail":"answered 503"}],"more_awaited":0,"urgent":true}}`,
		`{"type":"rotation.paused","timestamp":"2026-11-23T10:00:00Z","data":{"token":"crm-sync","rotation":"","reason":"","step":"","status":"",` +
			`"old_fingerprint":"","new_fingerprint":"","summary":"<paused> & held","detail":"","awaited":[],"more_awaited":0,"urgent":false}}`,
	}
	want[1] = strings.Replace(want[1], "rotation.paused", string(rotator.EventPaused), 1)
	for i := range want {
		if diff := cmp.Diff(want[i], r.messages[i].Text); diff != "" {
			t.Errorf("body %d (-want +got):\n%s", i, diff)
		}
	}
	if got := r.requests[0].Get("User-Agent"); got != "rotatord" {
		t.Errorf("user agent = %q; want rotatord", got)
	}
}

func TestRedirectsAreRefused(t *testing.T) {
	r, url := openReceiver(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		r.status, r.header = status, http.Header{"Location": {url + "/elsewhere"}}
		before := r.calls
		err := newNotifier(t, config(url)).Notify(t.Context(), notifytest.Event("e1"))
		if !rotator.IsPermanent(err) || r.calls != before+1 {
			t.Errorf("Notify() answered with %d = %v after %d calls; want a permanent error after one", status, err, r.calls-before)
		}
	}
}

func TestSecretsAreReadAnew(t *testing.T) {
	r, url := openReceiver(t)
	n := newNotifier(t, config(url))
	pinger, ok := n.(rotator.Pinger)
	if !ok {
		t.Fatal("no Pinger")
	}
	for name, bad := range map[string]string{
		"no base64": "whsec_***not-base64***", "too short": base64.StdEncoding.EncodeToString(make([]byte, 23)),
		"too long": "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), "empty": "whsec_====",
	} {
		t.Setenv("HOOK_SECRET", bad)
		if err := n.Notify(t.Context(), notifytest.Event("e1")); !rotator.IsPermanent(err) || strings.Contains(err.Error(), bad) {
			t.Errorf("%s: Notify() = %v; want a permanent error without the key", name, err)
		}
		if err := pinger.Ping(t.Context()); err == nil {
			t.Errorf("%s: Ping() = nil; want an error", name)
		}
	}
	secretly := config("")
	secretly.URLFrom = rotator.SecretSource{Env: "HOOK_URL"}
	t.Setenv("HOOK_URL", "http://hooks.example.com/"+pathSecret)
	if err := newNotifier(t, secretly).Notify(t.Context(), notifytest.Event("e1")); err == nil || !strings.Contains(err.Error(), "must be https") || strings.Contains(err.Error(), pathSecret) {
		t.Errorf("Notify() to a secret URL without TLS = %v; want a refusal without the URL", err)
	}
	t.Setenv("HOOK_SECRET", "")
	if err := n.Notify(t.Context(), notifytest.Event("e1")); err == nil || rotator.IsPermanent(err) {
		t.Errorf("Notify() without the variable = %v; want an error that is not permanent", err)
	}
	if r.calls != 0 {
		t.Errorf("calls = %d; want 0", r.calls)
	}
	t.Setenv("HOOK_SECRET", key()) // the prefix may be missing
	if err := n.Notify(t.Context(), notifytest.Event("e1")); err != nil {
		t.Errorf("Notify() = %v; want nil", err)
	}
}

func TestURLThatCannotBeUsed(t *testing.T) {
	t.Setenv("HOOK_SECRET", "whsec_"+key())
	c := config("")
	c.URLFrom = rotator.SecretSource{Env: "HOOK_URL"}
	n := newNotifier(t, c)
	for _, bad := range []string{"http://%zz" + pathSecret, "ftp://host/" + pathSecret, pathSecret, "https:///" + pathSecret} {
		t.Setenv("HOOK_URL", bad)
		if err := n.Notify(t.Context(), notifytest.Event("e1")); !rotator.IsPermanent(err) || strings.Contains(err.Error(), pathSecret) {
			t.Errorf("Notify() to %q = %v; want a permanent error that does not show it", bad, err)
		}
	}
}

func TestEventWithoutID(t *testing.T) {
	_, url := openReceiver(t)
	if err := newNotifier(t, config(url)).Notify(t.Context(), rotator.Event{}); !rotator.IsPermanent(err) {
		t.Errorf("Notify() of an event without id = %v; want a permanent error", err)
	}
}

func TestTimeout(t *testing.T) {
	t.Setenv("HOOK_SECRET", key())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	c := config(server.URL + "/" + pathSecret)
	c.Timeout = rotator.Duration(50 * time.Millisecond)
	if err := newNotifier(t, c).Notify(t.Context(), notifytest.Event("e1")); err == nil || rotator.IsPermanent(err) || strings.Contains(err.Error(), pathSecret) {
		t.Errorf("Notify() of a silent receiver = %v; want an error that is not permanent, without the URL", err)
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text  string
		limit int
		want  string
	}{
		{"short", 5, "short"},
		{"longer", 5, "lo…"},
		{"ñandú", 6, "ña…"},
		{"ñandú", 7, "ñandú"},
		{"😀😀", 7, "😀…"},
		{"😀😀", 6, "…"},
		{"a\xffb", 9, "a\ufffdb"},
	} {
		got := cut(test.text, test.limit)
		if got != test.want || !utf8.ValidString(got) || len(got) > test.limit {
			t.Errorf("cut(%q, %d) = %q; want %q", test.text, test.limit, got, test.want)
		}
	}
}

func TestExampleLoads(t *testing.T) {
	var entry struct {
		Type   string `yaml:"type"`
		Config `yaml:",inline"`
	}
	if err := yaml.Load([]byte(Example), &entry, yaml.WithKnownFields()); err != nil || entry.Type != "webhook" {
		t.Fatalf("load Example = %+v, %v; want type webhook", entry, err)
	}
	newNotifier(t, entry.Config)
}

func TestValidate(t *testing.T) {
	source := rotator.SecretSource{Env: "X"}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"url":             {Config{URL: "https://host/hook", SigningSecret: source}, nil},
		"url_from":        {Config{URLFrom: source, SigningSecret: source}, nil},
		"nothing":         {Config{}, []string{"signing_secret", "url"}},
		"no TLS":          {Config{URL: "http://hidden/hook", SigningSecret: source}, []string{"url"}},
		"no TLS, allowed": {Config{URL: "http://host/hook", AllowHTTP: true, SigningSecret: source}, nil},
		"this machine":    {Config{URL: "http://[::1]/hook", SigningSecret: source}, nil},
		"both":            {Config{URL: "https://host/hook", URLFrom: source, SigningSecret: source}, []string{"url_from"}},
		"bad source":      {Config{URLFrom: rotator.SecretSource{Env: "X", File: "y"}, SigningSecret: source}, []string{"url_from"}},
		"no URL":          {Config{URL: "http://%zz/hidden", SigningSecret: source}, []string{"url"}},
		"no host":         {Config{URL: "/hidden", SigningSecret: source}, []string{"url"}},
		"other scheme":    {Config{URL: "mailto://hidden", SigningSecret: source}, []string{"url"}},
		"log-in in URL":   {Config{URL: "https://a:hidden@host/", SigningSecret: source}, []string{"url"}},
		"source half set": {Config{URL: "https://host", SigningSecret: rotator.SecretSource{Store: "vault"}}, []string{"signing_secret"}},
	} {
		err := test.config.Validate()
		if diff := cmp.Diff(test.want, paths(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: the URL is printed: %v", name, err)
		}
	}
}

// paths returns the fields that a joined error is about, sorted.
func paths(err error) []string {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case nil:
		return nil
	case *rotator.FieldError:
		return []string{e.Path}
	case interface{ Unwrap() []error }:
		var all []string
		for _, each := range e.Unwrap() {
			all = append(all, paths(each)...)
		}
		slices.Sort(all)
		return all
	}
	return []string{"no field: " + err.Error()}
}
