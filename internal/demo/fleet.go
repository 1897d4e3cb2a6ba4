package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

const (
	pace     = 6 * time.Millisecond    // between two calls of the fleet
	lookout  = 50 * time.Millisecond   // between two looks for a reload
	spread   = 1600 * time.Millisecond // from the first worker's reload to the last one's
	userName = "demo-worker"           // what workers call themselves in User-Agent
)

// fleetOptions say what the workers work with.
type fleetOptions struct {
	count      int
	stream     string // URL of the datasource's stream
	tokenFile  string
	reloadFile string // touched by the deployer
}

// fleet is a number of workers that use one token, as an application would:
// each reads it from its file, posts with it without a break, and reads it anew
// some time after it was told to reload.
type fleet struct {
	workers []*worker
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	servers []*http.Server
}

// worker is one of them. Its loop alone holds the value, so that a call under
// way never carries another value than the one that it reports.
type worker struct {
	name   string
	health string // URL
	o      fleetOptions
	client *http.Client
	reload chan struct{}
	lived  atomic.Value // rotator.Fingerprint of the value that the last accepted call carried

	calls, refused, failed atomic.Int64
}

// tally is what the workers counted.
type tally struct{ calls, refused, failed int64 }

func (f *fleet) tally() tally {
	var sum tally
	for _, w := range f.workers {
		sum.calls += w.calls.Load()
		sum.refused += w.refused.Load()
		sum.failed += w.failed.Load()
	}
	return sum
}

// startFleet starts the workers and their health endpoints on loopback. stop
// must be called, also after the context is done.
func startFleet(ctx context.Context, o fleetOptions) (*fleet, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &fleet{cancel: cancel}
	for i := range o.count {
		w := &worker{
			name: fmt.Sprintf("%s-%d", userName, i+1), o: o,
			client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}},
			reload: make(chan struct{}, 1),
		}
		value, err := w.read()
		if err != nil {
			f.stop()
			return nil, err
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			f.stop()
			return nil, fmt.Errorf("listen for %s: %w", w.name, err)
		}
		w.health = "http://" + listener.Addr().String() + "/healthz"
		server := &http.Server{Handler: http.HandlerFunc(w.serveHealth), ReadHeaderTimeout: 5 * time.Second}
		f.workers, f.servers = append(f.workers, w), append(f.servers, server)
		f.wait.Go(func() { _ = server.Serve(listener) }) // ends with Close
		f.wait.Go(func() { w.work(ctx, value, spread*time.Duration(i)/time.Duration(o.count)) })
	}
	f.wait.Go(func() { f.watch(ctx, o.reloadFile) })
	return f, nil
}

// stop ends the workers and waits for them.
func (f *fleet) stop() {
	f.cancel()
	for _, server := range f.servers {
		_ = server.Close()
	}
	f.wait.Wait()
	for _, w := range f.workers {
		w.client.CloseIdleConnections()
	}
}

// watch tells all workers when the reload file was touched.
func (f *fleet) watch(ctx context.Context, file string) {
	seen := touched(file)
	for tick := time.NewTicker(lookout); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		at := touched(file)
		if at.Equal(seen) {
			continue
		}
		seen = at
		for _, w := range f.workers {
			select {
			case w.reload <- struct{}{}:
			default: // it has one to do already
			}
		}
	}
}

// touched returns when a file was last written; the zero time: there is none.
func touched(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (w *worker) read() (rotator.Secret, error) {
	raw, err := os.ReadFile(w.o.tokenFile)
	if err != nil {
		return rotator.Secret{}, fmt.Errorf("read token: %w", err)
	}
	return rotator.NewSecret(strings.TrimSuffix(string(raw), "\n")), nil
}

// work posts until the context is done. A reload takes effect after a delay,
// between two calls.
func (w *worker) work(ctx context.Context, value rotator.Secret, delay time.Duration) {
	tick := time.NewTicker(pace * time.Duration(w.o.count))
	defer tick.Stop()
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.reload:
			due = time.After(delay)
		case <-due:
			due = nil
			if fresh, err := w.read(); err == nil {
				value = fresh
			} else {
				w.failed.Add(1)
			}
		case <-tick.C:
			w.post(ctx, value)
		}
	}
}

// post makes one call with the value, to contacts and events in turn.
func (w *worker) post(ctx context.Context, value rotator.Secret) {
	number := w.calls.Add(1)
	endpoint, body := "/events", fmt.Sprintf(`[{"name":"demo","user_id":"%s","number":%d}]`, w.name, number)
	if number%2 == 0 {
		endpoint, body = "/contacts", fmt.Sprintf(`[{"user_id":"%s","number":%d}]`, w.name, number)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.stream+endpoint, bytes.NewReader([]byte(body)))
	if err != nil {
		w.failed.Add(1)
		return
	}
	req.Header.Set("Authorization", "Bearer "+value.Reveal())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", w.name)
	resp, err := w.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			w.calls.Add(-1) // the demo ends: nobody knows what became of this one
			return
		}
		w.failed.Add(1)
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusAccepted:
		w.lived.Store(value.Fingerprint())
	case http.StatusUnauthorized, http.StatusForbidden:
		w.refused.Add(1)
		w.lived.Store(rotator.Fingerprint(""))
	default:
		w.failed.Add(1)
	}
}

// serveHealth answers 200 with the fingerprint that the last accepted call
// carried, and 503 before the first call and after a refused one.
func (w *worker) serveHealth(out http.ResponseWriter, _ *http.Request) {
	lived, _ := w.lived.Load().(rotator.Fingerprint)
	if lived == "" {
		out.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	out.Header().Set("X-Token-Fingerprint", string(lived))
	_, _ = io.WriteString(out, "ok\n")
}
