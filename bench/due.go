package bench

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// longAgo is when the credentials of all tokens were issued.
func longAgo() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// scheduledTokens are due in 90 years.
func scheduledTokens(s *Service, n int) []rotator.Token {
	tokens := s.Tokens(n)
	for i := range tokens {
		tokens[i].Current.IssuedAt = longAgo()
		tokens[i].Schedule.MaxAge = 90 * 365 * 24 * time.Hour
	}
	return tokens
}

// Seen starts rotatord once with p.Tokens tokens that it has never seen, and
// stops it. Took is the time until it was up.
func Seen(ctx context.Context, p Params) (Sample, error) {
	tokens := scheduledTokens(&Service{}, p.Tokens)
	start := time.Now()
	d, err := startDaemon(ctx, daemonOptions{dir: p.Dir, tokens: tokens})
	if err != nil {
		return Sample{}, err
	}
	sample := Sample{Took: time.Since(start)}
	return sample, d.stop() //nolint:contextcheck // closing is not cut short
}

// Idle starts rotatord on what Seen left and lets it idle for p.For. Took is
// the time until it was up; CPU and MemoryMB are of the idling alone.
func Idle(ctx context.Context, p Params) (Sample, error) {
	tokens := scheduledTokens(&Service{}, p.Tokens)
	start := time.Now()
	d, err := startDaemon(ctx, daemonOptions{dir: p.Dir, tokens: tokens, schedule: true})
	if err != nil {
		return Sample{}, err
	}
	sample := Sample{Took: time.Since(start)}
	debug.FreeOSMemory() // as serve does once it is up
	cpu := cpuTime()
	select {
	case <-time.After(p.For):
	case <-ctx.Done():
		return sample, context.Cause(ctx)
	}
	sample.CPU = cpuTime() - cpu
	if sample.MemoryMB, _, err = memory("self"); err != nil {
		return sample, err
	}
	if err := p.heapProfile(); err != nil {
		return sample, err
	}
	return sample, d.stop() //nolint:contextcheck // closing is not cut short
}

// lateness notes how much later than due rotations were opened and started.
type lateness struct {
	due             map[string]time.Time
	mu              sync.Mutex
	opened, started []time.Duration
}

func (l *lateness) appended(a rotator.Append) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range a.Entries {
		switch e.Kind {
		case rotator.EntryOpened:
			l.opened = append(l.opened, time.Since(l.due[a.Token]))
		case rotator.EntryStarted:
			l.started = append(l.started, time.Since(l.due[a.Token]))
		default:
		}
	}
}

// Due starts rotatord on what Seen left, with p.Rotations of the tokens due
// within p.For, evenly, beginning soon after the start, and p.Concurrent
// rotations at once. Its times are of how much later than due each rotation was
// opened; Times has the same of when it left the queue.
func Due(ctx context.Context, p Params) (Sample, error) {
	s := NewService(p.Delay, p.Tokens)
	tokens := scheduledTokens(s, p.Tokens)
	const lead = 20 * time.Second // for the start
	first := time.Now().Add(lead)
	late := &lateness{due: make(map[string]time.Time, p.Rotations)}
	for i := range p.Rotations {
		t := &tokens[i*(len(tokens)/p.Rotations)]
		at := first.Add(p.For * time.Duration(i) / time.Duration(p.Rotations))
		late.due[t.Name], t.Schedule.MaxAge = at, at.Sub(longAgo())
	}
	closed := newClosings(tokens)
	start := time.Now()
	d, err := startDaemon(ctx, daemonOptions{dir: p.Dir, tokens: tokens, maxConcurrent: p.Concurrent, schedule: true, appended: func(a rotator.Append) {
		late.appended(a)
		closed.appended(a)
	}})
	if err != nil {
		return Sample{}, err
	}
	up := time.Since(start)
	for name := range late.due {
		select {
		case <-closed.of(name):
		case <-ctx.Done():
			return Sample{}, context.Cause(ctx)
		}
	}
	late.mu.Lock()
	defer late.mu.Unlock()
	var begun Sample
	begun.times(late.started)
	sample := Sample{Took: time.Since(start), Times: map[string]float64{
		"up": up.Seconds(), "started p50": begun.P50.Seconds(), "started p99": begun.P99.Seconds(), "started max": begun.Max.Seconds(),
	}}
	sample.times(late.opened)
	return sample, d.stop() //nolint:contextcheck // closing is not cut short
}
