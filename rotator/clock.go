package rotator

import "time"

// inOrder moves entries back that are in the future, or behind the one that
// follows them: the clock was set back after they were written. How far apart
// they are stays the same, so that no wait begins anew and none gets longer.
func inOrder(entries []Entry, now time.Time) {
	var back time.Duration
	for i := len(entries) - 1; i >= 0; i-- {
		e := &entries[i]
		e.At = e.At.Add(-back)
		if ahead := e.At.Sub(now); ahead > 0 {
			back += ahead
			e.At = now
		}
		if !e.RetryAt.IsZero() {
			e.RetryAt = e.RetryAt.Add(-back)
		}
		now = e.At
	}
}
