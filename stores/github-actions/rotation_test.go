package githubactionsstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
	filestore "github.com/rotatord/rotatord/stores/file"
)

const oldValue = "value-of-first"

// mint is an issuer that keeps its credentials in memory.
type mint struct {
	mu   sync.Mutex
	live map[string]string // by value: the ID
}

func (m *mint) Issue(_ context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := fmt.Sprintf("id-%d", len(m.live)+1)
	m.live["value-of-"+id] = id
	return rotator.Credential{ID: id, Name: r.Marker, Value: rotator.NewSecret("value-of-" + id)}, nil
}

func (m *mint) Revoke(_ context.Context, r rotator.RevokeRequest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for value, id := range m.live {
		if id == r.Credential.ID {
			m.live[value] = ""
		}
	}
	return nil
}

func (m *mint) Check(_ context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live[r.Value.Reveal()] == "" {
		return rotator.Dead, nil
	}
	return rotator.Live, nil
}

// refusing is a store whose writes are refused.
type refusing struct{ rotator.Store }

func (refusing) Put(context.Context, string, rotator.Write) (rotator.Version, error) {
	return rotator.Version{}, rotator.Permanent(errors.New("no"))
}

// The engine rotates a token that lives here and in a file: all of it, or none.
func TestRotation(t *testing.T) {
	for name, test := range map[string]struct {
		hook   func(h *hub, w http.ResponseWriter, r *http.Request) bool
		refuse bool // the file behind it
		lost   bool // the answer of the first write is lost
		want   rotator.Status
	}{
		"fine":         {want: rotator.Done},
		"lost answer":  {lost: true, want: rotator.Done},
		"file refuses": {refuse: true, want: rotator.RolledBack},
		"github refuses": {want: rotator.RolledBack, hook: func(h *hub, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				h.answer(w, http.StatusForbidden, map[string]string{"message": "no"})
			}
			return r.Method == http.MethodPut
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.set(t, key, oldValue)
			if test.hook != nil {
				h.hooks(func(w http.ResponseWriter, r *http.Request) bool { return test.hook(h, w, r) })
			}
			var once sync.Once
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if test.lost && r.Method == http.MethodPut {
					lose := false
					once.Do(func() { lose = true })
					if lose {
						h.server.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
						panic(http.ErrAbortHandler)
					}
				}
				h.server.Config.Handler.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			dir := t.TempDir()
			path := filepath.Join(dir, "crm.env")
			if err := os.WriteFile(path, []byte("TOKEN="+oldValue+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			file, err := filestore.New(t.Context(), filestore.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if test.refuse {
				file = refusing{file}
			}
			issuer := &mint{live: map[string]string{oldValue: "first"}}
			token := rotator.Token{
				Name: "crm", IssuerName: "mint", Issuer: issuer, Current: rotator.CurrentHint{ID: "first"}, Policies: rotator.DefaultPolicies(),
				Rollout: rotator.Rollout{Interval: 10 * time.Millisecond, Timeout: time.Second, ConsecutiveSuccessLimit: 1, ConsecutiveErrorLimit: 4, Deadline: time.Minute},
				Stores: []rotator.StoreTarget{
					{Name: "github", Key: key, Store: opened(t, server.URL, goodToken)},
					{Name: "file", Key: "crm.env#TOKEN", Store: file},
				},
			}
			e := rotator.NewEngine(rotator.Options{Journal: memory.New(), Dispatcher: dispatch.New(), Tokens: []rotator.Token{token}, NewID: func() string { return "R1" }})
			if err := e.Start(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			defer e.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			id, err := e.Rotate(ctx, rotator.RotateRequest{Token: "crm", Reason: rotator.Manual, By: "ana"})
			if err != nil {
				t.Fatal(err)
			}
			status, err := e.Wait(ctx, id, nil)
			if err != nil || status.Status != test.want {
				t.Fatalf("status = %s (%s), hold %+v, %v; want %s", status.Status, status.Detail, status.Hold, err, test.want)
			}
			want := map[rotator.Status]string{rotator.Done: "value-of-id-2", rotator.RolledBack: oldValue}[test.want]
			raw, err := os.ReadFile(path)
			if got, _ := h.read(t, key); err != nil || got != want || strings.TrimSpace(string(raw)) != "TOKEN="+want {
				t.Errorf("GitHub holds %q, the file %q, %v; want %q", got, raw, err, want)
			}
			if issuer.live[want] == "" {
				t.Errorf("%q is not live", want)
			}
		})
	}
}
