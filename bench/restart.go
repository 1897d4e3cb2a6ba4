package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// stuckCalls are where the rotations of Prepare are when they are killed, in turn.
func stuckCalls() []string {
	return []string{callIssue, callPut, callDeploy, callProbe, callRevoke}
}

func worldFile(dir string) string { return filepath.Join(dir, "service.json") }

// atOnce asks for a rotation of every token, many at the same time.
func atOnce(ctx context.Context, d *daemon, tokens []rotator.Token) error {
	const askers = 64
	work := make(chan string)
	failed := make(chan error, askers)
	for range askers {
		go func() {
			var first error
			for name := range work {
				_, err := d.Rotate(ctx, rotator.RotateRequest{Token: name, Reason: rotator.Manual, By: "bench"})
				if first == nil {
					first = err
				}
			}
			failed <- first
		}()
	}
	for _, t := range tokens {
		work <- t.Name
	}
	close(work)
	var all []error
	for range askers {
		all = append(all, <-failed)
	}
	return errors.Join(all...)
}

// Prepare brings p.Rotations rotations into the middle of a call, each fifth
// one into the same, and ends this process as kill -9 does. The calls had their
// effect; the answers are lost. What the service knows is left for Restart.
func Prepare(ctx context.Context, p Params) (Sample, error) {
	s := NewService(p.Delay, p.Rotations)
	calls := stuckCalls()
	at := make(map[string]string, p.Rotations)
	for i := range p.Rotations {
		at[tokenName(i)] = calls[i%len(calls)]
	}
	var stuck sync.WaitGroup
	stuck.Add(p.Rotations)
	s.Stuck = func(token, call string) bool {
		if at[token] != call {
			return false
		}
		stuck.Done()
		return true
	}
	tokens := s.Tokens(p.Rotations)
	for i := range tokens {
		tokens[i].Rollout.Timeout = time.Hour
	}
	d, err := startDaemon(ctx, daemonOptions{dir: p.Dir, tokens: tokens, maxConcurrent: p.Rotations, actTimeout: time.Hour})
	if err != nil {
		return Sample{}, err
	}
	if err := atOnce(ctx, d, tokens); err != nil {
		return Sample{}, err
	}
	stuck.Wait()
	s.mu.Lock()
	text, err := json.Marshal(s.state)
	if err == nil {
		err = os.WriteFile(worldFile(p.Dir), text, 0o600)
	}
	if err != nil {
		return Sample{}, err
	}
	return Sample{}, syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// Restart starts rotatord on what Prepare left. Its times are of how long after
// the start a rotation has its first new entry on the disk; Times has when the
// engine was started and the last rotation was closed. Those whose issue was in
// doubt look for strays for as long as a call may take, a minute.
func Restart(ctx context.Context, p Params) (Sample, error) {
	text, err := os.ReadFile(worldFile(p.Dir))
	if err != nil {
		return Sample{}, err
	}
	s := NewService(p.Delay, 0)
	if err := json.Unmarshal(text, &s.state); err != nil {
		return Sample{}, err
	}
	tokens := s.Tokens(len(s.state.Places))
	var mu sync.Mutex
	var took []time.Duration
	seen := make(map[string]bool, len(tokens))
	wentOn := make(chan struct{})
	closed := newClosings(tokens)
	start := time.Now()
	d, err := startDaemon(ctx, daemonOptions{dir: p.Dir, tokens: tokens, maxConcurrent: len(tokens), appended: func(a rotator.Append) {
		closed.appended(a)
		mu.Lock()
		defer mu.Unlock()
		if a.Rotation == "" || seen[a.Rotation] {
			return
		}
		seen[a.Rotation] = true
		if took = append(took, time.Since(start)); len(took) == len(tokens) {
			close(wentOn)
		}
	}})
	if err != nil {
		return Sample{}, err
	}
	up := time.Since(start)
	select {
	case <-wentOn:
	case <-ctx.Done():
		return Sample{}, errors.Join(context.Cause(ctx), d.stop()) //nolint:contextcheck // closing is not cut short
	}
	sample := Sample{Took: time.Since(start), CPU: cpuTime(), Times: map[string]float64{"up": up.Seconds()}}
	sample.times(took)
	if err := p.heapProfile(); err != nil {
		return sample, err
	}
	for _, t := range tokens {
		if status := <-closed.of(t.Name); status != rotator.Done {
			return sample, fmt.Errorf("rotation of token %q ended %s", t.Name, status)
		}
	}
	sample.Times["closed"] = time.Since(start).Seconds()
	return sample, d.stop() //nolint:contextcheck // closing is not cut short
}
