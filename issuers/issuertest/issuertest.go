// Package issuertest is what every issuer must pass: its promises to the
// engine, tried against a service that keeps to its own rules.
//
// It never retries and never waits: a service that needs time to take up or
// drop a credential has its stand-in set to none. It doesn't know how any
// issuer is configured.
//
// To run it, open a service and describe it in a Harness. What an issuer can't
// do is declared there; there are no options to leave a test out. To add a
// promise, add a row to the table in Run and a mutant to the package's own
// test that breaks it.
package issuertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

// A Harness is one issuer with its service, without credentials of the token.
type Harness struct {
	Issuer rotator.Issuer // its log-in is accepted
	Token  string
	Params rotator.Params

	// Canaries returns what no error may show: the log-ins, and every value
	// that the service has made so far, those of lost answers included.
	Canaries func() []string
	// Live returns the IDs that the service accepts now.
	Live func() []string
	// Unclear makes the service answer checks with an outage, or ends it.
	Unclear func(on bool)
	// Refused is the same issuer at an address where nobody listens.
	Refused rotator.Issuer

	// Person plays the person of a manual issuer: Issue and Revoke answer
	// *rotator.PersonNeeded. nil: the issuer does it by itself.
	Person *Person
	// Denied is the same issuer with a log-in that the service refuses; nil
	// only for one without a log-in.
	Denied rotator.Issuer
	// LoseAnswer lets the next Issue take effect and its answer get lost; nil
	// only for a manual issuer.
	LoseAnswer func()
	// PageSize is how many credentials a page of the list holds; 0: the issuer
	// is no Lister.
	PageSize int
}

// A Person does by hand what an issuer has no API for.
type Person struct {
	// Generate makes a credential; its ID is empty where the service shows none.
	Generate func(t testing.TB, name string) rotator.Credential
	Delete   func(t testing.TB, c rotator.Credential)
}

// Run runs every test, each on a service of its own. open closes what it
// opened by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"two credentials live at once", (*suite).twoLive},
		{"a lost answer leaves an orphan that the marker finds", (*suite).lostAnswer},
		{"revoke ends one only and twice is fine", (*suite).revokeOne},
		{"check tells live, dead and unknown apart", (*suite).verdicts},
		{"a long list is read to its end", (*suite).longList},
		{"a cancelled context has no effect", (*suite).cancelled},
		{"a refused connection can be retried", (*suite).refused},
		{"a refused log-in is permanent", (*suite).denied},
		{"twenty at once", (*suite).concurrent},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after what open closes
			s := &suite{T: t, Harness: open(t)}
			t.Cleanup(s.finish)
			test.run(s)
		})
	}
}

// suite is one test in its run.
type suite struct {
	*testing.T
	Harness
	mu   sync.Mutex
	errs []error
}

// note keeps an error for the search for secrets, and passes it on.
func (s *suite) note(err error) error {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs = append(s.errs, err)
	}
	return err
}

// finish looks for secrets in every error of the test, and gives up connections.
func (s *suite) finish() {
	for _, err := range s.errs {
		shown := fmt.Sprintf("%v\n%+v\n%#v\n%q", err, err, err, err)
		for _, secret := range s.Canaries() {
			if secret != "" && strings.Contains(shown, secret) {
				s.Errorf("an error shows a secret: %s", strings.ReplaceAll(err.Error(), secret, "<SECRET>"))
			}
		}
	}
	for _, issuer := range []rotator.Issuer{s.Issuer, s.Refused, s.Denied} {
		if c, ok := issuer.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

func (s *suite) marker(rotation string) string { return rotator.Marker(s.Token, rotation) }

// request makes the request of a rotation.
func (s *suite) request(rotation string) rotator.IssueRequest {
	return rotator.IssueRequest{Token: s.Token, Params: s.Params, Marker: s.marker(rotation)}
}

func (s *suite) revokeRequest(c rotator.Credential) rotator.RevokeRequest {
	return rotator.RevokeRequest{Token: s.Token, Params: s.Params, Credential: c.Record()}
}

func (s *suite) checkRequest(c rotator.Credential) rotator.CheckRequest {
	return rotator.CheckRequest{Token: s.Token, Params: s.Params, Value: c.Value}
}

// issue makes a credential, by a person if need be. It may run in a goroutine.
func (s *suite) issue(ctx context.Context, rotation string) (rotator.Credential, error) {
	made, err := s.Issuer.Issue(ctx, s.request(rotation))
	if err = s.note(err); s.Person == nil {
		return made, err
	}
	if asked := asks(err); asked != nil {
		return made, asked
	}
	return s.Person.Generate(s.T, s.marker(rotation)), nil
}

// revoke ends a credential, by a person if need be.
func (s *suite) revoke(ctx context.Context, c rotator.Credential) error {
	err := s.note(s.Issuer.Revoke(ctx, s.revokeRequest(c)))
	if s.Person == nil {
		return err
	}
	if asked := asks(err); asked != nil {
		return asked
	}
	s.Person.Delete(s.T, c)
	return nil
}

// asks returns nil if err asks a person.
func asks(err error) error {
	var person *rotator.PersonNeeded
	if !errors.As(err, &person) || person.Ask == "" {
		return fmt.Errorf("manual issuer: error is %w; want *PersonNeeded with a text", err)
	}
	return nil
}

// must issues a whole credential or ends the test.
func (s *suite) must(rotation string) rotator.Credential {
	s.Helper()
	made, err := s.issue(s.Context(), rotation)
	if err != nil {
		s.Fatalf("Issue(%q) = %v", s.marker(rotation), err)
	}
	if made.Value.Reveal() == "" {
		s.Fatalf("Issue(%q): the credential has no value", s.marker(rotation))
	}
	if got, want := made.Record().Fingerprint, made.Value.Fingerprint(); got != want {
		s.Errorf("Issue(%q): fingerprint %q; want that of its value, %q", s.marker(rotation), got, want)
	}
	if s.Person == nil && (made.ID == "" || made.IssuedAt.IsZero() || !strings.Contains(made.Name, s.marker(rotation))) {
		s.Errorf("Issue(%q) = ID %q, name %q, issued at %v; want an ID, the marker in the name, and a time",
			s.marker(rotation), made.ID, made.Name, made.IssuedAt)
	}
	return made
}

// expect checks a credential and compares the verdict.
func (s *suite) expect(what string, c rotator.Credential, want rotator.Verdict) {
	s.Helper()
	got, err := s.Issuer.Check(s.Context(), s.checkRequest(c))
	err = s.note(err)
	if got != want || (want == rotator.Unknown) != (err != nil) {
		s.Errorf("Check(%s) = %v, %v; want %v", what, got, err, want)
	}
}

// list returns the whole list; without a Lister it ends the test.
func (s *suite) list() []rotator.Credential {
	s.Helper()
	l, ok := s.Issuer.(rotator.Lister)
	if !ok {
		s.Fatalf("the issuer is no Lister, but the harness gives a page size of %d", s.PageSize)
	}
	all, err := l.List(s.Context(), rotator.ListRequest{Token: s.Token, Params: s.Params})
	if s.note(err) != nil {
		s.Fatalf("List() = %v", err)
	}
	return all
}

// found returns the listed credentials that carry a rotation's marker.
func (s *suite) found(rotation string) []rotator.Credential {
	s.Helper()
	return slices.DeleteFunc(s.list(), func(c rotator.Credential) bool {
		return !strings.Contains(c.Name, s.marker(rotation))
	})
}
