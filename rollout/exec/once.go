package execrollout

import (
	"context"
	"errors"
	"sync"

	"github.com/rotatord/rotatord/rotator"
)

// maxRemembered bounds the record of releases; a release is asked for again
// within minutes, not after hundreds of others.
const maxRemembered = 512

// once runs an act one time for a release. The record is in memory only: after
// a restart the deployer's `already` command is asked, where there is one.
type once struct {
	mu      sync.Mutex
	done    map[string]bool
	order   []string // of done, oldest first
	running map[string]*running
}

type running struct {
	ended chan struct{} // closed when err is set
	err   error
}

// do runs act unless it was done for the release. While another call runs it,
// do waits for that one's result; a run that its own caller cancelled counts
// as none, and the waiting call takes its place. A failed act may be done again.
func (o *once) do(ctx context.Context, release string, act func() error) error {
	for {
		mine, other := o.claim(release)
		if mine == nil && other == nil {
			return nil
		}
		if mine != nil {
			mine.err = act()
			o.settle(release, mine)
			return mine.err
		}
		select {
		case <-ctx.Done():
			return rotator.Unsent(ctx.Err())
		case <-other.ended:
		}
		if errors.Is(other.err, context.Canceled) || errors.Is(other.err, context.DeadlineExceeded) {
			continue
		}
		return other.err
	}
}

// claim returns a new run of the caller's, or that of another call, or neither
// when the release is done.
func (o *once) claim(release string) (mine, other *running) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done[release] {
		return nil, nil
	}
	if other = o.running[release]; other != nil {
		return nil, other
	}
	if o.running == nil {
		o.running = map[string]*running{}
		o.done = map[string]bool{}
	}
	mine = &running{ended: make(chan struct{})}
	o.running[release] = mine
	return mine, nil
}

func (o *once) settle(release string, r *running) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.running, release)
	if r.err == nil {
		o.done[release] = true
		o.order = append(o.order, release)
		if len(o.order) > maxRemembered {
			delete(o.done, o.order[0])
			o.order = o.order[1:]
		}
	}
	close(r.ended)
}
