package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rotate opens a rotation and returns its ID. One that is open already is
// ErrConflict, but for a leak: that turns the open one into a leak.
func (e *Engine) Rotate(ctx context.Context, req RotateRequest) (string, error) {
	t, err := e.token(req.Token)
	if err != nil {
		return "", err
	}
	policy, ok := t.Policies[req.Reason]
	if !ok {
		return "", fmt.Errorf("rotate token %q: reason %q is not known", req.Token, req.Reason)
	}
	for try := 1; ; try++ {
		open, err := e.openRotation(ctx, req.Token)
		switch {
		case err != nil:
			return "", err
		case open != "" && req.Reason == Leak:
			err = e.escalate(ctx, open, policy, req)
		case open != "":
			return open, fmt.Errorf("rotate token %q: rotation %s is open: %w", req.Token, open, ErrConflict)
		default:
			open, err = e.open(ctx, t, policy, req)
		}
		// Another rotation may open or close in between: a leak is never lost to that.
		if req.Reason != Leak || try == leakTries || !errors.Is(err, ErrConflict) && !errors.Is(err, errClosed) {
			return open, err
		}
	}
}

// leakTries bounds how often a leak looks again for the rotation that it joins.
const leakTries = 5

var errClosed = errors.New("it is closed")

// open writes the first entry of a rotation.
func (e *Engine) open(ctx context.Context, t Token, policy Policy, req RotateRequest) (string, error) {
	record, err := e.record(ctx, t.Name)
	if err != nil {
		return "", err
	}
	if record.Leaked && req.Reason != Leak { // a leak that nobody followed up yet: this rotation does
		req.Reason, req.Why = Leak, orElse(req.Why, "a leak was reported before")
		policy = t.Policies[Leak]
	}
	id, now := e.NewID(), time.Now()
	entry := Entry{
		At: now, Kind: EntryOpened, Token: t.Name, Rotation: id, Reason: req.Reason, Policy: &policy,
		Course: policy.Course, By: req.By, Why: req.Why,
	}
	old := record.Current.Record()
	if !old.Known() && t.Current.ID != "" {
		old = Credential{ID: t.Current.ID, IssuedAt: t.Current.IssuedAt}
	}
	entry.Credential = &old
	for _, s := range t.Stores {
		entry.Stores = append(entry.Stores, s.Ref())
	}
	state, err := Fold([]Entry{entry})
	if err != nil {
		return "", err
	}
	summary := state.Summary()
	a := Append{Token: t.Name, Rotation: id, Entries: []Entry{entry}, Summary: &summary}
	if record.FirstSeen.IsZero() || record.Leaked {
		record.Name, record.Leaked = t.Name, false
		if record.FirstSeen.IsZero() {
			record.FirstSeen = now
		}
		a.Record = &record
	}
	crashAppend(a.Entries, "before")
	_, err = e.Journal.Append(ctx, a)
	crashAppend(a.Entries, "after")
	if err != nil && !e.wasOpened(ctx, id, err) {
		return "", fmt.Errorf("open rotation of token %q: %w", t.Name, err)
	}
	e.Logger.Info("rotation opened", "token", t.Name, "rotation", id, "reason", string(req.Reason), "by", req.By)
	e.wake(id)
	e.announce()
	return id, nil
}

// wasOpened tells whether a rotation was opened although the journal answered
// with an error. Where the journal can't say, the dispatcher looks again.
func (e *Engine) wasOpened(ctx context.Context, id string, err error) bool {
	if errors.Is(err, ErrConflict) {
		return false
	}
	_, err = e.Journal.Entries(context.WithoutCancel(ctx), id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		e.wake(id)
	}
	return err == nil
}

func (e *Engine) wake(id string) {
	e.mu.Lock()
	started := e.started
	e.mu.Unlock()
	if started {
		e.Dispatcher.WakeAt(id, time.Now())
	}
}

// openRotation returns the ID of a token's open rotation, or "".
func (e *Engine) openRotation(ctx context.Context, token string) (string, error) {
	newest, err := e.Journal.Rotations(ctx, token, 1)
	if err != nil {
		return "", fmt.Errorf("read rotations of token %q: %w", token, err)
	}
	if len(newest) == 0 || newest[0].Status.Final() {
		return "", nil
	}
	return newest[0].ID, nil
}

// within runs f on an open rotation while nothing else decides about it, and
// appends the entry that f returns; nil appends nothing.
func (e *Engine) within(ctx context.Context, id string, f func(s *State) (*Entry, map[Slot]Secret, error)) error {
	r := e.run(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := e.load(ctx, r); err != nil {
		if errors.Is(err, ErrNotFound) {
			e.forget(id)
		}
		return err
	}
	if !r.state.ClosedAt.IsZero() {
		e.forget(id)
		return fmt.Errorf("rotation %q ended as %s: %w", id, r.state.Status(), errClosed)
	}
	entry, seal, err := f(&r.state)
	if err != nil || entry == nil {
		return err
	}
	entry.At, entry.Course, entry.Step = time.Now(), r.state.Course, r.state.Step
	head := r.state.Head
	entries := []Entry{*entry}
	if p := r.state.Pending; r.armed != nil && p != nil && entry.Kind == EntryEscalated {
		neverMade := Entry{
			At: entry.At, Kind: EntryOutcome, Course: p.Course, Step: p.Step, Target: p.Target, Attempt: p.Attempt,
			Err: "a leak was reported before the call", NoEffect: true,
		}
		entries = []Entry{neverMade, *entry}
	}
	err = e.append(ctx, r, entries, seal)
	if err != nil {
		r.loaded = false
		if !errors.Is(err, ErrConflict) && e.load(context.WithoutCancel(ctx), r) == nil && r.state.Head != head {
			err = nil // it was written after all
		}
	}
	e.wake(id)
	return err
}

// escalate turns an open rotation into a leak.
func (e *Engine) escalate(ctx context.Context, id string, policy Policy, req RotateRequest) error {
	return e.within(ctx, id, func(s *State) (*Entry, map[Slot]Secret, error) {
		if s.leak() && !s.GivenUp {
			return nil, nil, nil // it is one already; its deadline stays
		}
		return &Entry{Kind: EntryEscalated, Policy: &policy, By: req.By, Why: req.Why}, nil, nil
	})
}

// Decide records what a person decided about an open rotation.
func (e *Engine) Decide(ctx context.Context, rotation string, d Decision, by, why string) error {
	return e.within(ctx, rotation, func(s *State) (*Entry, map[Slot]Secret, error) {
		if err := CanDecide(*s, d); err != nil {
			return nil, nil, fmt.Errorf("%s rotation %q: %w", d, rotation, err)
		}
		return &Entry{Kind: EntryDecided, Decision: d, By: by, Why: why}, nil, nil
	})
}

// CanDecide tells whether a decision fits where a rotation stands; the error
// says what would.
func CanDecide(s State, d Decision) error {
	switch d {
	case Resume, Retry:
		if s.Hold == nil && s.Asked == nil {
			return errors.New("it is not held; nothing is to be decided")
		}
	case Approve:
		approvable := []HoldKind{HoldConflict, HoldInDoubt, HoldUnconfirmed}
		if s.Hold == nil || !slices.Contains(approvable, s.Hold.Kind) {
			return errors.New("it does not wait for an approval; no approval stands in for a probe's evidence: mend the cause, then resume or retry")
		}
	case Abort:
		switch {
		case s.leak() && (s.anyTouched() || s.Step != StepIssue):
			return errors.New("a leak never goes back to the leaked value; mend the cause, then resume")
		case s.noWayBack():
			return errors.New("no store told the old value, so it can't be put back; mend the cause, then resume")
		case !hasRow(s.Position, TriggerAbort):
			return fmt.Errorf("step %s of course %s can't be undone any more; mend the cause, then resume", s.Step, s.Course)
		}
	default:
		return fmt.Errorf("decision %q is not known", d)
	}
	return nil
}

// Provide hands a value that a person generated to the rotation that waits for
// it, after checking that it is live, new and fits the token's params.
func (e *Engine) Provide(ctx context.Context, p Provision) (Fingerprint, error) {
	t, err := e.token(p.Token)
	if err != nil {
		return "", err
	}
	id, err := e.openRotation(ctx, p.Token)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", fmt.Errorf("token %q has no open rotation that waits for a value; start one with `rotatord rotate %s`", p.Token, p.Token)
	}
	fingerprint := p.Value.Fingerprint()
	if err := e.checkProvided(ctx, t, p.Value); err != nil {
		return "", fmt.Errorf("provide token %q: %w", p.Token, err)
	}
	err = e.within(ctx, id, func(s *State) (*Entry, map[Slot]Secret, error) {
		switch {
		case s.Asked == nil || s.Asked.Kind != AskProvide:
			return nil, nil, fmt.Errorf("rotation %q does not wait for a value (step %s)", id, s.Step)
		case fingerprint == s.Old.Fingerprint:
			return nil, nil, errors.New("the value is that of the credential to be replaced; generate a new one")
		}
		made := Credential{ID: p.ID, Name: Marker(t.Name, id), Fingerprint: fingerprint, IssuedAt: time.Now()}
		return &Entry{Kind: EntryProvided, Credential: &made, By: p.By}, map[Slot]Secret{SlotNew: p.Value}, nil
	})
	if err != nil {
		return "", fmt.Errorf("provide token %q: %w", p.Token, err)
	}
	return fingerprint, nil
}

// checkProvided: the value is live and belongs where the token's params say,
// and no store or earlier rotation of the token knows it.
func (e *Engine) checkProvided(ctx context.Context, t Token, value Secret) error {
	a := act{engine: e, run: &run{secrets: map[Slot]Secret{SlotNew: value}}, token: t}
	verdict, err := a.checkCredential(ctx, value, e.ActTimeout)
	switch {
	case verdict == Dead:
		return errors.New("the service refuses the value: it is not live")
	case err != nil:
		return fmt.Errorf("check the value: %s", a.clean("", err))
	}
	past, err := e.Journal.Rotations(ctx, t.Name, 0)
	if err != nil {
		return err
	}
	for _, s := range past {
		if s.New == value.Fingerprint() || s.Old == value.Fingerprint() {
			return errors.New("the value was used by this token before; generate a new one")
		}
	}
	return nil
}

// recordDue writes down when each token is due, and that it was seen.
func (e *Engine) recordDue(ctx context.Context) error {
	records, err := e.Journal.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	e.mu.Lock()
	tokens := make([]*Token, 0, len(e.tokens))
	for _, t := range e.tokens {
		tokens = append(tokens, t)
	}
	e.mu.Unlock()
	due := make(map[string]time.Time, len(records)+len(tokens))
	for name := range records {
		due[name] = time.Time{} // a token that is no longer configured is never due
	}
	var fresh []TokenRecord
	for _, t := range tokens {
		record, known := records[t.Name]
		if !known {
			record = TokenRecord{Name: t.Name, FirstSeen: time.Now(), Current: Credential{ID: t.Current.ID, IssuedAt: t.Current.IssuedAt}}
			fresh = append(fresh, record)
		}
		due[t.Name] = dueTime(t.Schedule, record)
	}
	if err := e.recordSeen(ctx, fresh); err != nil {
		return err
	}
	if err := e.Journal.SetDue(ctx, due); err != nil {
		return fmt.Errorf("record due dates: %w", err)
	}
	return nil
}

// recordSeen writes the first entry of tokens never seen before, many at once
// so that the journal can commit them together.
func (e *Engine) recordSeen(ctx context.Context, fresh []TokenRecord) error {
	const atOnce = 64
	work := make(chan TokenRecord)
	failed := make(chan error, atOnce)
	for range atOnce {
		go func() {
			var first error
			for record := range work {
				seen := Entry{At: record.FirstSeen, Kind: EntrySeen, Token: record.Name}
				crashAppend([]Entry{seen}, "before")
				_, err := e.Journal.Append(ctx, Append{Token: record.Name, Entries: []Entry{seen}, Record: &record})
				crashAppend([]Entry{seen}, "after")
				if err != nil && first == nil {
					first = fmt.Errorf("record token %q: %w", record.Name, err)
				}
			}
			failed <- first
		}()
	}
	for _, record := range fresh {
		work <- record
	}
	close(work)
	var all []error
	for range atOnce {
		all = append(all, <-failed)
	}
	return errors.Join(all...)
}

// dueTime is DueOf's time, or never when failures paused the schedule.
func dueTime(s Schedule, r TokenRecord) time.Time {
	d := DueOf(s, r)
	if d.Reason != Leak && r.Failures >= MaxFailures {
		return time.Time{}
	}
	return d.At
}

// Wait blocks until the rotation is final or needs a person, and returns its
// status then; each change before is given to watch, if that is not nil.
func (e *Engine) Wait(ctx context.Context, rotation string, watch func(RotationStatus)) (RotationStatus, error) {
	for {
		changed := e.changes()
		status, err := e.Rotation(ctx, rotation)
		if err != nil {
			return status, err
		}
		if watch != nil {
			watch(status)
		}
		if status.Status.Final() || status.NeedsPerson() {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-e.ctx.Done():
			return status, context.Cause(e.ctx) //nolint:contextcheck // the engine's own end
		case <-changed:
		}
	}
}
