// Package instasentsim stands in for Instasent: its dashboard, where people
// generate and delete tokens, and its Ingest and Product API, which accepts them.
//
// The API side (API) answers as Instasent documents it, and checks what it is
// sent as strictly. The dashboard side (Admin) is our own invention: Instasent
// publishes no API for tokens, so it stands for the clicks of a person and for
// the admin API that an account may have been given. What nobody knows of the
// real service, or what goes wrong only rarely, is a knob or a fault.
//
// A comment about the service ends in the grade of its source: [D] Instasent's
// documentation, [V] connector code by Instasent, [T] third parties, [I] inferred.
//
// The package opens no port, starts no goroutine and uses plain time: serve the
// two handlers, or call them through Transport, also inside testing/synctest.
// Values live in memory; it shows each one once, as the dashboard does.
//
// To add a behaviour, give Knobs a field whose zero value changes nothing, and
// cmd/instasentsim the flag for it.
package instasentsim

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// The types of tokens. The documentation tells two kinds apart [D]; what the
// real `token.type` says is unknown [I].
const (
	TypeDatasource = "datasource" // for one datasource only [D]
	TypeProduct    = "product"    // for a project, with the scopes ticked at creation [D]
)

// Scopes of tokens. The real names are unknown [I].
const (
	ScopeStreamRead  = "ingest.stream.read"
	ScopeStreamWrite = "ingest.stream.write"
	ScopeProjectRead = "project.read"
)

// Errors of Generate and Delete.
var (
	ErrNoPlace = errors.New("no such project or datasource")
	ErrNoToken = errors.New("no such token")
	ErrFull    = errors.New("the maximum of tokens is reached")
)

// A Place is where tokens are generated: a datasource, or, with an empty
// Datasource, a project as a whole. Both are UIDs, as the API's paths want them [T].
type Place struct {
	Project    string `json:"project"`
	Datasource string `json:"datasource,omitempty"`
}

// Options of a Sim.
type Options struct {
	AdminToken string  // bearer token of the dashboard side; empty: a random one, see Sim.AdminToken
	ReadToken  string  // bearer token that may list but not write; empty: none
	Places     []Place // that exist from the start; a datasource brings its project along
	Knobs      Knobs
}

// Sim is a simulated Instasent. Its methods may be called at any time from any goroutine.
type Sim struct {
	adminToken, readToken string

	mu       sync.Mutex
	knobs    Knobs
	faults   []Fault
	places   map[Place]*place
	tokens   []*token // in the order of their making; the deleted ones stay
	byValue  map[string]*token
	windows  map[string]*window
	stats    Stats
	refusals []Refusal
}

type place struct {
	id                         string // internal; the API's paths want the UID instead [T]
	calls, success, failures   int
	lastCall, lastGood, lastKO time.Time
	lastContact, lastEvent     time.Time
}

type token struct {
	id, name, kind, value string
	place                 Place
	scopes                []string
	fingerprint           rotator.Fingerprint
	issuedAt, activeAt    time.Time
	deletedAt, deadAt     time.Time // zero while it is not deleted
	acceptedAt            time.Time // last
	firstRefusedAt        time.Time // after the delete
	calls, refused        int
}

// accepted tells whether the API side accepts the token.
func (t *token) accepted(now time.Time) bool {
	return !now.Before(t.activeAt) && (t.deletedAt.IsZero() || now.Before(t.deadAt))
}

// New makes a simulated Instasent.
func New(o Options) *Sim {
	if o.AdminToken == "" {
		o.AdminToken = "admin_" + random(16)
	}
	s := &Sim{
		adminToken: o.AdminToken, readToken: o.ReadToken, knobs: o.Knobs,
		places: map[Place]*place{}, byValue: map[string]*token{}, windows: map[string]*window{},
	}
	for _, p := range o.Places {
		s.AddPlace(p)
	}
	return s
}

// AdminToken returns the bearer token of the dashboard side.
func (s *Sim) AdminToken() string { return s.adminToken }

// AddPlace makes a datasource, with its project, or a project. Twice is fine.
func (s *Sim) AddPlace(p Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range []Place{{Project: p.Project}, p} {
		if s.places[each] == nil {
			s.places[each] = &place{id: random(12)}
		}
	}
}

// An Issued token, with the value that is shown this once.
type Issued struct {
	ID, Name, Value string
}

// Generate does what a person does in the dashboard [D]: datasource → Credentials
// → Generate token, or project settings → API tokens when p has no datasource.
// Without scopes the token gets those that its workers need.
func (s *Sim) Generate(p Place, name string, scopes ...string) (Issued, error) {
	kind := TypeDatasource
	if p.Datasource == "" {
		kind = TypeProduct
	}
	t, err := s.generate(p, name, kind, scopes)
	if err != nil {
		return Issued{}, err
	}
	return Issued{ID: t.id, Name: t.name, Value: t.value}, nil
}

func (s *Sim) generate(p Place, name, kind string, scopes []string) (*token, error) {
	if scopes == nil {
		scopes = []string{ScopeStreamRead, ScopeStreamWrite}
		if kind == TypeProduct {
			scopes = append(scopes, ScopeProjectRead)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places[p] == nil {
		return nil, ErrNoPlace
	}
	if limit := s.knobs.MaxTokens; limit > 0 && len(s.live(p)) >= limit {
		return nil, ErrFull
	}
	now := time.Now()
	t := &token{
		id: "tok_" + random(8), name: name, kind: kind, place: p, scopes: slices.Clone(scopes),
		// The documentation's examples start like this [D]; nothing may read more into a value.
		value:    "eyJhbGciOiJIUzI1NiJ9." + random(24) + "." + random(16),
		issuedAt: now, activeAt: now.Add(s.knobs.ActivationDelay.Std()),
	}
	t.fingerprint = rotator.FingerprintOf(t.value)
	s.tokens = append(s.tokens, t)
	s.byValue[t.value] = t
	return t, nil
}

// Delete does what a person does in the dashboard [D]. A token that is already
// deleted is ErrNoToken.
func (s *Sim) Delete(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delete(func(t *token) bool { return t.id == id })
}

func (s *Sim) delete(match func(*token) bool) error {
	for _, t := range s.tokens {
		if t.deletedAt.IsZero() && match(t) {
			t.deletedAt = time.Now()
			t.deadAt = t.deletedAt.Add(s.knobs.RevocationLag.Std())
			return nil
		}
	}
	return ErrNoToken
}

// live returns the tokens of a place that are not deleted, oldest first.
func (s *Sim) live(p Place) []*token {
	var live []*token
	for _, t := range s.tokens {
		if t.place == p && t.deletedAt.IsZero() {
			live = append(live, t)
		}
	}
	return live
}

func random(bytes int) string {
	raw := make([]byte, bytes)
	_, _ = rand.Read(raw) // never fails, as documented
	return hex.EncodeToString(raw)
}

// serve is what every call of both sides goes through: latency, then the
// faults, then the handler.
func (s *Sim) serve(side Side, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !wait(r, s.Knobs().Latency.Std()) {
			panic(http.ErrAbortHandler) // the caller is gone
		}
		fault, found := s.takeFault(side, r.Method)
		switch {
		case !found:
			next(w, r)
		case fault.Status == 0:
			next(newRecorder(), r)
			panic(http.ErrAbortHandler) // how net/http cuts a connection without an answer
		default:
			s.fail(w, r, side, fault.Status)
		}
	})
}

func wait(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// fail answers without any effect but the entry in the books.
func (s *Sim) fail(w http.ResponseWriter, r *http.Request, side Side, status int) {
	s.mu.Lock()
	s.stats.Failed++
	if side == SideAPI {
		value := bearer(r)
		s.book(call{at: time.Now(), value: value, token: s.byValue[value], userAgent: r.UserAgent()}, status)
	}
	s.mu.Unlock()
	if status == http.StatusTooManyRequests {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", unixCeil(time.Now().Add(time.Second)))
		w.WriteHeader(status)
		return
	}
	answerError(w, status, fmt.Sprintf("simulated failure %d", status))
}
