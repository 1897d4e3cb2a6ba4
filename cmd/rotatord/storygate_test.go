package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// A gate stands before a service and can hold a call, so that a story stops
// rotatord in the middle of it.
type gate struct {
	mu    sync.Mutex
	calls int
	traps map[string]*trap
}

// A trap holds one call.
type trap struct {
	calls   *regexp.Regexp
	when    string // before, after or late
	sprung  bool
	reached chan struct{} // closed when a call is held
	once    sync.Once
	over    chan struct{} // closed when the call may go on, or is cut
	cut     bool          // set before over is closed
}

// end lets the call go on, or cuts it. Only the first time counts.
func (t *trap) end(cut bool) {
	t.once.Do(func() {
		t.cut = cut
		close(t.over)
	})
}

// around makes a service's calls pass the gate.
func (g *gate) around(service http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t := g.spring(r.Method + " " + r.URL.Path)
		if t == nil {
			service.ServeHTTP(w, r)
			return
		}
		// Only once the body is read does net/http notice that the caller is gone.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if t.when == "late" {
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		if t.when == "after" {
			service.ServeHTTP(answer, r)
		}
		close(t.reached)
		select {
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-t.over:
		}
		if t.cut {
			panic(http.ErrAbortHandler) // how net/http cuts a connection without an answer
		}
		if t.when != "after" {
			service.ServeHTTP(answer, r)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // the caller may be gone
	})
}

// spring counts a call and returns the trap that holds it, if one does.
func (g *gate) spring(call string) *trap {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	for _, t := range g.traps {
		if !t.sprung && t.calls.MatchString(call) {
			t.sprung = true
			return t
		}
	}
	return nil
}

func (g *gate) trap(ts *testscript.TestScript, name string) *trap {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.traps[name]
	if t == nil {
		ts.Fatalf("there is no trap %s", name)
	}
	return t
}

func setTrap(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, "trap NAME before|after|late REGEXP")
	g := &worldOf(ts).gate
	t := &trap{
		calls: regexp.MustCompile(args[2]), when: args[1],
		reached: make(chan struct{}), over: make(chan struct{}),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.traps == nil {
		g.traps = map[string]*trap{}
	}
	g.traps[args[0]] = t
	ts.Defer(func() { t.end(true) }) // else its server can't be closed
}

func trapped(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "trapped NAME")
	t := worldOf(ts).gate.trap(ts, args[0])
	until(ts, "a call in trap "+args[0], func() bool {
		select {
		case <-t.reached:
			return true
		default:
			return false
		}
	})
}

func release(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "release NAME")
	worldOf(ts).gate.trap(ts, args[0]).end(false)
}

func cut(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "cut NAME")
	worldOf(ts).gate.trap(ts, args[0]).end(true)
}

func calls(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "calls N")
	g := &worldOf(ts).gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if strconv.Itoa(g.calls) != args[0] {
		ts.Fatalf("%d calls; want %s", g.calls, args[0])
	}
}
