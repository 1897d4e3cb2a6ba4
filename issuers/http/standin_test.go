package httpissuer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

const (
	adminCanary = "canary-admin-log-in"
	datasource  = "ds/y z" // has to be escaped
)

// standIn is the admin API of example.yaml. It is strict: a request that the
// example would not send fails the test.
type standIn struct {
	*httptest.Server
	t    testing.TB
	mu   sync.Mutex
	all  []*record
	lose bool // the next create's answer
	out  bool // checks get a 503
}

type record struct {
	ID      int64  `json:"id"` // beyond what a float64 holds
	Name    string `json:"name"`
	Secret  string `json:"secret,omitempty"`
	Expires any    `json:"expires_at,omitempty"`
	Used    any    `json:"last_used,omitempty"`
	dead    bool
}

const (
	firstID  = 9007199254740993 // 2^53 + 1
	pageSize = 3
)

func newStandIn(t testing.TB) *standIn {
	s := &standIn{t: t}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Errorf("read request: %v", err)
	}
	if got := r.Header.Get("Accept"); got != "application/json" {
		s.t.Errorf("Accept is %q; want application/json", got)
	}
	if r.URL.Path == "/whoami" {
		s.whoami(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+adminCanary {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	const tokens = "/datasources/ds%2Fy%20z/tokens"
	path := r.URL.EscapedPath()
	switch {
	case r.Method == http.MethodPost && path == tokens && r.URL.RawQuery == "":
		s.create(w, r, body)
	case r.Method == http.MethodGet && path == tokens && r.URL.Query().Has("cursor") && len(body) == 0:
		s.list(w, r)
	case r.Method == http.MethodDelete && strings.HasPrefix(path, tokens+"/") && len(body) == 0:
		s.revoke(w, strings.TrimPrefix(path, tokens+"/"))
	default:
		s.t.Errorf("unexpected request %s %s with %d bytes", r.Method, r.URL.RequestURI(), len(body))
		w.WriteHeader(http.StatusTeapot)
	}
}

func (s *standIn) create(w http.ResponseWriter, r *http.Request, body []byte) {
	var asked struct {
		Name string `json:"name"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil || asked.Name == "" || r.Header.Get("Content-Type") != "application/json" {
		s.t.Errorf("create: %q with body %q: %v; want the name as JSON", r.Header.Get("Content-Type"), body, err)
	}
	made := &record{ID: firstID + int64(len(s.all)), Name: asked.Name}
	made.Secret = "canary-value-" + strconv.FormatInt(made.ID, 10)
	s.all = append(s.all, made)
	if s.lose {
		s.lose = false
		hangUp(s.t, w)
		return
	}
	shown := *made
	shown.Expires = "2027-11-23T10:00:00Z"
	answer(w, http.StatusCreated, map[string]any{"data": shown})
}

func (s *standIn) list(w http.ResponseWriter, r *http.Request) {
	var from int
	if at := r.URL.Query().Get("cursor"); at != "" {
		if _, err := fmt.Sscanf(at, "after &=+/%d", &from); err != nil {
			s.t.Errorf("list: cursor %q is none of ours", at)
		}
	}
	live := s.live()
	to := min(from+pageSize, len(live))
	shown := []record{}
	for _, one := range live[from:to] {
		shown = append(shown, record{ID: one.ID, Name: one.Name, Used: 1795000000})
	}
	var next any
	if to < len(live) {
		next = fmt.Sprintf("after &=+/%d", to)
	}
	answer(w, http.StatusOK, map[string]any{"data": shown, "next": next})
}

func (s *standIn) revoke(w http.ResponseWriter, id string) {
	for _, one := range s.all {
		if strconv.FormatInt(one.ID, 10) == id && !one.dead {
			one.dead = true
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (s *standIn) whoami(w http.ResponseWriter, r *http.Request) {
	if s.out {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for _, one := range s.live() {
		if r.Header.Get("Authorization") == "Bearer "+one.Secret {
			answer(w, http.StatusOK, map[string]any{"scopes": "read write"})
			return
		}
	}
	w.WriteHeader(http.StatusUnauthorized)
}

// live needs the lock.
func (s *standIn) live() []*record {
	return slices.DeleteFunc(slices.Clone(s.all), func(r *record) bool { return r.dead })
}

func (s *standIn) liveIDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, one := range s.live() {
		ids = append(ids, strconv.FormatInt(one.ID, 10))
	}
	return ids
}

func (s *standIn) canaries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	secrets := []string{adminCanary, "canary-wrong-log-in"}
	for _, one := range s.all {
		secrets = append(secrets, one.Secret)
	}
	return secrets
}

func (s *standIn) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func hangUp(t testing.TB, w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Errorf("hijack: %v", err)
		return
	}
	_ = conn.Close()
}

// example returns the configuration of example.yaml with another base URL and
// log-in: what the documentation shows is what the tests run.
func example(t testing.TB, base string) Config {
	t.Helper()
	var entry struct {
		Type   string `yaml:"type"`
		Config `yaml:",inline"`
	}
	if err := yaml.Load([]byte(Example), &entry, yaml.WithKnownFields()); err != nil {
		t.Fatalf("load example.yaml: %v", err)
	}
	if entry.Type != "http" {
		t.Fatalf("example.yaml has type %q; want http", entry.Type)
	}
	c := entry.Config
	c.BaseURL = base
	c.Timeout = rotator.Duration(20 * time.Second)
	c.Secrets = map[string]rotator.SecretSource{"admin": secretFile(t, adminCanary)}
	return c
}

func secretFile(t testing.TB, value string) rotator.SecretSource {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return rotator.SecretSource{File: path}
}

func open1(t testing.TB, c Config) rotator.Issuer {
	t.Helper()
	made, err := New(context.Background(), c)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	t.Cleanup(as[interface{ CloseIdleConnections() }](t, made).CloseIdleConnections)
	return made
}

// as asserts that an issuer has an ability.
func as[Ability any](t testing.TB, issuer rotator.Issuer) Ability {
	t.Helper()
	able, ok := issuer.(Ability)
	if !ok {
		t.Fatalf("the issuer is no %T", *new(Ability))
	}
	return able
}

// nobody returns a URL where nobody listens.
func nobody(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return "http://" + listener.Addr().String()
}
