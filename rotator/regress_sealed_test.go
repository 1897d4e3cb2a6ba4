package rotator_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

// keyless is a journal whose seal key is lost: what is sealed is there and does
// not open.
type keyless struct{ *memory.Journal }

func (k keyless) Unseal(ctx context.Context, rotation string, slot rotator.Slot) (rotator.Secret, error) {
	if _, err := k.Journal.Unseal(ctx, rotation, slot); err != nil {
		return rotator.Secret{}, err
	}
	return rotator.Secret{}, errors.New("the seal key does not open the value")
}

// loseKey lets a rotation run into a step, ends the process, and starts the
// next one without the key.
func loseKey(t *testing.T, w *world, reason rotator.Reason, step rotator.Step) (d *daemon, j *memory.Journal, id string) {
	t.Helper()
	d, j = w.run()
	id = d.rotate(reason)
	for status := (rotator.RotationStatus{}); status.Step != step; {
		time.Sleep(time.Second)
		synctest.Wait()
		var err error
		if status, err = d.Rotation(t.Context(), id); err != nil || !status.ClosedAt.IsZero() {
			t.Fatalf("the rotation never was in step %s: %+v, %v", step, status, err)
		}
	}
	d.Stop()
	return w.start(keyless{j.Reopen()}, w.token(), false, &ids{}), j, id
}

// putErrors lets some stores refuse or take writes.
func (w *world) putErrors(errs ...error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, err := range errs {
		w.stores[i].putErr = err
	}
}

// P3: a lost seal key stops only a rotation whose value is nowhere else.
func TestLostKey(t *testing.T) {
	down := errors.New("connection refused")
	tests := map[string]struct {
		reason  rotator.Reason
		prepare func(w *world)
		step    rotator.Step
		then    func(w *world, d *daemon, j *memory.Journal, id string) *daemon
		ends    rotator.Status
	}{
		"the stores hold the new value": {
			rotator.Manual, func(w *world) { w.consumers[1].dead = true }, rotator.StepProbe,
			func(w *world, d *daemon, _ *memory.Journal, id string) *daemon {
				w.heldAs(d, id, rotator.HoldDeadline)
				w.revive(1)
				d.decide(id, rotator.Retry)
				return d
			},
			rotator.Done,
		},
		"one store holds the new value": {
			rotator.Manual, func(w *world) { w.putErrors(nil, down) }, rotator.StepStore,
			func(w *world, d *daemon, _ *memory.Journal, _ string) *daemon { w.putErrors(nil, nil); return d },
			rotator.Done,
		},
		"one store holds the old value for the other": {
			rotator.Manual, func(w *world) { w.putErrors(nil, down) }, rotator.StepStore,
			func(_ *world, d *daemon, _ *memory.Journal, id string) *daemon {
				d.decide(id, rotator.Abort)
				return d
			},
			rotator.Aborted,
		},
		"no store holds it, and the person gives up": {
			rotator.Manual, func(w *world) { w.putErrors(down, down) }, rotator.StepStore,
			func(w *world, d *daemon, _ *memory.Journal, id string) *daemon {
				w.putErrors(nil, nil)
				w.heldAs(d, id, rotator.HoldSealed)
				d.decide(id, rotator.Abort)
				return d
			},
			rotator.Aborted,
		},
		"no store holds it, and the key is found": {
			rotator.Manual, func(w *world) { w.putErrors(down, down) }, rotator.StepStore,
			func(w *world, d *daemon, j *memory.Journal, id string) *daemon {
				w.putErrors(nil, nil)
				w.heldAs(d, id, rotator.HoldSealed)
				d.Stop()
				d = w.start(j.Reopen(), w.token(), false, &ids{})
				d.decide(id, rotator.Resume)
				return d
			},
			rotator.Done,
		},
		"nobody can tell whether the old one is dead": {
			rotator.Manual, func(w *world) { w.blind, w.failRevoke = true, down }, rotator.StepRevoke,
			func(w *world, d *daemon, _ *memory.Journal, id string) *daemon {
				w.mu.Lock()
				w.failRevoke = nil
				w.mu.Unlock()
				w.heldAs(d, id, rotator.HoldUnconfirmed)
				d.decide(id, rotator.Approve)
				return d
			},
			rotator.Done,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				test.prepare(w)
				d, j, id := loseKey(t, w, test.reason, test.step)
				d = test.then(w, d, j, id)
				defer d.Stop()
				w.check(d, d.wait(id), test.ends)
			})
		})
	}
}

// heldAs waits until a person is asked, and looks what for.
func (w *world) heldAs(d *daemon, id string, kind rotator.HoldKind) {
	w.t.Helper()
	status := d.wait(id)
	if status.Hold == nil || status.Hold.Kind != kind {
		w.t.Fatalf("the rotation is %s with hold %+v; want %s\n%s", status.Status, status.Hold, kind, d.logs)
	}
}

// P7: a leak revokes at its deadline, whatever became of the new value.
func TestLostKeyInLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.putErrors(errors.New("down"), errors.New("down"))
		d, _, id := loseKey(t, w, rotator.Leak, rotator.StepStore)
		defer d.Stop()
		w.putErrors(nil, nil)
		w.heldAs(d, id, rotator.HoldSealed)
		if !w.isLive(0) {
			t.Fatal("the leaked credential was revoked before its deadline")
		}
		time.Sleep(rotator.DefaultPolicies()[rotator.Leak].Deadline + time.Minute)
		synctest.Wait()
		if w.isLive(0) {
			t.Errorf("the leaked credential lives on after the deadline\n%s", d.logs)
		}
	})
}
