package httpprobe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rollout/probetest"
	"github.com/rotatord/rotatord/rotator"
)

const (
	loginSecret = "Bearer login-secret"
	bodySecret  = "secret-of-the-consumer"
)

func asked() rotator.Release {
	return rotator.Release{ID: "r1", Token: "crm-sync", Fingerprint: probetest.Asked(), Previous: "0000000000000000"}
}

// consumer is a worker with a health page.
type consumer struct {
	mu      sync.Mutex
	now     probetest.Consumer
	looks   int
	changes []string
}

func (c *consumer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	c.looks++
	if err != nil || len(body) > 0 || r.Method != http.MethodGet {
		c.changes = append(c.changes, fmt.Sprintf("%s with %q", r.Method, body))
	}
	if got := r.Header.Get("Authorization"); got != loginSecret {
		c.changes = append(c.changes, "no log-in")
	}
	now := c.now
	c.mu.Unlock()
	status, said := http.StatusOK, string(now.Fingerprint)
	switch now.State {
	case probetest.Broken:
		status = http.StatusUnauthorized
	case probetest.Starting:
		status = http.StatusServiceUnavailable
	case probetest.Mute:
		said = ""
	case probetest.Garbled:
		said = bodySecret
	case probetest.Hanging:
		<-r.Context().Done()
		return
	case probetest.Well:
	}
	if said != "" {
		w.Header().Set("X-Token-Fingerprint", said)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"note": bodySecret, "workers": []any{map[string]string{"fingerprint": said}}})
}

// nobody is a URL at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return "http://" + listener.Addr().String() + "/healthz"
}

func TestConformance(t *testing.T) {
	for name, config := range map[string]Config{
		"header": {FingerprintHeader: "X-Token-Fingerprint"},
		"json":   {FingerprintJSON: "workers.0.fingerprint"},
		"blind":  {},
	} {
		t.Run(name, func(t *testing.T) {
			probetest.Run(t, func(t *testing.T) probetest.Harness {
				t.Setenv("HEALTH_LOGIN", loginSecret)
				c := &consumer{}
				server := httptest.NewServer(c)
				t.Cleanup(server.Close)
				there := config
				there.URL = server.URL + "/healthz?key=query-secret"
				there.SecretHeaders = map[string]rotator.SecretSource{"Authorization": {Env: "HEALTH_LOGIN"}}
				away := there
				away.URL = nobody(t) + "?key=query-secret"
				return probetest.Harness{
					Probe: newProbe(t, there), Unreachable: newProbe(t, away),
					Set:     func(now probetest.Consumer) { c.mu.Lock(); defer c.mu.Unlock(); c.now = now },
					Looks:   func() int { c.mu.Lock(); defer c.mu.Unlock(); return c.looks },
					Changes: func() []string { c.mu.Lock(); defer c.mu.Unlock(); return c.changes },
					Blind:   name == "blind",
					Secrets: []string{loginSecret, bodySecret, "query-secret"},
				}
			})
		})
	}
}

func newProbe(t *testing.T, c Config) rotator.Probe {
	t.Helper()
	p, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New(%+v) = %v", c, err)
	}
	return p
}

// answering is a consumer that always gives one answer.
func answering(t *testing.T, status int, header http.Header, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestStatuses(t *testing.T) {
	listed := Config{ExpectedStatus: []int{200, 204, 403}, UnhealthyStatus: []int{500}}
	for _, test := range []struct {
		config Config
		status int
		want   rotator.Health // empty: an error
		detail string
	}{
		{Config{}, 200, rotator.Healthy, ""},
		{Config{}, 401, rotator.Unhealthy, "answered 401 unauthorized"},
		{Config{}, 204, rotator.NotYet, "answered 204 no content"},
		{Config{}, 403, rotator.NotYet, "answered 403 forbidden"},
		{Config{}, 404, rotator.NotYet, "answered 404 not found"},
		{Config{}, 429, "", ""},
		{Config{}, 500, rotator.NotYet, "answered 500 internal server error"},
		{Config{}, 502, rotator.NotYet, "answered 502 bad gateway"},
		{Config{}, 503, rotator.NotYet, "answered 503 service unavailable"},
		{Config{}, 599, rotator.NotYet, "answered 599"},
		{listed, 204, rotator.Healthy, ""},
		{listed, 403, rotator.Healthy, ""},
		{listed, 401, rotator.Unhealthy, "answered 401 unauthorized"},
		{listed, 500, rotator.Unhealthy, "answered 500 internal server error"},
	} {
		c := test.config
		c.URL = answering(t, test.status, http.Header{"Retry-After": {"60"}}, "")
		got, err := newProbe(t, c).Probe(t.Context(), asked())
		if test.want == "" {
			if err == nil || rotator.RetryTime(err).IsZero() || got != (rotator.Finding{}) {
				t.Errorf("Probe() of %d = %+v, %v; want an error with a retry time", test.status, got, err)
			}
			continue
		}
		want := rotator.Finding{Health: test.want, Target: c.URL, Detail: test.detail}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Probe() of %d: %v (-want +got):\n%s", test.status, err, diff)
		}
	}
}

func TestFingerprints(t *testing.T) {
	want, old := string(asked().Fingerprint), "00000000000000aa"
	header := Config{FingerprintHeader: "X-Token-Fingerprint"}
	path := Config{FingerprintJSON: "a.1.b"}
	for name, test := range map[string]struct {
		config  Config
		header  []string
		body    string
		want    rotator.Finding
		wantErr string
	}{
		"header":            {config: header, header: []string{want}, want: rotator.Finding{Health: rotator.Healthy, Seen: asked().Fingerprint}},
		"header, upper":     {config: header, header: []string{" " + strings.ToUpper(want) + " "}, want: rotator.Finding{Health: rotator.Healthy, Seen: asked().Fingerprint}},
		"header, old":       {config: header, header: []string{old}, want: rotator.Finding{Health: rotator.NotYet, Seen: "00000000000000aa", Detail: "lives on 00000000000000aa"}},
		"header, missing":   {config: header, wantErr: `read fingerprint: header "X-Token-Fingerprint" is there 0 times, not once`},
		"header, twice":     {config: header, header: []string{want, old}, wantErr: `read fingerprint: header "X-Token-Fingerprint" is there 2 times, not once`},
		"header, joined":    {config: header, header: []string{want + ", " + old}, wantErr: "read fingerprint: not 16 hex digits"},
		"header, too long":  {config: header, header: []string{want + want}, wantErr: "read fingerprint: not 16 hex digits"},
		"header, empty":     {config: header, header: []string{""}, wantErr: "read fingerprint: not 16 hex digits"},
		"path":              {config: path, body: `{"a": [0, {"b": "` + want + `"}]}`, want: rotator.Finding{Health: rotator.Healthy, Seen: asked().Fingerprint}},
		"path, old":         {config: path, body: `{"a": [0, {"b": "` + old + `"}]}`, want: rotator.Finding{Health: rotator.NotYet, Seen: "00000000000000aa", Detail: "lives on 00000000000000aa"}},
		"path, no JSON":     {config: path, body: bodySecret, wantErr: "read fingerprint: the answer is not JSON"},
		"path, cut JSON":    {config: path, body: `{"a": [0, {"b": "` + want + `"}]`, wantErr: "read fingerprint: the answer is not JSON"},
		"path, empty":       {config: path, wantErr: "read fingerprint: the answer is not JSON"},
		"path, no key":      {config: path, body: `{"a": [0, {"c": "` + bodySecret + `"}]}`, wantErr: `read fingerprint: the answer has no text at "a.1.b"`},
		"path, null":        {config: path, body: `{"a": [0, {"b": null}]}`, wantErr: `read fingerprint: the answer has no text at "a.1.b"`},
		"path, number":      {config: path, body: `{"a": [0, {"b": 1234567890123456}]}`, wantErr: `read fingerprint: the answer has no text at "a.1.b"`},
		"path, short list":  {config: path, body: `{"a": [0]}`, wantErr: `read fingerprint: the answer has no "a.1.b"`},
		"path, not deep":    {config: path, body: `{"a": "x"}`, wantErr: `read fingerprint: the answer has no "a.1.b"`},
		"path, garbage":     {config: path, body: `{"a": [0, {"b": "` + bodySecret + `"}]}`, wantErr: "read fingerprint: not 16 hex digits"},
		"path, huge answer": {config: path, body: strings.Repeat(" ", 2<<20), wantErr: "ask consumer: read answer of status 200: longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := test.config
			c.URL = answering(t, 200, http.Header{"X-Token-Fingerprint": test.header}, test.body)
			got, err := newProbe(t, c).Probe(t.Context(), asked())
			if test.wantErr != "" {
				if err == nil || err.Error() != test.wantErr || got != (rotator.Finding{}) {
					t.Errorf("Probe() = %+v, %v; want error %q", got, err, test.wantErr)
				}
				return
			}
			test.want.Target = c.URL
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Probe(): %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	t.Setenv("HEALTH_LOGIN", loginSecret)
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	t.Cleanup(server.Close)
	p := newProbe(t, Config{
		URL: server.URL + "/a%2Fb/c?q=1#part", Method: "POST",
		Headers:       map[string]string{"Accept": "text/plain", "host": "crm.example.com"},
		SecretHeaders: map[string]rotator.SecretSource{"Authorization": {Env: "HEALTH_LOGIN"}},
	})
	finding, err := p.Probe(t.Context(), asked())
	if err != nil || finding.Target != server.URL+"/a%2Fb/c" {
		t.Errorf("Probe() = %+v, %v; want the target without query and fragment", finding, err)
	}
	for what, pair := range map[string][2]string{
		"method": {got.Method, "POST"}, "uri": {got.RequestURI, "/a%2Fb/c?q=1"}, "host": {got.Host, "crm.example.com"},
		"accept": {got.Header.Get("Accept"), "text/plain"}, "authorization": {got.Header.Get("Authorization"), loginSecret},
		"user agent": {got.Header.Get("User-Agent"), "rotatord"}, "length": {fmt.Sprint(got.ContentLength), "0"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %q; want %q", what, pair[0], pair[1])
		}
	}
	if !got.Close {
		t.Error("the connection is kept for the next look; want a new one each time")
	}
}

func TestSecretHeaderThatCannotBeRead(t *testing.T) {
	c := Config{URL: nobody(t), SecretHeaders: map[string]rotator.SecretSource{"X-Key": {Env: "NOT_SET_ANYWHERE"}}}
	want := `header "X-Key": read secret: environment variable "NOT_SET_ANYWHERE" is not set`
	if _, err := newProbe(t, c).Probe(t.Context(), asked()); err == nil || err.Error() != want {
		t.Errorf("Probe() = %v; want %q", err, want)
	}
	t.Setenv("NOT_SET_ANYWHERE", "line-one\nline-two")
	want = `header "X-Key": the secret holds a character that a header can't`
	if _, err := newProbe(t, c).Probe(t.Context(), asked()); err == nil || err.Error() != want {
		t.Errorf("Probe() = %v; want %q", err, want)
	}
}

func TestRedirects(t *testing.T) {
	t.Setenv("HEALTH_LOGIN", loginSecret)
	strangers := 0
	foreign := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers++ }))
	t.Cleanup(foreign.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/foreign":
			http.Redirect(w, r, foreign.URL, http.StatusFound)
		case "/same":
			http.Redirect(w, r, "/final", http.StatusFound)
		}
	}))
	t.Cleanup(server.Close)
	c := Config{URL: server.URL + "/foreign", SecretHeaders: map[string]rotator.SecretSource{"Authorization": {Env: "HEALTH_LOGIN"}}}
	if finding, err := newProbe(t, c).Probe(t.Context(), asked()); err == nil || strangers != 0 {
		t.Errorf("Probe() sent to another host = %+v, %v, which was asked %d times; want an error and 0", finding, err, strangers)
	}
	c.URL = server.URL + "/same"
	if finding, err := newProbe(t, c).Probe(t.Context(), asked()); err != nil || finding.Health != rotator.Healthy {
		t.Errorf("Probe() sent on at the same host = %+v, %v; want healthy", finding, err)
	}
}

func TestTimeout(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(server.Close)
	p := newProbe(t, Config{URL: server.URL + "/?key=query-secret", Timeout: rotator.Duration(50 * time.Millisecond)})
	finding, err := p.Probe(t.Context(), asked())
	if err == nil || strings.Contains(err.Error(), "query-secret") {
		t.Errorf("Probe() of a silent consumer = %+v, %v; want an error without the query", finding, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if finding, err := newProbe(t, Config{URL: server.URL}).Probe(ctx, asked()); err == nil {
		t.Errorf("Probe() over the deadline = %+v; want an error", finding)
	}
}

func TestCAFile(t *testing.T) {
	server := httptest.NewUnstartedServer(&consumer{now: probetest.Consumer{State: probetest.Well}})
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	if finding, err := newProbe(t, Config{URL: server.URL}).Probe(t.Context(), asked()); err == nil {
		t.Errorf("Probe() of a server with an unknown CA = %+v; want an error", finding)
	}
	c := Config{URL: server.URL, CAFile: writeCA(t, server.Certificate())}
	if finding, err := newProbe(t, c).Probe(t.Context(), asked()); err != nil || finding.Health != rotator.Healthy {
		t.Errorf("Probe() with the CA = %+v, %v; want healthy", finding, err)
	}
	c.CAFile = "/no/such/file"
	if _, err := New(t.Context(), c); err == nil {
		t.Error("New() with a missing CA file = nil error")
	}
}
