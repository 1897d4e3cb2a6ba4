package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// leakPause is between two leaks.
const leakPause = 50 * time.Millisecond

// openings counts open rotations that are no leaks.
type openings struct {
	mu   sync.Mutex
	open int
}

func (o *openings) appended(a rotator.Append) {
	if a.Summary == nil || a.Summary.Reason == rotator.Leak {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case !a.Summary.ClosedAt.IsZero():
		o.open--
	case a.Head == 0:
		o.open++
	}
}

func (o *openings) count() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return float64(o.open)
}

// Leak lets p.Rotations rotations run, all at once, and reports p.Tokens leaks
// of other tokens in the meantime, one after another. The others wait at their
// first call until all are open; then all go on as fast as they can. Its times
// are from the call of Rotate to the service's first refusal of the leaked
// credential. Times has how many of the others were open at the first and at
// the last leak.
func Leak(ctx context.Context, p Params) (Sample, error) {
	s := NewService(p.Delay, p.Rotations+p.Tokens)
	tokens := s.Tokens(p.Rotations + p.Tokens)
	others, leaked := tokens[:p.Rotations], tokens[p.Rotations:]
	refused := make(map[string]chan time.Time, len(leaked))
	for _, t := range leaked {
		refused[t.Name] = make(chan time.Time, 1)
	}
	gate := make(chan struct{})
	s.Wait = func(token string) {
		if refused[token] == nil {
			<-gate
		}
	}
	s.Refused = func(token string) {
		select {
		case refused[token] <- time.Now(): // nil for the others: never
		default:
		}
	}
	var open openings
	d, err := startDaemon(ctx, daemonOptions{
		dir: p.Dir, tokens: tokens, maxConcurrent: max(p.Rotations, 1), actTimeout: time.Hour, appended: open.appended,
	})
	if err != nil {
		return Sample{}, err
	}
	err = atOnce(ctx, d, others)
	sample := Sample{Times: map[string]float64{"open at the first": open.count()}}
	close(gate)
	start := time.Now()
	took, leakErr := reportLeaks(ctx, d, leaked, refused)
	sample.Times["open at the last"] = open.count()
	sample.times(took)
	sample.Took = time.Since(start)
	return sample, errors.Join(err, leakErr, d.stop()) //nolint:contextcheck // closing is not cut short
}

// reportLeaks returns how long each leak took; it returns when all are over.
func reportLeaks(ctx context.Context, d *daemon, leaked []rotator.Token, refused map[string]chan time.Time) ([]time.Duration, error) {
	took, failed := make([]time.Duration, len(leaked)), make([]error, len(leaked))
	var leaks sync.WaitGroup
	ticker := time.NewTicker(leakPause)
	defer ticker.Stop()
	for i, t := range leaked {
		leaks.Go(func() {
			begin := time.Now()
			if _, failed[i] = d.Rotate(ctx, rotator.RotateRequest{Token: t.Name, Reason: rotator.Leak, By: "bench"}); failed[i] != nil {
				return
			}
			select {
			case at := <-refused[t.Name]:
				took[i] = at.Sub(begin)
			case <-ctx.Done():
				failed[i] = context.Cause(ctx)
			}
		})
		<-ticker.C
	}
	leaks.Wait()
	return took, errors.Join(failed...)
}
