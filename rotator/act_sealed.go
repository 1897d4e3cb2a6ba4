package rotator

import (
	"context"
	"errors"
)

// secret returns one of the rotation's values. Where no seal key opens it, a
// store that still holds it gives it back. ErrNotFound: it was never known.
func (a act) secret(ctx context.Context, slot Slot) (Secret, error) {
	value, err := a.engine.secret(ctx, a.run, slot)
	if err == nil || errors.Is(err, ErrNotFound) {
		return value, err
	}
	want := a.state.New.Fingerprint
	if slot == SlotOld {
		want = a.state.Old.Fingerprint
	}
	for _, t := range a.token.Stores {
		version, read, readErr := a.read(ctx, t)
		if readErr != nil || want == "" || read.Fingerprint != want {
			continue
		}
		a.run.mu.Lock()
		a.run.secrets[slot] = version.Value
		a.run.mu.Unlock()
		return version.Value, nil
	}
	return Secret{}, err
}

const toUnseal = "; put the right seal key back, restart, then resume; or abort"

// holdSealed: a value that the rotation needs can't be opened.
func (a act) holdSealed(ctx context.Context, err error) error {
	if stopped(ctx) {
		return nil
	}
	held := a.entry(EntryHeld)
	held.Hold = &Hold{Kind: HoldSealed, Text: a.clean("", err) + toUnseal}
	return a.write(ctx, held)
}

// sealedOutcome ends an intent whose value can't be opened, and holds.
func (a act) sealedOutcome(ctx context.Context, outcome Entry, err error) error {
	if stopped(ctx) {
		return nil
	}
	outcome.Err, outcome.NoEffect = a.clean("", err), true
	held := a.entry(EntryHeld)
	held.Hold = &Hold{Kind: HoldSealed, Text: outcome.Err + toUnseal}
	return a.write(ctx, outcome, held)
}
