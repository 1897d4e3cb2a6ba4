package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

// crashing is a journal whose process dies at its nth append: before it is
// written, or right after.
type crashing struct {
	*memory.Journal
	left    int
	after   bool
	crashed chan struct{}
}

var errCrashed = errors.New("the process is dead")

func (c *crashing) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	select {
	case <-c.crashed:
		return nil, errCrashed
	default:
	}
	c.left--
	if c.left > 0 {
		return c.Journal.Append(ctx, a)
	}
	close(c.crashed)
	if c.after {
		if _, err := c.Journal.Append(ctx, a); err != nil {
			return nil, err
		}
	}
	return nil, errCrashed
}

// A story is one rotation under one kind of trouble, with how it must end.
type story struct {
	name    string
	reason  rotator.Reason
	trouble func(w *world)
	want    rotator.Status
}

func stories() []story {
	return []story{
		{name: "plain", reason: rotator.Manual, want: rotator.Done},
		{name: "leak", reason: rotator.Leak, want: rotator.Done},
		{
			name: "unhealthy", reason: rotator.Scheduled, want: rotator.RolledBack,
			trouble: func(w *world) { w.sickOn = "canary-value-1" },
		},
		{
			name: "store fails", reason: rotator.Scheduled, want: rotator.RolledBack,
			trouble: func(w *world) { w.stores[1].putErr = errors.New("disk full") },
		},
		{
			name: "answer lost", reason: rotator.Offboarding, want: rotator.Done,
			trouble: func(w *world) { w.loseIssue = 1 },
		},
	}
}

// TestCrashAtEveryAppend kills the process before and after every write to the
// journal, restarts it, and holds the promises P1, P3, P4 and P6.
func TestCrashAtEveryAppend(t *testing.T) {
	for _, s := range stories() {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%t", s.name, after), func(t *testing.T) {
				points := 0
				for n := 2; ; n++ { // the first append only notes that the token was seen
					survived := false
					synctest.Test(t, func(t *testing.T) { survived = crashAt(t, s, n, after) })
					if survived || t.Failed() {
						break
					}
					points++
				}
				if points < 10 {
					t.Errorf("only %d crash points were reached", points)
				}
			})
		}
	}
}

// crashAt runs a story with a crash at the nth append and tells whether the
// story ended before it.
func crashAt(t *testing.T, s story, n int, after bool) bool {
	w := newWorld(t)
	if s.trouble != nil {
		s.trouble(w)
	}
	id := &ids{}
	j := &crashing{Journal: memory.New(), left: n, after: after, crashed: make(chan struct{})}
	d := w.start(j, w.token(), false, id)
	_, _ = d.Rotate(t.Context(), rotator.RotateRequest{Token: tokenName, Reason: s.reason})
	survived := false
	select {
	case <-j.crashed:
		time.Sleep(time.Second) // whatever was under way comes to rest
	case <-time.After(time.Hour):
		survived = true
	}
	w.work()
	d.Stop()

	d = w.start(j.Reopen(), w.token(), false, id)
	defer d.Stop()
	open, err := j.Rotations(t.Context(), tokenName, 1)
	if err != nil {
		t.Fatal(err)
	}
	rotation := "R1"
	if len(open) == 0 { // it died before the rotation was opened
		rotation = d.rotate(s.reason)
	}
	status := d.wait(rotation)
	if t.Failed() || status.Status != s.want {
		t.Errorf("%s: crash at append %d (after=%t)", s.name, n, after)
	}
	w.check(d, status, s.want)
	return survived
}
