package dispatch_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/internal/dispatch"
)

// A recorder is an engine that notes when it was called.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	calls []string
	next  func(rotation string) time.Time // nil: the zero time
}

func newRecorder() *recorder { return &recorder{start: time.Now()} }

func (r *recorder) advance(_ context.Context, rotation string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf("%s at %v", rotation, time.Since(r.start)))
	if r.next == nil {
		return time.Time{}
	}
	return r.next(rotation)
}

func (r *recorder) want(t *testing.T, what string, calls ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.calls)
	slices.Sort(calls)
	if diff := cmp.Diff(calls, r.calls); diff != "" {
		t.Errorf("calls %s (-want +got):\n%s", what, diff)
	}
	r.calls = nil
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

func TestWakeAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		d := dispatch.New()
		d.WakeAt("before start", in(time.Second))
		d.Start(r.advance)
		defer d.Stop()
		d.WakeAt("past", in(-time.Hour))
		d.WakeAt("now", in(0))
		d.WakeAt("never", time.Time{})
		d.WakeAt("later wins not", in(5*time.Second))
		d.WakeAt("later wins not", in(9*time.Second))
		d.WakeAt("earlier wins", in(9*time.Second))
		d.WakeAt("earlier wins", in(5*time.Second))
		d.WakeAt("day", in(24*time.Hour))
		r.want(t, "at once", "past at 0s", "now at 0s")
		time.Sleep(time.Hour)
		r.want(t, "in an hour", "before start at 1s", "later wins not at 5s", "earlier wins at 5s")
		time.Sleep(24 * time.Hour)
		r.want(t, "in a day", "day at 24h0m0s")
	})
}

// TestNext has the engine say itself when it wants to go on.
func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		d := dispatch.New()
		r.next = func(string) time.Time {
			if time.Since(r.start) >= 3*time.Minute {
				return time.Time{}
			}
			return in(90 * time.Second)
		}
		d.Start(r.advance)
		defer d.Stop()
		d.WakeAt("a", in(0))
		time.Sleep(time.Minute)
		d.WakeAt("a", in(10*time.Second)) // before what the call asked for
		time.Sleep(time.Hour)
		r.want(t, "until it wants no more", "a at 0s", "a at 1m10s", "a at 2m40s", "a at 4m10s")
		d.WakeAt("a", in(0))
		r.want(t, "after it wanted no more", "a at 1h1m0s")
	})
}

// TestDuringCall wakes a rotation while it is being advanced: it is called
// again after the call, at the earlier of the times, and never twice at once.
func TestDuringCall(t *testing.T) {
	tests := []struct {
		name   string
		wake   []time.Duration // seen from the start, at one second
		next   time.Duration   // what the call, which ends at 10 s, returns; 0: the zero time
		second time.Duration   // when the second call begins; 0: none
	}{
		{"nothing", nil, 0, 0},
		{"in the past", []time.Duration{1 * time.Second}, 0, 10 * time.Second},
		{"during the call", []time.Duration{5 * time.Second}, 0, 10 * time.Second},
		{"after the call", []time.Duration{15 * time.Second}, 0, 15 * time.Second},
		{"the earlier of two", []time.Duration{30 * time.Second, 15 * time.Second, 20 * time.Second}, 0, 15 * time.Second},
		{"the call wants more, earlier", []time.Duration{15 * time.Second}, 12 * time.Second, 12 * time.Second},
		{"the call wants more, later", []time.Duration{15 * time.Second}, 20 * time.Second, 15 * time.Second},
		{"the call wants more alone", nil, 20 * time.Second, 20 * time.Second},
		{"the call wants more at once", nil, time.Second, 10 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var begun []time.Duration
				var running atomic.Int32
				d := dispatch.New()
				d.Start(func(context.Context, string) time.Time {
					if running.Add(1) != 1 {
						t.Error("two calls for one rotation at once")
					}
					defer running.Add(-1)
					begun = append(begun, time.Since(start))
					if len(begun) > 1 {
						return time.Time{}
					}
					time.Sleep(10 * time.Second)
					if test.next == 0 {
						return time.Time{}
					}
					return start.Add(test.next)
				})
				d.WakeAt("a", start)
				time.Sleep(time.Second)
				for _, at := range test.wake {
					d.WakeAt("a", start.Add(at))
				}
				time.Sleep(time.Hour)
				d.Stop()
				want := []time.Duration{0}
				if test.second != 0 {
					want = append(want, test.second)
				}
				if diff := cmp.Diff(want, begun); diff != "" {
					t.Errorf("calls began at (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatch.New()
		d.Stop() // before Start it does nothing
		start := time.Now()
		var ended atomic.Int32
		d.Start(func(ctx context.Context, rotation string) time.Time {
			<-ctx.Done()
			d.WakeAt(rotation, in(0))
			d.WakeAt("other", in(0))
			time.Sleep(3 * time.Second) // it takes its time
			ended.Add(1)
			return in(0)
		})
		for n := range 5 {
			d.WakeAt(fmt.Sprint(n), in(0))
		}
		d.WakeAt("future", in(time.Hour))
		synctest.Wait()
		var stops sync.WaitGroup
		for range 3 {
			stops.Go(d.Stop)
		}
		stops.Wait()
		if got := time.Since(start); ended.Load() != 5 || got != 3*time.Second {
			t.Errorf("Stop returned after %v with %d calls ended; want 3s and 5", got, ended.Load())
		}
		time.Sleep(2 * time.Hour)
		if ended.Load() != 5 {
			t.Errorf("%d calls after Stop; want none", ended.Load()-5)
		}

		// All is forgotten, and it can start again.
		r := newRecorder()
		d.Start(r.advance)
		time.Sleep(2 * time.Hour)
		r.want(t, "after the second start")
		for _, rotation := range []string{"b", "0", "future"} { // new, was running, was waiting
			d.WakeAt(rotation, in(time.Minute))
		}
		time.Sleep(time.Hour)
		r.want(t, "of new wake times", "b at 2h1m0s", "0 at 2h1m0s", "future at 2h1m0s")
		d.Stop()
	})
}

// TestContext sees that a call's context lives until Stop, not shorter.
func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dispatch.New()
		var early error
		d.Start(func(ctx context.Context, _ string) time.Time {
			time.Sleep(time.Hour)
			early = ctx.Err()
			<-ctx.Done()
			return time.Time{}
		})
		d.WakeAt("a", in(0))
		time.Sleep(2 * time.Hour)
		d.Stop()
		if early != nil {
			t.Errorf("ctx.Err() before Stop = %v; want nil", early)
		}
	})
}

// TestMany has ten thousand rotations live through a day.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rotations, times = 10_000, 4
		var mu sync.Mutex
		due := make(map[string]time.Time, rotations)
		count := make(map[string]int, rotations)
		random := rand.New(rand.NewPCG(1, 2))
		late := 0
		d := dispatch.New()
		d.Start(func(_ context.Context, rotation string) time.Time {
			mu.Lock()
			defer mu.Unlock()
			if !time.Now().Equal(due[rotation]) {
				late++
			}
			count[rotation]++
			if count[rotation] == times {
				return time.Time{}
			}
			due[rotation] = in(time.Duration(random.Int64N(int64(6 * time.Hour))))
			return due[rotation]
		})
		defer d.Stop()
		mu.Lock()
		for n := range rotations {
			id := fmt.Sprint(n)
			due[id] = in(time.Duration(random.Int64N(int64(6 * time.Hour))))
			d.WakeAt(id, due[id])
		}
		mu.Unlock()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for id, n := range count {
			if n != times {
				t.Errorf("rotation %s was called %d times; want %d", id, n, times)
			}
		}
		if len(count) != rotations || late != 0 {
			t.Errorf("%d rotations were called, %d of the calls not in time; want %d and 0", len(count), late, rotations)
		}
	})
}

// TestRace uses everything at once, in real time, for the race detector.
func TestRace(t *testing.T) {
	defer goleak.VerifyNone(t)
	d := dispatch.New()
	running := make([]atomic.Int32, 8)
	var calls atomic.Int64
	enough := make(chan struct{})
	advance := func(_ context.Context, rotation string) time.Time {
		n := rotation[0] - '0'
		if running[n].Add(1) != 1 {
			t.Errorf("two calls for rotation %s at once", rotation)
		}
		defer running[n].Add(-1)
		if calls.Add(1) == 2000 {
			close(enough)
		}
		d.WakeAt(rotation, time.Now())
		return in(time.Microsecond)
	}
	d.Start(advance)
	d.Start(advance) // does nothing
	var all sync.WaitGroup
	for n := range running {
		all.Go(func() {
			for range 50 {
				d.WakeAt(fmt.Sprint(n), in(time.Duration(n)*time.Microsecond))
			}
		})
	}
	all.Wait()
	<-enough
	d.Stop()
	for n := range running {
		if running[n].Load() != 0 {
			t.Errorf("a call for rotation %d runs after Stop", n)
		}
	}
}

func BenchmarkWakeAt(b *testing.B) {
	d := dispatch.New()
	d.Start(func(context.Context, string) time.Time { return time.Time{} })
	defer d.Stop()
	far := in(24 * time.Hour)
	for n := range b.N {
		d.WakeAt(fmt.Sprint(n%10_000), far.Add(-time.Duration(n)))
	}
}
