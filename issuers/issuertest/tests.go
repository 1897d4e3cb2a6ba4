package issuertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/rotatord/rotatord/rotator"
)

func (s *suite) twoLive() {
	first, second := s.must("01A"), s.must("01B")
	if first.Value.Reveal() == second.Value.Reveal() {
		s.Fatal("two credentials have the same value")
	}
	if s.Person == nil && first.ID == second.ID {
		s.Errorf("two credentials have the same ID, %q", first.ID)
	}
	s.expect("the first of two", first, rotator.Live)
	s.expect("the second of two", second, rotator.Live)
	if scoper, ok := s.Issuer.(rotator.Scoper); ok {
		if _, err := scoper.Scopes(s.Context(), s.checkRequest(second)); s.note(err) != nil {
			s.Errorf("Scopes(a live credential) = %v", err)
		}
	}
	if limiter, ok := s.Issuer.(rotator.Limiter); ok {
		if limit := limiter.MaxCredentials(); limit == 1 || limit < 0 {
			s.Errorf("MaxCredentials() = %d; two are live", limit)
		}
	}
}

func (s *suite) lostAnswer() {
	if s.LoseAnswer == nil {
		if s.Person == nil {
			s.Fatal("the harness can't lose an answer, but the issuer isn't manual")
		}
		return
	}
	kept := s.must("01A")
	s.LoseAnswer()
	_, err := s.Issuer.Issue(s.Context(), s.request("01B"))
	if s.note(err) == nil || rotator.HadNoEffect(err) {
		s.Fatalf("Issue(whose answer is lost) = %v; want an error that leaves the effect in doubt", err)
	}
	if got := len(s.Live()); got != 2 {
		s.Fatalf("after the lost answer %d credentials are live; the harness should make that 2", got)
	}
	if s.PageSize == 0 {
		return
	}
	orphans := s.found("01B")
	if len(orphans) != 1 {
		s.Fatalf("List() has %d credentials with the orphan's marker; want 1", len(orphans))
	}
	if err := s.revoke(s.Context(), orphans[0]); err != nil {
		s.Errorf("Revoke(orphan) = %v", err)
	}
	if got := len(s.found("01B")); got != 0 {
		s.Errorf("List() has %d credentials with the orphan's marker after its end; want 0", got)
	}
	s.expect("the one beside the orphan", kept, rotator.Live)
}

func (s *suite) revokeOne() {
	first, second := s.must("01A"), s.must("01B")
	for _, time := range []string{"once", "twice"} {
		if err := s.revoke(s.Context(), first); err != nil {
			s.Errorf("Revoke(%s) = %v", time, err)
		}
		s.expect("revoked "+time, first, rotator.Dead)
		s.expect("the other one", second, rotator.Live)
	}
	if got := len(s.Live()); got != 1 {
		s.Errorf("%d credentials are live after a revoke; want 1", got)
	}
}

func (s *suite) verdicts() {
	live, dead := s.must("01A"), s.must("01B")
	if err := s.revoke(s.Context(), dead); err != nil {
		s.Fatalf("Revoke() = %v", err)
	}
	s.expect("a live one", live, rotator.Live)
	s.expect("a revoked one", dead, rotator.Dead)
	s.Unclear(true)
	s.expect("a live one in an outage", live, rotator.Unknown)
	s.expect("a revoked one in an outage", dead, rotator.Unknown)
	s.Unclear(false)
	s.expect("a live one after the outage", live, rotator.Live)
}

func (s *suite) longList() {
	_, lists := s.Issuer.(rotator.Lister)
	if s.PageSize == 0 {
		if lists {
			s.Error("the issuer is a Lister; the harness must give its page size")
		}
		return
	}
	if got := len(s.list()); got != 0 {
		s.Errorf("List() of a fresh token has %d credentials; want 0", got)
	}
	made := map[string]string{}
	for n := range 2*s.PageSize + 1 {
		one := s.must("01A" + strconv.Itoa(n))
		made[one.ID] = one.Name
	}
	listed := s.list()
	if len(listed) != len(made) {
		s.Errorf("List() has %d credentials; want %d", len(listed), len(made))
	}
	for _, one := range listed {
		if name, ok := made[one.ID]; !ok || one.Name != name || !one.Value.IsZero() {
			s.Errorf("List() has ID %q with name %q; want %q, without a value", one.ID, one.Name, name)
		}
		delete(made, one.ID)
	}
}

// calls are all methods of an issuer that may be asked. Check is apart: an
// answer of the service about a credential is no refusal of our log-in.
func (s *suite) calls(issuer rotator.Issuer, c rotator.Credential) map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{
		"Issue": func(ctx context.Context) error {
			_, err := issuer.Issue(ctx, s.request("01X"))
			return err
		},
		"Revoke": func(ctx context.Context) error { return issuer.Revoke(ctx, s.revokeRequest(c)) },
	}
	if lister, ok := issuer.(rotator.Lister); ok {
		all["List"] = func(ctx context.Context) error {
			_, err := lister.List(ctx, rotator.ListRequest{Token: s.Token, Params: s.Params})
			return err
		}
	}
	if pinger, ok := issuer.(rotator.Pinger); ok {
		all["Ping"] = pinger.Ping
	}
	return all
}

func (s *suite) cancelled() {
	made := s.must("01A")
	before := s.Live()
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	calls := s.calls(s.Issuer, made)
	if scoper, ok := s.Issuer.(rotator.Scoper); ok {
		calls["Scopes"] = func(ctx context.Context) error {
			_, err := scoper.Scopes(ctx, s.checkRequest(made))
			return err
		}
	}
	calls["Check"] = func(ctx context.Context) error {
		verdict, err := s.Issuer.Check(ctx, s.checkRequest(made))
		if verdict != rotator.Unknown {
			s.Errorf("Check(cancelled) = %v; want unknown", verdict)
		}
		return err
	}
	for name, call := range calls {
		if err := s.note(call(ctx)); !errors.Is(err, context.Canceled) {
			s.Errorf("%s(cancelled) = %v; want context.Canceled", name, err)
		}
	}
	if after := s.Live(); !slices.Equal(sorted(before), sorted(after)) {
		s.Errorf("cancelled calls changed what is live from %v to %v", before, after)
	}
}

func (s *suite) refused() {
	made := s.must("01A")
	for name, call := range s.calls(s.Refused, made) {
		err := s.note(call(s.Context()))
		if s.Person != nil && (name == "Issue" || name == "Revoke") {
			if asked := asks(err); asked != nil {
				s.Errorf("%s: %v", name, asked)
			}
			continue
		}
		if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) {
			s.Errorf("%s(connection refused) = %v; want an error that is Unsent and not Permanent", name, err)
		}
	}
	verdict, err := s.Refused.Check(s.Context(), s.checkRequest(made))
	if s.note(err) == nil || rotator.IsPermanent(err) || verdict != rotator.Unknown {
		s.Errorf("Check(connection refused) = %v, %v; want unknown and an error that is not Permanent", verdict, err)
	}
}

func (s *suite) denied() {
	if s.Denied == nil {
		if s.Person == nil {
			s.Fatal("the harness has no issuer whose log-in is refused, but the issuer isn't manual")
		}
		return
	}
	made := s.must("01A")
	before := s.Live()
	for name, call := range s.calls(s.Denied, made) {
		if err := s.note(call(s.Context())); !rotator.IsPermanent(err) {
			s.Errorf("%s(refused log-in) = %v; want a Permanent error", name, err)
		}
	}
	if after := s.Live(); !slices.Equal(sorted(before), sorted(after)) {
		s.Errorf("calls with a refused log-in changed what is live from %v to %v", before, after)
	}
	if pinger, ok := s.Issuer.(rotator.Pinger); ok {
		if err := pinger.Ping(s.Context()); s.note(err) != nil {
			s.Errorf("Ping(accepted log-in) = %v", err)
		}
	}
}

func (s *suite) concurrent() {
	const goroutines = 20
	var wg sync.WaitGroup
	made := make([]rotator.Credential, goroutines)
	fails := make([]error, goroutines)
	for n := range goroutines {
		wg.Go(func() { made[n], fails[n] = s.turn(s.Context(), n) })
	}
	wg.Wait()
	if err := errors.Join(fails...); err != nil {
		s.Fatal(err)
	}
	values := map[string]bool{}
	for _, one := range made {
		values[one.Value.Reveal()] = true
	}
	if got, want := len(values), goroutines; got != want {
		s.Errorf("%d at once made %d values; want %d", goroutines, got, want)
	}
	if got, want := len(s.Live()), goroutines/2; got != want {
		s.Errorf("%d credentials are live; want %d: every second one was revoked", got, want)
	}
}

// turn issues a credential, checks it, and ends every second one.
func (s *suite) turn(ctx context.Context, n int) (rotator.Credential, error) {
	made, err := s.issue(ctx, "01A"+strconv.Itoa(n))
	if err != nil {
		return made, fmt.Errorf("Issue() = %w", err)
	}
	if verdict, err := s.Issuer.Check(ctx, s.checkRequest(made)); verdict != rotator.Live {
		return made, fmt.Errorf("Check() = %v, %w; want live", verdict, s.note(err))
	}
	if n%2 == 1 {
		return made, nil
	}
	if err := s.revoke(ctx, made); err != nil {
		return made, fmt.Errorf("Revoke() = %w", err)
	}
	if verdict, err := s.Issuer.Check(ctx, s.checkRequest(made)); verdict != rotator.Dead {
		return made, fmt.Errorf("Check(revoked) = %v, %w; want dead", verdict, s.note(err))
	}
	return made, nil
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }
