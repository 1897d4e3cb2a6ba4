package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Bare makes the calls of p.Rotations rotations, p.Concurrent at once, in a bare loop.
func Bare(ctx context.Context, p Params) (Sample, error) {
	s := NewService(p.Delay, p.Rotations)
	return inLoop(ctx, p, s.Tokens(p.Rotations), s.bareRotation)
}

// Rotatord lets rotatord do what Bare does, asked for in the same way.
func Rotatord(ctx context.Context, p Params) (Sample, error) {
	return rotate(ctx, p, NewService(p.Delay, p.Rotations))
}

func rotate(ctx context.Context, p Params, s *Service) (Sample, error) {
	tokens := s.Tokens(p.Rotations)
	closed := newClosings(tokens)
	d, err := startDaemon(ctx, daemonOptions{dir: p.Dir, tokens: tokens, maxConcurrent: p.Concurrent, appended: closed.appended})
	if err != nil {
		return Sample{}, err
	}
	sample, err := inLoop(ctx, p, tokens, func(ctx context.Context, t rotator.Token) error {
		if _, err := d.Rotate(ctx, rotator.RotateRequest{Token: t.Name, Reason: rotator.Manual, By: "bench"}); err != nil {
			return err
		}
		select {
		case status := <-closed.of(t.Name):
			if status != rotator.Done {
				return fmt.Errorf("rotation of token %q ended %s", t.Name, status)
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if stopped := d.stop(); err == nil { //nolint:contextcheck // closing is not cut short
		err = stopped
	}
	return sample, err
}

// inLoop runs rotate once for each token, p.Concurrent at once.
func inLoop(ctx context.Context, p Params, tokens []rotator.Token, rotate func(context.Context, rotator.Token) error) (Sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan int)
	took := make([]time.Duration, len(tokens))
	var workers sync.WaitGroup
	cpu, start := cpuTime(), time.Now()
	for range p.Concurrent {
		workers.Go(func() {
			for i := range work {
				begin := time.Now()
				if err := rotate(ctx, tokens[i]); err != nil {
					cancel(err)
				}
				took[i] = time.Since(begin)
			}
		})
	}
	for i := range tokens {
		work <- i
	}
	close(work)
	workers.Wait()
	sample := Sample{Took: time.Since(start), CPU: cpuTime() - cpu}
	sample.times(took)
	return sample, context.Cause(ctx)
}
