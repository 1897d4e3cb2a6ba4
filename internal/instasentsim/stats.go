package instasentsim

import (
	"maps"
	"slices"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// maxRefusals bounds the refusals that are remembered one by one.
const maxRefusals = 10_000

// Stats is what happened so far. Calls, Refused, Limited and ByEndpoint are
// those of the API side.
type Stats struct {
	Calls      int            `json:"calls"`       // all, those answered by a fault too
	Refused    int            `json:"refused"`     // answered 401 or 403
	Limited    int            `json:"limited"`     // answered 429
	Failed     int            `json:"failed"`      // answered by a Fault, on both sides
	ByEndpoint map[string]int `json:"by_endpoint"` // "GET stream", "POST events", …: those that reached a known endpoint
	Refusals   []Refusal      `json:"refusals"`    // oldest first; the last 10,000
	Tokens     []TokenStats   `json:"tokens"`      // oldest first; the deleted ones too
}

// A Refusal is one call that was answered 401 or 403.
type Refusal struct {
	At          time.Time           `json:"at"`
	Fingerprint rotator.Fingerprint `json:"fingerprint"` // of the value that was sent; empty: none
	Endpoint    string              `json:"endpoint"`    // "GET stream"
	Status      int                 `json:"status"`
	UserAgent   string              `json:"user_agent"` // who called: workers should name themselves
}

// TokenStats is what happened to one token. Zero times mean: not yet.
type TokenStats struct {
	ID             string              `json:"id"`
	Name           string              `json:"name"`
	Type           string              `json:"type"`
	Place          Place               `json:"place"`
	Fingerprint    rotator.Fingerprint `json:"fingerprint"`
	Accepted       bool                `json:"accepted"` // would the API accept it now?
	IssuedAt       time.Time           `json:"issued_at"`
	DeletedAt      time.Time           `json:"deleted_at,omitzero"`
	FirstRefusedAt time.Time           `json:"first_refused_at,omitzero"` // after the delete
	LastAcceptedAt time.Time           `json:"last_accepted_at,omitzero"`
	Calls          int                 `json:"calls"`
	Refused        int                 `json:"refused"` // answered 401 or 403
}

// Stats returns a copy of what happened so far.
func (s *Sim) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.ByEndpoint = maps.Clone(s.stats.ByEndpoint)
	stats.Refusals = append([]Refusal{}, s.refusals...)
	stats.Tokens = statsOf(s.tokens)
	return stats
}

// Live returns the tokens of a place that are not deleted, oldest first.
func (s *Sim) Live(p Place) []TokenStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return statsOf(s.live(p))
}

// Values returns the value of every token ever made, those of lost answers too:
// for tests that search what was written for leaks, and for nothing else.
func (s *Sim) Values() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.byValue))
}

func statsOf(tokens []*token) []TokenStats {
	now := time.Now()
	stats := make([]TokenStats, 0, len(tokens))
	for _, t := range tokens {
		stats = append(stats, TokenStats{
			ID: t.id, Name: t.name, Type: t.kind, Place: t.place, Fingerprint: t.fingerprint,
			Accepted: t.accepted(now), IssuedAt: t.issuedAt, DeletedAt: t.deletedAt,
			FirstRefusedAt: t.firstRefusedAt, LastAcceptedAt: t.acceptedAt,
			Calls: t.calls, Refused: t.refused,
		})
	}
	return stats
}

// A call is one request to the API side, as far as the books need it.
type call struct {
	at        time.Time
	endpoint  string // "GET stream"; empty: none that exists
	value     string // the bearer token that was sent; empty: none
	token     *token // nil: unknown
	userAgent string
}

// book writes a call and its answer down. The lock is held.
func (s *Sim) book(c call, status int) {
	s.stats.Calls++
	if c.endpoint != "" {
		if s.stats.ByEndpoint == nil {
			s.stats.ByEndpoint = map[string]int{}
		}
		s.stats.ByEndpoint[c.endpoint]++
	}
	if status == 429 {
		s.stats.Limited++
	}
	refused := status == 401 || status == 403
	if c.token != nil {
		c.token.calls++
		if status >= 200 && status < 300 {
			c.token.acceptedAt = c.at
		}
	}
	if !refused {
		return
	}
	s.stats.Refused++
	refusal := Refusal{At: c.at, Endpoint: c.endpoint, Status: status, UserAgent: c.userAgent}
	if c.value != "" {
		refusal.Fingerprint = rotator.FingerprintOf(c.value)
	}
	if len(s.refusals) == maxRefusals {
		s.refusals = s.refusals[1:]
	}
	s.refusals = append(s.refusals, refusal)
	if c.token != nil {
		c.token.refused++
		if !c.token.deletedAt.IsZero() && c.token.firstRefusedAt.IsZero() {
			c.token.firstRefusedAt = c.at
		}
	}
}
