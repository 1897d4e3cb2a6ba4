package crashmatrix

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

const (
	pace    = 15 * time.Millisecond // between two calls of a worker
	lookout = 10 * time.Millisecond // between two looks for a rollout
)

// worker is an application that uses the token: it reads it where it is kept,
// calls the service without a break, and reads it anew some time after a rollout.
type worker struct {
	name, health, url string
	read              func() (string, error)
	delay             time.Duration       // from the rollout to its reload
	breaks            bool                // on any value but the first
	first             rotator.Fingerprint // of the value it began with
	lives             atomic.Value        // rotator.Fingerprint of the value that the last answered call carried
	reload            chan struct{}
	client            *http.Client

	calls, refused, failed atomic.Int64
	refusedOthers          atomic.Int64 // refused with another value than the first
}

// work starts a worker that reads from Vault and one that reads from the file.
// They end with the test.
func (w *world) work(t *testing.T, api string) {
	fromVault := func() (string, error) {
		fields, err := w.inVault()
		return fields[field], err
	}
	fromFile := func() (string, error) {
		fields, err := w.inFile()
		return fields[field], err
	}
	w.workers = []*worker{
		{name: "w1", read: fromVault, delay: 20 * time.Millisecond},
		{name: "w2", read: fromFile, delay: 150 * time.Millisecond, breaks: w.scenario.breaks},
	}
	ctx, stop := context.WithCancel(context.Background()) // t.Context ends before cleanups; this one must too
	var all sync.WaitGroup
	t.Cleanup(func() { stop(); all.Wait() })
	for _, each := range w.workers {
		each.url = fmt.Sprintf("%s/v1/project/%s/datasource/%s/stream/events", api, w.place.Project, w.place.Datasource)
		each.first, each.reload = w.firstFingerprint(), make(chan struct{}, 1)
		transport := &http.Transport{}
		each.client = &http.Client{Timeout: 5 * time.Second, Transport: transport}
		server := httptest.NewServer(http.HandlerFunc(each.serveHealth))
		t.Cleanup(func() { server.Close(); transport.CloseIdleConnections() })
		each.health = server.URL + "/healthz"
		all.Go(func() { each.loop(ctx) })
	}
	all.Go(func() { w.watchRollouts(ctx) })
}

// rollouts are the releases that the deployer was asked to roll out, in order.
func (w *world) rollouts() []string {
	raw, _ := os.ReadFile(filepath.Join(w.dir, "rollouts")) // none yet: empty
	return strings.Fields(string(raw))
}

func (w *world) watchRollouts(ctx context.Context) {
	tick := time.NewTicker(lookout)
	defer tick.Stop()
	seen := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := len(w.rollouts())
		if now == seen || w.deaf.Load() {
			continue
		}
		seen = now
		for _, each := range w.workers {
			select {
			case each.reload <- struct{}{}:
			default: // it has one to do already
			}
		}
	}
}

func (w *worker) loop(ctx context.Context) {
	value, err := w.read()
	if err != nil {
		w.failed.Add(1)
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.reload:
			due = time.After(w.delay)
		case <-due:
			due = nil
			fresh, err := w.read()
			if err != nil {
				w.failed.Add(1)
				continue
			}
			value = fresh
		case <-tick.C:
			w.post(ctx, value)
		}
	}
}

func (w *worker) post(ctx context.Context, value string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(`[{"name":"order","user_id":"`+w.name+`"}]`))
	if err != nil {
		w.failed.Add(1)
		return
	}
	request.Header.Set("Authorization", "Bearer "+value)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", w.name)
	answer, err := w.client.Do(request)
	if ctx.Err() != nil {
		return
	}
	w.calls.Add(1)
	if err != nil {
		w.failed.Add(1)
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body) // for the next call
	_ = answer.Body.Close()
	w.lives.Store(rotator.FingerprintOf(value))
	switch answer.StatusCode {
	case http.StatusAccepted:
	case http.StatusUnauthorized, http.StatusForbidden:
		w.refused.Add(1)
		if rotator.FingerprintOf(value) != w.first {
			w.refusedOthers.Add(1)
		}
	default:
		w.failed.Add(1)
	}
}

func (w *worker) fingerprint() rotator.Fingerprint {
	lives, _ := w.lives.Load().(rotator.Fingerprint)
	return lives
}

func (w *worker) serveHealth(out http.ResponseWriter, _ *http.Request) {
	lives := w.fingerprint()
	switch {
	case lives == "":
		out.WriteHeader(http.StatusServiceUnavailable)
	case w.breaks && lives != w.first:
		out.WriteHeader(http.StatusInternalServerError)
	default:
		out.Header().Set("X-Token-Fingerprint", string(lives))
	}
}
