package instasentsim

import (
	"net/http"
	"slices"

	"github.com/rotatord/rotatord/rotator"
)

// Knobs say how the service behaves where nobody knows how the real one does,
// or where it may behave in several ways. The zero value is the documented one.
type Knobs struct {
	DeadStatus      int              `json:"dead_status"`       // 401 [D], or 403 with "No token could be found" [T]; 0: 401
	ForeignStatus   int              `json:"foreign_status"`    // a token used on another project or datasource: 404 or 403 (unknown); 0: 404
	ActivationDelay rotator.Duration `json:"activation_delay"`  // a new token is refused for this long (unknown)
	RevocationLag   rotator.Duration `json:"revocation_lag"`    // a deleted token is accepted for this long (unknown)
	RateLimit       int              `json:"rate_limit"`        // calls a window, datasource and endpoint; 0: 600 [D]; negative: no limit
	RateWindow      rotator.Duration `json:"rate_window"`       // 0: a minute [D]
	MaxTokens       int              `json:"max_tokens"`        // a datasource may have at once (unknown); 0: no maximum
	MaxTokensStatus int              `json:"max_tokens_status"` // of the refusal: 422 or 409; 0: 422
	PageSize        int              `json:"page_size"`         // of the list of tokens; 0: 50
	ListUnsupported bool             `json:"list_unsupported"`  // the dashboard side can't list: 405
	Latency         rotator.Duration `json:"latency"`           // of every answer
}

// Knobs returns how the service behaves now.
func (s *Sim) Knobs() Knobs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knobs
}

// Set changes how the service behaves from now on. Delays hold for the tokens
// made or deleted after it.
func (s *Sim) Set(change func(*Knobs)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.knobs)
}

// Side is one side of the service.
type Side string

// The sides.
const (
	SideAdmin Side = "admin" // the dashboard
	SideAPI   Side = "api"
)

// A Fault is something that goes wrong with the next calls it matches.
type Fault struct {
	Side   Side   `json:"side"`   // empty: both
	Method string `json:"method"` // empty: any
	Status int    `json:"status"` // answer this instead of doing anything; 0: do it, then cut the connection without an answer
	Times  int    `json:"times"`  // 0: once
}

// Inject lets the next calls that match go wrong. Faults are used up in the
// order in which they were injected.
func (s *Sim) Inject(f Fault) {
	f.Times = max(f.Times, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// LoseNext loses the answers of the next n calls with that method on that side:
// the effect is there, the connection is cut. An empty method is any.
func (s *Sim) LoseNext(side Side, method string, n int) {
	s.Inject(Fault{Side: side, Method: method, Times: n})
}

// FailNext answers the next n calls with that method on that side with a
// status, without any effect. An empty method is any.
func (s *Sim) FailNext(side Side, method string, n, status int) {
	s.Inject(Fault{Side: side, Method: method, Times: n, Status: status})
}

// ClearFaults forgets the faults that are not used up.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Sim) takeFault(side Side, method string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if (f.Side != "" && f.Side != side) || (f.Method != "" && f.Method != method) {
			continue
		}
		if s.faults[i].Times--; s.faults[i].Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return f, true
	}
	return Fault{}, false
}

func (k Knobs) deadStatus() int { return orElse(k.DeadStatus, http.StatusUnauthorized) }

func (k Knobs) foreignStatus() int { return orElse(k.ForeignStatus, http.StatusNotFound) }

func (k Knobs) fullStatus() int { return orElse(k.MaxTokensStatus, http.StatusUnprocessableEntity) }

func (k Knobs) pageSize() int { return orElse(k.PageSize, 50) }

func orElse(value, otherwise int) int {
	if value == 0 {
		return otherwise
	}
	return value
}
