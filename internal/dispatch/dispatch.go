// Package dispatch calls the engine when a rotation is to go on: the embedded
// dispatcher of a single process.
//
// It keeps a heap of wake times in memory, one timer for the earliest of them,
// and one goroutine for each call under way. It keeps nothing across a restart:
// whoever starts it gives it the wake times that the journal has. It never
// looks at a journal, never limits how many calls run at once, never catches a
// panic and never logs.
//
// It uses package time alone, so that a bubble of testing/synctest can hold it.
// A dispatcher for several processes is another rotator.Dispatcher beside this
// one.
package dispatch

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// maxSleep is how long the timer sleeps at most: wake times are times of the
// wall clock, which may be set, and may go on while the machine sleeps.
const maxSleep = time.Minute

// Dispatcher is a rotator.Dispatcher. Its methods may be called from many
// goroutines, WakeAt also from within a call; Stop must not be.
type Dispatcher struct {
	mu        sync.Mutex
	advance   func(ctx context.Context, rotation string) time.Time
	ctx       context.Context // of all calls between Start and Stop
	cancel    context.CancelFunc
	timer     *time.Timer
	rotations map[string]*rotation // with a wake time or a call under way
	waiting   queue
	stopping  bool
	idle      *sync.Cond // calls became 0, or stopping false
	calls     int
}

// A rotation is in the queue, or running, or both left and forgotten.
type rotation struct {
	id      string
	at      time.Time // zero: none is set
	index   int       // in the queue; -1: not in it
	running bool
}

var _ rotator.Dispatcher = (*Dispatcher)(nil)

// New makes a dispatcher that waits for Start.
func New() *Dispatcher {
	d := &Dispatcher{rotations: map[string]*rotation{}}
	d.idle = sync.NewCond(&d.mu)
	return d
}

// Start begins to dispatch, with the wake times that were set before it too.
// It does nothing when the dispatcher runs already; after Stop it may be called
// again. advance is called with a context that Stop cancels.
func (d *Dispatcher) Start(advance func(ctx context.Context, rotation string) time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.advance != nil {
		return
	}
	d.advance = advance
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.dispatch()
}

// WakeAt sets when a rotation is advanced next; an earlier time already set
// stays. A time in the past means now, the zero time nothing at all. While the
// rotation is being advanced, the time is for another call after that one.
func (d *Dispatcher) WakeAt(id string, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.IsZero() {
		return
	}
	r := d.rotations[id]
	if r == nil {
		r = &rotation{id: id, index: -1}
		d.rotations[id] = r
	}
	r.wakeAt(at)
	if !r.running {
		d.queue(r)
	}
	d.dispatch()
}

// Stop cancels the calls' contexts, waits for them and forgets all wake times,
// those set in the meantime too.
func (d *Dispatcher) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping { // another Stop is at it
		for d.stopping {
			d.idle.Wait()
		}
		return
	}
	if d.advance != nil {
		d.stopping = true
		d.cancel()
		for d.calls > 0 {
			d.idle.Wait()
		}
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.advance, d.stopping = nil, false
	clear(d.rotations)
	d.waiting = nil
	d.idle.Broadcast()
}

// dispatch starts every call that is due, and sets the timer for the next one.
func (d *Dispatcher) dispatch() {
	if d.advance == nil || d.stopping {
		return
	}
	now := time.Now()
	for len(d.waiting) > 0 && !d.waiting[0].at.After(now) {
		r := d.waiting[0]
		heap.Pop(&d.waiting)
		r.at, r.running = time.Time{}, true
		d.calls++
		go d.call(d.ctx, d.advance, r)
	}
	if len(d.waiting) == 0 {
		return // a timer that still runs finds nothing to do
	}
	sleep := min(d.waiting[0].at.Sub(now), maxSleep)
	if d.timer == nil {
		d.timer = time.AfterFunc(sleep, d.wake)
	} else {
		d.timer.Reset(sleep)
	}
}

func (d *Dispatcher) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dispatch()
}

// call advances a rotation once.
func (d *Dispatcher) call(ctx context.Context, advance func(context.Context, string) time.Time, r *rotation) {
	next := advance(ctx, r.id)
	d.mu.Lock()
	defer d.mu.Unlock()
	r.running = false
	d.calls--
	if d.calls == 0 {
		d.idle.Broadcast()
	}
	if d.stopping {
		return
	}
	if !next.IsZero() {
		r.wakeAt(next)
	}
	if r.at.IsZero() {
		delete(d.rotations, r.id)
		return
	}
	d.queue(r)
	d.dispatch()
}

func (r *rotation) wakeAt(at time.Time) {
	if r.at.IsZero() || at.Before(r.at) {
		r.at = at
	}
}

// queue puts a rotation where its time belongs.
func (d *Dispatcher) queue(r *rotation) {
	if r.index < 0 {
		heap.Push(&d.waiting, r)
	} else {
		heap.Fix(&d.waiting, r.index)
	}
}

// queue is a heap, the earliest first.
type queue []*rotation

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	r := x.(*rotation) // only queue pushes
	r.index = len(*q)
	*q = append(*q, r)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	r := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	r.index = -1
	return r
}
