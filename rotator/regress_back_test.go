package rotator_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

// P1: a question to a deployer that is refused says nothing about the rollout:
// consumers may have been restarted.
func TestRefusedQuestionAboutARolloutIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Probes = nil
		token.Deployers[0].Deployer = &mute{world: w}
		j, id := memory.New(), &ids{}
		d := w.start(j, token, false, id)
		rotation := d.rotate(rotator.Manual)
		time.Sleep(time.Second)
		d.Stop() // in the middle of the rollout
		d = w.start(j.Reopen(), token, false, id)
		defer d.Stop()
		status := d.wait(rotation)
		w.work()
		w.check(d, status, rotator.RolledBack)
	})
}

// mute is a deployer whose first call does not return, and that refuses every question.
type mute struct {
	*world
	called bool
}

func (m *mute) Deploy(ctx context.Context, r rotator.Release) error {
	err := m.world.Deploy(ctx, r)
	if !m.called {
		m.called = true
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (m *mute) Deployed(context.Context, rotator.Release) (bool, error) {
	return false, rotator.Permanent(errors.New("answered 403"))
}

// P1: nothing goes back to a credential that the service refuses.
func TestNoWayBackToADeadCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		token := w.token()
		token.Rollout.InitialDelay = time.Minute
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(30 * time.Second)
		w.kill(0) // too early, by hand
		status := d.wait(id)
		if status.Status != rotator.Held || status.Course != rotator.ReplaceFirst || w.stores[0].value != "canary-value-2" {
			t.Errorf("status = %s in course %s, store holds %s; want held with the new value\n%s", status.Status, status.Course, w.stores[0].value, d.logs)
		}
		if err := d.Decide(t.Context(), id, rotator.Abort, "ana", ""); err == nil {
			t.Error("Decide(abort) went through")
		}
		w.mu.Lock()
		w.sickOn = ""
		w.mu.Unlock()
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// writeOnly is a store that can't be read.
type writeOnly struct{ *memStore }

func (s writeOnly) Get(context.Context, string) (rotator.Version, error) {
	return rotator.Version{}, errors.ErrUnsupported
}

func (s writeOnly) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	s.world.mu.Lock()
	w.Prev = s.current().ID
	s.world.mu.Unlock()
	return s.memStore.Put(ctx, key, w)
}

// P1: where no store can be read, an unhealthy consumer is no reason to end the
// new credential: the old one can't be put back.
func TestNoWayBackWithoutTheOldValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		token := w.token()
		for i := range token.Stores {
			token.Stores[i].Store = writeOnly{w.stores[i]}
		}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldUnhealthy || strings.Contains(status.Hold.Text, "abort") {
			t.Fatalf("status = %s, hold %+v; want held as unhealthy, without an offer to abort\n%s", status.Status, status.Hold, d.logs)
		}
		w.mu.Lock()
		w.sickOn = ""
		w.mu.Unlock()
		d.decide(id, rotator.Resume)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// P4: a person is asked to end what nobody here can know.
func TestUnknownOldCredentialIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Current = rotator.CurrentHint{}
		for i := range token.Stores {
			token.Stores[i].Store = writeOnly{w.stores[i]}
		}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldUnconfirmed {
			t.Fatalf("status = %s, hold %+v; want held until a person deletes the old one\n%s", status.Status, status.Hold, d.logs)
		}
		w.kill(0)
		d.decide(id, rotator.Approve)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// P3: giving up does not forget what an issuer that can't list may have made.
func TestAbortAfterALostAnswerAsksToLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.blind, w.loseIssue = true, 1
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		d.wait(id)
		d.decide(id, rotator.Abort)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldInDoubt || !strings.Contains(status.Hold.Text, "approve") {
			t.Fatalf("status = %s, hold %+v; want in doubt until a person looked\n%s", status.Status, status.Hold, d.logs)
		}
		w.kill(1)
		d.decide(id, rotator.Approve)
		w.check(d, d.wait(id), rotator.Aborted)
	})
}

// P3: a person can't put a value back that only rotatord knows: retry does.
func TestRetryWritesTheStoresAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Rollout.InitialDelay = time.Minute
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(30 * time.Second)
		w.stores[0].set("canary-value-1")
		_ = w.Deploy(t.Context(), rotator.Release{}) // and consumers are restarted on it
		if status := d.wait(id); status.Status != rotator.Held {
			t.Fatalf("status = %s; want held", status.Status)
		}
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
	})
}
