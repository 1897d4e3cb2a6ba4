package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// store writes the course's credential to one store and reads it back.
func (a act) store(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	t, ok := a.storeTarget(a.action.Target)
	if !ok {
		return a.write(ctx, a.failed(outcome, "", Permanent(fmt.Errorf("store %q is not configured", a.action.Target)), 0))
	}
	value, err := a.secret(ctx, a.state.targetSlot())
	if err != nil {
		return a.sealedOutcome(ctx, outcome, err)
	}
	st := a.state.store(a.action.Target)
	write := Write{Value: value, Prev: st.Version, Attempt: fmt.Sprintf("%s/%s/%d", a.run.id, a.state.Course, a.state.Generation)}
	var version Version
	err = a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) (err error) {
		version, err = t.Store.Put(ctx, t.Key, write)
		return err
	})
	if interrupted(ctx, err) {
		return nil
	}
	if err != nil {
		failed := a.failed(outcome, "store "+t.Name+": put", err, st.Failing.Tries)
		entries := []Entry{failed}
		// After a conflict, or when nobody knows, the store itself says what it holds.
		if _, read, readErr := a.read(ctx, t); readErr == nil {
			entries = append(entries, read)
		}
		return a.write(ctx, entries...)
	}
	return a.readBack(ctx, t, outcome, version, value.Fingerprint())
}

// readBack compares what the store holds with what was written.
func (a act) readBack(ctx context.Context, t StoreTarget, outcome Entry, put Version, want Fingerprint) error {
	version, read, err := a.read(ctx, t)
	switch {
	case without("read-back"):
		outcome.Version = put.ID
	case interrupted(ctx, err):
		return nil
	case err != nil:
		failed := a.failed(outcome, "store "+t.Name+": read back", err, a.state.store(a.action.Target).Failing.Tries)
		failed.NoEffect, failed.Version = false, put.ID // the read had none, the write did
		return a.write(ctx, failed)
	case read.Verdict == Unknown && put.ID != "" && read.Version != "" && read.Version != put.ID:
		failed := a.failed(outcome, "store "+t.Name, errors.New("somebody wrote right after rotatord"), a.state.store(a.action.Target).Failing.Tries)
		failed.Version = put.ID
		return a.write(ctx, failed, read)
	case read.Verdict == Unknown: // it can only be written: its answer is the evidence
		outcome.Verdict, outcome.Version = Unknown, put.ID
	case version.Value.Fingerprint() != want:
		failed := a.failed(outcome, "store "+t.Name, errors.New("read back another value than was written"), a.state.store(a.action.Target).Failing.Tries)
		return a.write(ctx, failed, read)
	default:
		outcome.Version = version.ID
	}
	outcome.Fingerprint = want
	return a.write(ctx, outcome)
}

// release is what the course's consumers should take up.
func (a act) release() Release {
	return Release{
		ID:    fmt.Sprintf("%s/%s/%d", a.run.id, a.state.Course, a.state.Generation),
		Token: a.token.Name, Rotation: a.run.id, StoredAt: a.state.StoredAt,
		Fingerprint: a.state.target().Fingerprint, Previous: a.state.victim().Fingerprint,
	}
}

func (a act) deployer() (DeployTarget, bool) {
	i := slices.IndexFunc(a.token.Deployers, func(d DeployTarget) bool { return d.Name == a.action.Target })
	if i < 0 {
		return DeployTarget{}, false
	}
	return a.token.Deployers[i], true
}

// deploy starts one rollout.
func (a act) deploy(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	d, ok := a.deployer()
	if !ok {
		return a.write(ctx, a.failed(outcome, "", Permanent(fmt.Errorf("deployer %q is not configured", a.action.Target)), 0))
	}
	err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) error { return d.Deployer.Deploy(ctx, a.release()) })
	if interrupted(ctx, err) {
		return nil
	}
	if err != nil {
		return a.write(ctx, a.failed(outcome, "deployer "+d.Name, err, a.state.Deploys[d.Name].Failing.Tries))
	}
	return a.write(ctx, outcome)
}

// look asks every probe that is not green yet, at once, and the issuer until
// it has said once that the credential is live.
func (a act) look(ctx context.Context) error {
	entry := a.entry(EntryObserved)
	observations := make([]Observation, len(a.token.Probes))
	var group sync.WaitGroup
	for i, p := range a.token.Probes {
		group.Go(func() { observations[i] = a.observe(ctx, p) })
	}
	if a.state.Probes[IssuerProbe].Successes == 0 {
		issuer, retryAt, err := a.observeIssuer(ctx)
		if err != nil {
			group.Wait()
			return a.holdSealed(ctx, err)
		}
		entry.Observations, entry.RetryAt = append(entry.Observations, issuer), retryAt
	}
	group.Wait()
	if stopped(ctx) {
		return nil
	}
	entry.At = time.Now()
	entry.Observations = append(entry.Observations, observations...)
	return a.write(ctx, entry)
}

func (a act) observe(ctx context.Context, p ProbeTarget) Observation {
	o := Observation{Probe: p.Name}
	err := a.call(ctx, a.setup.Rollout.Timeout, func(ctx context.Context) (err error) {
		o.Finding, err = p.Probe.Probe(ctx, a.release())
		return err
	})
	switch {
	case err != nil:
		o.Err = a.clean("", err)
		o.Finding = Finding{Target: o.Finding.Target}
	case o.Finding.Seen != "" && !isFingerprint(o.Finding.Seen): // perhaps the value itself
		o.Err = "the consumer reports something that is no fingerprint"
		o.Finding = Finding{Target: o.Finding.Target}
	case o.Finding.Health != Healthy && o.Finding.Health != Unhealthy && o.Finding.Health != NotYet:
		o.Err = "the probe gave no clear answer"
	case o.Finding.Health == Healthy && o.Finding.Seen != "" && o.Finding.Seen != a.release().Fingerprint:
		o.Finding.Health = NotYet // green only for what was asked
	}
	o.Finding.Detail = a.clean("", errors.New(o.Finding.Detail))
	o.Finding.Target = a.clean("", errors.New(o.Finding.Target))
	return o
}

// observeIssuer is the implicit first probe. err: the value can't be unsealed.
func (a act) observeIssuer(ctx context.Context) (Observation, time.Time, error) {
	o := Observation{Probe: IssuerProbe, Finding: Finding{Target: a.token.IssuerName}}
	value, err := a.secret(ctx, a.state.targetSlot())
	if err != nil {
		return o, time.Time{}, err
	}
	verdict, err := a.checkCredential(ctx, value, a.engine.ActTimeout)
	switch {
	case verdict == Live && err == nil:
		o.Finding.Health, o.Finding.Seen = Healthy, value.Fingerprint()
	case verdict == Dead:
		o.Finding.Health, o.Finding.Detail = Unhealthy, "the service refuses the credential"
	case err != nil:
		o.Err = a.clean("", err)
	}
	return o, RetryTime(err), nil
}

// reread reads every store again, right before the revoke: somebody may have
// put the old value back.
func (a act) reread(ctx context.Context) error {
	var entries []Entry
	for _, t := range a.token.Stores {
		_, entry, err := a.read(ctx, t)
		if interrupted(ctx, err) {
			return nil
		}
		if err != nil {
			failed := a.failed(a.entry(EntryOutcome), "store "+t.Name+": read again", err, a.state.Tries)
			return a.write(ctx, failed)
		}
		if without("read-back") {
			entry.Fingerprint = a.state.target().Fingerprint
		}
		entries = append(entries, entry)
	}
	return a.write(ctx, entries...)
}

// revoke ends the course's victim, by its ID.
func (a act) revoke(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	victim := a.state.victim()
	err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) error {
		return a.token.Issuer.Revoke(ctx, a.revokeRequest(victim))
	})
	var person *PersonNeeded
	switch {
	case errors.As(err, &person):
		asked := a.entry(EntryAsked)
		asked.Hold = &Hold{Kind: AskDelete, Text: person.Ask}
		return a.write(ctx, asked)
	case interrupted(ctx, err):
		return nil
	case err != nil && victim.ID == "" && IsPermanent(err):
		asked := a.entry(EntryAsked)
		asked.Hold = deleteByHand(a.state, victim)
		return a.write(ctx, asked)
	case err != nil:
		return a.write(ctx, a.failed(outcome, "issuer "+a.token.IssuerName+": revoke", err, a.state.Tries))
	}
	return a.write(ctx, outcome)
}
