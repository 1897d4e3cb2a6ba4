package instasentsim

import (
	"net/http"
	"strconv"
	"time"
)

// A window counts the calls of one datasource and endpoint. Limits are not per
// token: a check shares the budget of the workers [D].
type window struct {
	ends  time.Time
	calls int
}

// allow counts a call and sets the headers of its answer; false means 429.
// X-RateLimit-Reset is absolute, in Unix seconds; there is no Retry-After [D].
// Refused calls don't come here: their answers may lack the headers [I].
func (s *Sim) allow(h http.Header, at route, now time.Time) bool {
	limit := orElse(s.knobs.RateLimit, 600)
	if limit < 0 {
		return true
	}
	length := s.knobs.RateWindow.Std()
	if length <= 0 {
		length = time.Minute
	}
	key := at.place.Project + "/" + at.place.Datasource + " " + at.endpoint
	w := s.windows[key]
	if w == nil || !now.Before(w.ends) || w.ends.Sub(now) > length {
		w = &window{ends: now.Truncate(length).Add(length)}
		s.windows[key] = w
	}
	w.calls++
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(limit-w.calls, 0)))
	h.Set("X-RateLimit-Reset", unixCeil(w.ends))
	return w.calls <= limit
}

// unixCeil rounds up: who calls at that second must be let in.
func unixCeil(t time.Time) string {
	return strconv.FormatInt(t.Add(time.Second-time.Nanosecond).Unix(), 10)
}
