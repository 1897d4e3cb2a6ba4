package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scopeTries is how often the old credential is asked for its scopes.
const scopeTries = 3

// preflight looks whether everything that the rotation needs answers, before
// anything is made: our log-in, a free slot, every store readable and writable.
// It seals the old value for a roll back and for the proof that it is dead.
func (a act) preflight(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	outcome.Target = targetPreflight
	fail := func(entries []Entry, prefix string, err error) error {
		if interrupted(ctx, err) {
			return nil
		}
		return a.write(ctx, append(entries, a.failed(outcome, prefix, err, a.state.Tries))...)
	}
	if pinger, ok := a.token.Issuer.(Pinger); ok {
		if err := a.call(ctx, a.engine.ActTimeout, pinger.Ping); err != nil {
			return fail(nil, "issuer "+a.token.IssuerName, err)
		}
	}
	if err := a.freeSlot(ctx); err != nil {
		return fail(nil, "issuer "+a.token.IssuerName, err)
	}
	if who, err := a.pingRollout(ctx); err != nil {
		return fail(nil, who, err)
	}
	reads, values, prefix, err := a.readStores(ctx)
	if err != nil {
		return fail(reads, prefix, err)
	}
	old, value, err := a.oldCredential(a.withoutDead(ctx, values))
	if err != nil {
		return fail(reads, "", err)
	}
	return a.writeOld(ctx, reads, outcome, old, value)
}

// capture reads what it can of the stores before a revoke that waits for
// nothing: the old value is needed for the proof that it is dead.
func (a act) capture(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	outcome.Target = targetCapture
	var reads []Entry
	var unread error
	values := make([]Secret, len(a.token.Stores))
	for i, t := range a.token.Stores {
		version, entry, err := a.read(ctx, t)
		if interrupted(ctx, err) {
			return nil
		}
		reads = append(reads, entry)
		values[i], unread = version.Value, errors.Join(unread, err)
	}
	old, value, err := a.oldCredential(a.withoutDead(ctx, values))
	if !old.Known() && unread != nil { // there is nothing to revoke before a store answers
		return a.write(ctx, append(reads, a.failed(outcome, "read the stores", unread, a.state.Tries))...)
	}
	if err != nil {
		outcome.Why = a.clean("", err)
	}
	return a.writeOld(ctx, reads, outcome, old, value)
}

func (a act) writeOld(ctx context.Context, reads []Entry, outcome Entry, old Credential, value Secret) error {
	outcome.Credential = &old
	var seal map[Slot]Secret
	if !value.IsZero() {
		seal = map[Slot]Secret{SlotOld: value}
	}
	return a.engine.writeOutcome(ctx, a.run, append(reads, outcome), seal)
}

// pingRollout finds a missing program or log-in of a deployer or probe before
// anything is made.
func (a act) pingRollout(ctx context.Context) (who string, err error) {
	for _, d := range a.token.Deployers {
		if pinger, ok := d.Deployer.(Pinger); ok {
			if err := a.call(ctx, a.engine.ActTimeout, pinger.Ping); err != nil {
				return "deployer " + d.Name, err
			}
		}
	}
	for _, p := range a.token.Probes {
		if pinger, ok := p.Probe.(Pinger); ok {
			if err := a.call(ctx, a.engine.ActTimeout, pinger.Ping); err != nil {
				return "probe " + p.Name, err
			}
		}
	}
	return "", nil
}

func (a act) freeSlot(ctx context.Context) error {
	limiter, ok := a.token.Issuer.(Limiter)
	if !ok || limiter.MaxCredentials() == 0 {
		return nil
	}
	listed, err := a.list(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list credentials: %w", err)
	}
	if limit := limiter.MaxCredentials(); len(listed) >= limit {
		return Permanent(fmt.Errorf("no free slot: %d of %d credentials exist; end one, or look with `rotatord sweep %s`", len(listed), limit, a.token.Name))
	}
	return nil
}

// readStores reads every store and asks whether it can be written.
func (a act) readStores(ctx context.Context) (entries []Entry, values []Secret, prefix string, err error) {
	for _, t := range a.token.Stores {
		version, entry, err := a.read(ctx, t)
		if err != nil {
			return entries, nil, "store " + t.Name + ": get", err
		}
		entries, values = append(entries, entry), append(values, version.Value)
		if checker, ok := t.Store.(WriteChecker); ok {
			err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) error { return checker.CheckWrite(ctx, t.Key) })
			if err != nil {
				return entries, nil, "store " + t.Name + ": write", err
			}
		}
	}
	return entries, values, "", nil
}

// withoutDead drops what the service refuses, where the stores of a leaked token
// disagree and nobody knows which value is the current one.
func (a act) withoutDead(ctx context.Context, values []Secret) []Secret {
	known := slices.DeleteFunc(slices.Clone(values), Secret.IsZero)
	same := func(v Secret) bool { return v.Fingerprint() == known[0].Fingerprint() }
	if !a.state.leak() || a.state.Old.Fingerprint != "" || len(known) == 0 || !slices.ContainsFunc(known, func(v Secret) bool { return !same(v) }) {
		return values
	}
	kept := slices.Clone(values)
	for i, v := range kept {
		if v.IsZero() {
			continue
		}
		if verdict, _ := a.checkCredential(ctx, v, a.engine.ActTimeout); verdict == Dead {
			kept[i] = Secret{}
		}
	}
	return kept
}

// oldCredential says what the rotation replaces: the journal's current
// credential, or, for a token never seen before, what its stores hold.
func (a act) oldCredential(values []Secret) (Credential, Secret, error) {
	old := a.state.Old
	var value Secret
	for i, v := range values {
		place := a.token.Stores[i].Ref()
		switch {
		case v.IsZero():
		case old.Fingerprint == "":
			old.Fingerprint, value = v.Fingerprint(), v
		case v.Fingerprint() == old.Fingerprint:
			value = v
		case !a.state.leak():
			return old, value, Permanent(fmt.Errorf("store %s holds %s and not the current credential %s; put it right, or take it over with `rotatord adopt %s`",
				place, v.Fingerprint(), old.Fingerprint, a.token.Name))
		}
	}
	// The configuration speaks of a credential that was there before rotatord.
	if ours := strings.HasPrefix(old.Name, MarkerPrefix(a.token.Name)); old.Known() && !ours {
		old.ID = orElse(old.ID, a.token.Current.ID)
		if old.IssuedAt.IsZero() {
			old.IssuedAt = a.token.Current.IssuedAt
		}
	}
	return old, value, nil
}

// issue makes the new credential. The intent is on disk: should the process
// die in the call, the marker finds what nobody has yet written down.
func (a act) issue(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	var made Credential
	err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) (err error) {
		made, err = a.token.Issuer.Issue(ctx, a.issueRequest())
		return err
	})
	var person *PersonNeeded
	switch {
	case errors.As(err, &person):
		asked := a.entry(EntryAsked)
		asked.Hold = &Hold{Kind: AskProvide, Text: person.Ask}
		return a.write(ctx, asked)
	case interrupted(ctx, err):
		return nil
	case err == nil && (made.Value.IsZero() || made.Value.Fingerprint() == a.state.Old.Fingerprint):
		err = errors.New("the issuer answered without a new value")
	}
	if err != nil {
		return a.write(ctx, a.failed(outcome, "issuer "+a.token.IssuerName+": issue", err, a.state.Tries))
	}
	seal := map[Slot]Secret{SlotNew: made.Value}
	record := made.Record()
	record.Name = orElse(record.Name, Marker(a.token.Name, a.run.id))
	if record.IssuedAt.IsZero() {
		record.IssuedAt = outcome.At
	}
	outcome.Credential = &record
	return a.engine.writeOutcome(ctx, a.run, []Entry{outcome}, seal)
}

// settle ends every credential that carries this rotation's marker and is not
// the one that it keeps: strays of an issue whose answer was lost.
func (a act) settle(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	err := a.endStrays(ctx)
	if interrupted(ctx, err) {
		return nil
	}
	if err != nil {
		return a.write(ctx, a.failed(outcome, "issuer "+a.token.IssuerName, err, a.state.Tries))
	}
	return a.write(ctx, outcome)
}

// strays lists the credentials of this rotation's marker but the one to keep.
func (a act) strays(ctx context.Context) ([]Credential, error) {
	listed, err := a.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	keep := a.state.New.ID
	if a.state.Course == RollBack {
		keep = ""
	}
	if keep == "" && a.state.Course != RollBack && a.state.New.Known() {
		return nil, nil // nobody knows which of them is the one to keep
	}
	marker := Marker(a.token.Name, a.run.id)
	kept := keep == "" || slices.ContainsFunc(listed, func(c Credential) bool { return c.ID == keep })
	strays := slices.DeleteFunc(listed, func(c Credential) bool { return c.Name != marker || c.ID == keep })
	if !kept && len(strays) > 0 { // one of them may be the one to keep, under another ID
		return nil, fmt.Errorf("%d credentials of this name are listed, and none has the ID %q that the issuer gave", len(strays), keep)
	}
	return strays, nil
}

// count looks whether the issuer made one credential, and not two.
func (a act) count(ctx context.Context) error {
	outcome, ok := a.counted(ctx)
	if !ok {
		return nil
	}
	return a.write(ctx, outcome)
}

func (a act) counted(ctx context.Context) (outcome Entry, ok bool) {
	outcome = a.entry(EntryOutcome)
	outcome.Target = targetCount
	strays, err := a.strays(ctx)
	switch {
	case interrupted(ctx, err):
		return outcome, false
	case err != nil:
		return a.failed(outcome, "issuer "+a.token.IssuerName, err, a.state.Tries), true
	case len(strays) > 0:
		outcome.Verdict = Live
		outcome.Why = fmt.Sprintf("the issuer made %d more of this name", len(strays))
	}
	return outcome, true
}

func (a act) endStrays(ctx context.Context) error {
	strays, err := a.strays(ctx)
	if err != nil {
		return err
	}
	for _, c := range strays {
		if err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) error {
			return a.token.Issuer.Revoke(ctx, a.revokeRequest(c))
		}); err != nil {
			return fmt.Errorf("revoke stray %q: %w", c.ID, err)
		}
	}
	return nil
}

// check asks about the new credential (step issue), the victim (step confirm),
// or the old one before the way back.
func (a act) check(ctx context.Context) error {
	slot, credential, timeout := SlotNew, a.state.New, a.engine.ActTimeout
	if a.state.Step == StepConfirm {
		slot, credential = a.state.victimSlot(), a.state.victim()
	}
	if a.action.Target == targetOld {
		slot, credential = SlotOld, a.state.Old
	}
	entry := a.entry(EntryChecked)
	entry.Fingerprint = credential.Fingerprint
	value, err := a.secret(ctx, slot)
	if err != nil && a.state.Step == StepConfirm && !stopped(ctx) {
		return a.checkByList(ctx, entry, credential, err)
	}
	if err != nil {
		return a.holdSealed(ctx, err)
	}
	verdict, err := a.checkCredential(ctx, value, timeout)
	if interrupted(ctx, err) {
		return nil
	}
	entry.Verdict = verdict
	if err != nil {
		entry = a.failed(entry, "issuer "+a.token.IssuerName+": check", err, a.state.Tries+a.state.Checks)
	} else if verdict != Live || a.state.Step == StepConfirm {
		entry.RetryAt = entry.At.Add(backOff(time.Second, a.state.Tries, 10*time.Second))
	}
	if dead := verdict == Dead && err == nil; dead && a.state.Step == StepConfirm && a.state.mustCount(a.setup) && !a.state.EverDoubted {
		if outcome, ok := a.counted(ctx); ok { // in the same breath: one append less
			return a.write(ctx, entry, outcome)
		}
	}
	return a.write(ctx, entry)
}

// checkByList is for a credential whose value nobody here has: it counts as
// dead when the issuer no longer lists it.
func (a act) checkByList(ctx context.Context, entry Entry, c Credential, noValue error) error {
	listed, err := a.list(ctx)
	entry.Verdict = Unknown
	switch {
	case interrupted(ctx, err):
		return nil
	case errors.Is(err, errors.ErrUnsupported) || err == nil && c.ID == "":
		if err = noValue; errors.Is(err, ErrNotFound) {
			err = errors.New("its value was never known here")
		}
		err = Permanent(err)
	case err == nil && slices.ContainsFunc(listed, func(l Credential) bool { return l.ID == c.ID }):
		entry.Verdict = Live
		err = errors.New("the issuer still lists it")
	case err == nil:
		entry.Verdict = Dead
		entry.Why = "the issuer no longer lists it"
		return a.write(ctx, entry)
	}
	return a.write(ctx, a.failed(entry, "issuer "+a.token.IssuerName, err, a.state.Checks))
}

// scopes compares what the new credential may do with the old one.
func (a act) scopes(ctx context.Context) error {
	outcome := a.entry(EntryOutcome)
	outcome.Target = targetScopes
	scoper, ok := a.token.Issuer.(Scoper)
	oldValue, err := a.secret(ctx, SlotOld)
	if !ok || errors.Is(err, ErrNotFound) {
		outcome.Why = "the old credential's value is not known: nothing to compare"
		return a.write(ctx, outcome)
	}
	if err != nil {
		return a.holdSealed(ctx, err)
	}
	newValue, err := a.secret(ctx, SlotNew)
	if err != nil {
		return a.holdSealed(ctx, err)
	}
	ask := func(value Secret) (scopes []string, err error) {
		err = a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) (err error) {
			scopes, err = scoper.Scopes(ctx, CheckRequest{Token: a.token.Name, Params: a.token.Params, Value: value})
			return err
		})
		slices.Sort(scopes)
		return scopes, err
	}
	want, oldErr := ask(oldValue)
	got, err := ask(newValue)
	switch {
	case interrupted(ctx, err) || interrupted(ctx, oldErr):
		return nil
	case err == nil && oldErr == nil && !slices.Equal(want, got):
		err = Permanent(fmt.Errorf("its scopes are %q; those of the old one are %q", got, want))
	case oldErr != nil && (IsPermanent(oldErr) || a.state.Tries >= scopeTries):
		// The old one may be dead already: then nobody can tell, and nothing is claimed.
		outcome.Why = "the old credential's scopes can't be read: nothing to compare"
		return a.write(ctx, outcome)
	}
	if err = errors.Join(err, oldErr); err != nil {
		return a.write(ctx, a.failed(outcome, "issuer "+a.token.IssuerName+": scopes", err, a.state.Tries))
	}
	return a.write(ctx, outcome)
}
