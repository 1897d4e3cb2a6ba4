package rotator_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/rotator"
)

// P7: a service that asks us to come back in an hour does not move the deadline.
func TestRetryAfterDoesNotMoveTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
			return rotator.RetryAfter(rotator.Unsent(errors.New("answered 429")), time.Now().Add(time.Hour))
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.rotate(rotator.Leak)
		time.Sleep(16 * time.Minute)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live a minute after the deadline\n%s", d.logs)
		}
	})
}

// P7: a call that hangs is cut at the deadline.
func TestHangingCallDoesNotMoveTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		e := rotator.NewEngine(rotator.Options{
			Journal: newJournal(), Dispatcher: dispatch.New(), Tokens: []rotator.Token{token}, NewID: (&ids{}).next, ActTimeout: 20 * time.Minute,
		})
		if err := e.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		if _, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: tokenName, Reason: rotator.Leak}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15*time.Minute + time.Second)
		if w.isLive(0) {
			t.Error("P7: the leaked credential is live a second after the deadline")
		}
	})
}

// A leak whose revoke is refused waits for a person; it does not spin.
func TestHeldRevokePastTheDeadlineRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failRevoke = rotator.Permanent(errors.New("answered 403"))
		e := rotator.NewEngine(rotator.Options{
			Journal: newJournal(), Dispatcher: &counting{Dispatcher: dispatch.New(), t: t},
			Tokens: []rotator.Token{w.token()}, NewID: (&ids{}).next,
		})
		if err := e.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		if _, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: tokenName, Reason: rotator.Leak}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
	})
}

// P7: an abort that was not carried out yet does not swallow a leak.
func TestLeakGoesBeforeAnAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
			time.Sleep(20 * time.Second) // the act is under way while people decide
			return nil
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(time.Second)
		d.decide(id, rotator.Abort)
		if got := d.rotate(rotator.Leak); got != id {
			t.Fatalf("Rotate(leak) = %s; want %s", got, id)
		}
		time.Sleep(20 * time.Minute)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live\n%s", d.logs)
		}
	})
}

// P7: a leak reported while the way back can't end is not left behind it.
func TestLeakDuringAWayBackThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		token := w.token()
		token.Issuer = issuer{plainIssuer{w}}
		token.Issuer = &odd{Issuer: token.Issuer, revoke: func(r rotator.RevokeRequest) error {
			if r.Credential.ID == "cred-2" {
				return rotator.Permanent(errors.New("answered 403"))
			}
			return nil
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		if status := d.wait(id); status.Status != rotator.Held || status.Course != rotator.RollBack {
			t.Fatalf("status = %s in course %s; want held on the way back", status.Status, status.Course)
		}
		d.rotate(rotator.Leak)
		time.Sleep(17 * time.Minute)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live\n%s", d.logs)
		}
	})
}

// P7: a rotation that becomes a leak follows the leak's policy.
func TestOpenRotationBecomesALeakThatRevokesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		token := w.token()
		policy := token.Policies[rotator.Leak]
		policy.Course = rotator.RevokeFirst
		token.Policies[rotator.Leak] = policy
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.rotate(rotator.Manual)
		time.Sleep(time.Minute)
		d.rotate(rotator.Leak)
		time.Sleep(time.Second)
		if w.isLive(0) {
			t.Errorf("the leaked credential is live, and the policy is to revoke first\n%s", d.logs)
		}
	})
}

// P7: with no ID and stores that do not answer at first, a leak that revokes
// first still finds what to revoke.
func TestRevokeFirstWaitsForTheStoreThatKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, s := range w.stores {
			s.getErr = errors.New("connection refused")
		}
		token := w.token()
		token.Current = rotator.CurrentHint{}
		token.Issuer = &odd{Issuer: token.Issuer, revoke: func(r rotator.RevokeRequest) error {
			if r.Credential.Fingerprint == rotator.FingerprintOf("canary-value-1") {
				w.kill(0) // this service knows credentials by their fingerprint
			}
			return nil
		}}
		policy := token.Policies[rotator.Leak]
		policy.Course = rotator.RevokeFirst
		token.Policies[rotator.Leak] = policy
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.rotate(rotator.Leak)
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		for _, s := range w.stores {
			s.getErr = nil
		}
		w.mu.Unlock()
		time.Sleep(30 * time.Second)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live\n%s", d.logs)
		}
	})
}
