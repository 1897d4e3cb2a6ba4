package rotator_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

func TestRotationReplacesTheCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, _ := w.run()
		defer d.Stop()
		status := d.wait(d.rotate(rotator.Manual))
		w.check(d, status, rotator.Done)
		if status.Dead == 0 {
			t.Error("the time from revoke to dead is not recorded")
		}
		if got := len(w.deploys); got != 1 {
			t.Errorf("%d deploys; want 1", got)
		}
		all, err := d.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := all[0].Current.Fingerprint, rotator.FingerprintOf("canary-value-2"); got != want {
			t.Errorf("current fingerprint = %s; want %s", got, want)
		}
	})
}

func TestStragglerHoldsAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldDeadline {
			t.Fatalf("status = %s, hold %+v; want held at the deadline\n%s", status.Status, status.Hold, d.logs)
		}
		if len(status.Awaited) != 1 || status.Awaited[0].Target != "worker-2" {
			t.Errorf("awaited = %+v; want worker-2 alone", status.Awaited)
		}
		if got := len(w.live()); got != 2 {
			t.Errorf("P2: %d live credentials while held; want 2", got)
		}
		if err := d.Decide(t.Context(), id, rotator.Approve, "ana", ""); err == nil {
			t.Error("approve stood in for a probe's evidence")
		}
		w.revive(1)
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
	})
}

func TestUnhealthyRollsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		d, _ := w.run()
		defer d.Stop()
		status := d.wait(d.rotate(rotator.Manual))
		w.check(d, status, rotator.RolledBack)
		if got := w.live()[0].id; got != "cred-1" {
			t.Errorf("live credential = %s; want the old one", got)
		}
	})
}

func TestProbeThatCannotRunHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.probeErr = errors.New("connection refused")
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Scheduled)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldProbe || len(status.Awaited) == 0 {
			t.Fatalf("status = %s, hold %+v; want held by the probe", status.Status, status.Hold)
		}
		if got := len(w.live()); got != 2 {
			t.Errorf("P5: %d live credentials; want 2", got)
		}
		d.decide(id, rotator.Abort)
		w.mu.Lock()
		w.probeErr = nil
		w.mu.Unlock()
		w.check(d, d.wait(id), rotator.Aborted)
	})
}

func TestPartialStoreFailureIsPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stores[1].putErr = errors.New("disk full")
		d, _ := w.run()
		defer d.Stop()
		status := d.wait(d.rotate(rotator.Manual))
		w.check(d, status, rotator.RolledBack)
		if w.stores[0].puts != 2 {
			t.Errorf("store vault was written %d times; want 2: the new value and the old one", w.stores[0].puts)
		}
	})
}

func TestForeignWriteBeforeRevokeHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Rollout.InitialDelay = time.Minute
		j, id := newJournal(), &ids{}
		d := w.start(j, token, false, id)
		defer d.Stop()
		rotation := d.rotate(rotator.Manual)
		time.Sleep(30 * time.Second) // written and deployed, not probed yet
		w.stores[0].set("canary-value-1")
		status := d.wait(rotation)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldReverted {
			t.Fatalf("status = %s, hold %+v; want held as reverted\n%s", status.Status, status.Hold, d.logs)
		}
		d.decide(rotation, rotator.Retry)
		w.check(d, d.wait(rotation), rotator.Done)
	})
}

func TestForeignValueHoldsBeforeItIsOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, _ := w.run()
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Done)
		w.stores[0].set("somebody's")
		status := d.wait(d.rotate(rotator.Manual))
		if status.Status != rotator.Failed {
			t.Errorf("status = %s; want failed: the store does not hold the current credential", status.Status)
		}
		if got := len(w.live()); got != 1 {
			t.Errorf("%d live credentials; want 1", got)
		}
	})
}

// TestAnothersWriteOfAnotherFieldIsNoConflict: the version of the whole secret
// moves on between our read and our write, our own value does not.
func TestAnothersWriteOfAnotherFieldIsNoConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failIssue = []error{rotator.Unsent(errors.New("answered 429"))} // time for another's write
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(500 * time.Millisecond)
		w.stores[0].set("canary-value-1")
		w.check(d, d.wait(id), rotator.Done)
	})
}

func TestLostAnswerLeavesNoOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.loseIssue = 2
		d, _ := w.run()
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Done)
		if w.count() != 4 {
			t.Errorf("%d credentials were made; want 4: one by hand, two lost, one in use", w.count())
		}
	})
}

func TestLostAnswerOfABlindIssuerIsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.blind, w.loseIssue = true, 1
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldInDoubt {
			t.Fatalf("status = %s, hold %+v; want in doubt", status.Status, status.Hold)
		}
		w.kill(1) // a person deletes it
		d.decide(id, rotator.Approve)
		w.check(d, d.wait(id), rotator.Done)
	})
}

func TestScopesMustBeThoseOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scopes = func(c *credential) []string { return []string{c.id} }
		d, _ := w.run()
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Failed)
	})
}

func TestStillLiveIsNeverDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sticky = true
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldLive {
			t.Fatalf("status = %s, hold %+v; want still live", status.Status, status.Hold)
		}
		w.mu.Lock()
		w.sticky = false
		w.mu.Unlock()
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
	})
}

func TestManualIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.manual = true
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Waiting || status.Hold == nil || status.Hold.Kind != rotator.AskProvide {
			t.Fatalf("status = %s, hold %+v; want waiting for a value", status.Status, status.Hold)
		}
		provide := func(value string) error {
			_, err := d.Provide(t.Context(), rotator.Provision{Token: tokenName, Value: rotator.NewSecret(value), By: "ana"})
			return err
		}
		if err := provide("canary-value-1"); err == nil {
			t.Error("the old value was taken for a new one")
		}
		if err := provide("not one"); err == nil {
			t.Error("a dead value was taken")
		}
		w.mu.Lock()
		made := w.make("by hand")
		w.mu.Unlock()
		if err := provide(made.value); err != nil {
			t.Fatalf("Provide = %v", err)
		}
		for {
			status = d.wait(id)
			if status.Hold == nil || status.Hold.Kind == rotator.AskDelete {
				break
			}
		}
		if status.Status != rotator.Waiting {
			t.Fatalf("status = %s, hold %+v; want waiting for the deletion\n%s", status.Status, status.Hold, d.logs)
		}
		w.kill(0)
		time.Sleep(10 * time.Minute)
		w.check(d, d.wait(id), rotator.Done)
	})
}

func TestLeakRevokesAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		d, _ := w.run()
		defer d.Stop()
		started := time.Now()
		id := d.rotate(rotator.Leak)
		time.Sleep(16 * time.Minute)
		if w.isLive(0) {
			t.Fatalf("P7: the leaked credential is live %s after the report\n%s", time.Since(started), d.logs)
		}
		status := d.wait(id)
		if status.Status != rotator.Held || status.Awaited[0].Target != "worker-2" {
			t.Fatalf("status = %s, awaited %+v; want held for worker-2", status.Status, status.Awaited)
		}
		w.revive(1)
		d.decide(id, rotator.Retry)
		status = d.wait(id)
		w.forgive() // the leak's own: it said so
		w.check(d, status, rotator.Done)
	})
}

func TestLeakRevokesAtItsDeadlineWithoutAReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 60 {
			w.failIssue = append(w.failIssue, rotator.Unsent(errors.New("answered 429")))
		}
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Leak)
		time.Sleep(16 * time.Minute)
		if w.isLive(0) {
			t.Fatalf("P7: the leaked credential is live\n%s", d.logs)
		}
		w.mu.Lock()
		w.failIssue = nil
		w.mu.Unlock()
		time.Sleep(2 * time.Minute)
		w.forgive()
		w.check(d, d.wait(id), rotator.Done)
	})
}

func TestLeakWithRevokeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		policy := token.Policies[rotator.Leak]
		policy.Course = rotator.RevokeFirst
		token.Policies[rotator.Leak] = policy
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		status := d.wait(d.rotate(rotator.Leak))
		w.forgive()
		w.check(d, status, rotator.Done)
		if w.revokeCalls[0] != "cred-1" {
			t.Errorf("first revoked = %s; want cred-1", w.revokeCalls[0])
		}
	})
}

func TestLeakTakesOverAnOpenRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(time.Minute)
		if got := d.rotate(rotator.Leak); got != id {
			t.Fatalf("Rotate(leak) = %s; want the open one, %s", got, id)
		}
		time.Sleep(16 * time.Minute)
		if w.isLive(0) {
			t.Fatalf("P7: the leaked credential is live\n%s", d.logs)
		}
		w.revive(1)
		if status := d.wait(id); status.Status == rotator.Held {
			d.decide(id, rotator.Retry)
		}
		if status := d.wait(id); status.Status != rotator.Done {
			t.Fatalf("status = %s; want done", status.Status)
		}
		synctest.Wait()
		w.forgive()
		w.check(d, d.wait("R2"), rotator.Done) // the new value was readable too: it is replaced as well
		if w.count() != 3 {
			t.Errorf("%d credentials were made; want 3", w.count())
		}
	})
}

func TestPeopleAreToldBeforeTheProcessStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, _ := w.run()
		id := d.rotate(rotator.Manual)
		w.check(d, d.wait(id), rotator.Done)
		d.Stop()
		var kinds []rotator.EventKind
		for _, e := range w.events {
			kinds = append(kinds, e.Kind)
		}
		if !slices.Contains(kinds, rotator.EventStarted) || !slices.Contains(kinds, rotator.EventDone) {
			t.Errorf("people were told %v; want the start and the end", kinds)
		}
	})
}

func TestAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		d.wait(id)
		d.decide(id, rotator.Abort)
		w.check(d, d.wait(id), rotator.Aborted)
	})
}

func TestScheduleCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		weekly, err := rotator.ParseCron("0 10 * * 2", "Europe/Madrid")
		if err != nil {
			t.Fatal(err)
		}
		token.Schedule.Cron = weekly
		j, id := newJournal(), &ids{}
		d := w.start(j, token, true, id)
		time.Sleep(time.Hour)
		if w.count() != 1 {
			t.Fatalf("a rotation ran before it was due\n%s", d.logs)
		}
		d.Stop()
		time.Sleep(8 * 24 * time.Hour) // down over its time
		d = w.start(j.Reopen(), token, true, id)
		defer d.Stop()
		time.Sleep(10 * time.Minute)
		w.check(d, d.wait("R1"), rotator.Done)
		time.Sleep(24 * time.Hour)
		if w.count() != 2 {
			t.Errorf("%d credentials were made; want 2: the run was caught up twice", w.count())
		}
	})
}
