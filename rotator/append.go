package rotator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// append writes entries, and with them the moves to which they lead and the
// intent of the act that comes then, and takes them into the state. It must be
// called with r.mu held. After an error memory may be behind the journal: drop
// the run.
func (e *Engine) append(ctx context.Context, r *run, entries []Entry, seal map[Slot]Secret) error {
	next := r.state.clone()
	add := func(entry *Entry) error {
		entry.Token, entry.Rotation = r.state.Token, r.id
		if err := next.apply(*entry); err != nil {
			return fmt.Errorf("append to rotation %q: %w", r.id, err)
		}
		return nil
	}
	for i := range entries {
		if err := add(&entries[i]); err != nil {
			return err
		}
	}
	u, token := e.setup(next.Token)
	action := Next(next, u, time.Now())
	for moves := 0; moves < maxMoves && (action.Kind == DoMove || action.Kind == DoClose); moves++ {
		entry, _ := decide(&next, action, time.Now())
		if err := add(&entry); err != nil {
			return err
		}
		entries = append(slices.Clip(entries), entry)
		action = Next(next, u, time.Now())
	}
	var intent *armed
	byPeople := slices.ContainsFunc(entries, func(e Entry) bool {
		return slices.Contains([]EntryKind{EntryDecided, EntryProvided, EntryEscalated}, e.Kind)
	})
	if begun := time.Now(); !byPeople && e.ctx.Err() == nil && ctx.Err() == nil {
		if entry, ok := decide(&next, action, begun); ok && entry.Kind == EntryIntent {
			if err := add(&entry); err != nil {
				return err
			}
			entries = append(slices.Clip(entries), entry)
			intent = &armed{action: action, began: begun}
		}
	}
	a := Append{Token: r.state.Token, Rotation: r.id, Head: r.state.Head, Entries: entries, Seal: seal}
	summary := next.Summary()
	if action.Kind == DoNothing {
		summary.WakeAt = action.Until
	}
	a.Summary = &summary
	if !next.ClosedAt.IsZero() {
		record, err := e.record(ctx, next.Token)
		if err != nil {
			return err
		}
		closed := closeRecord(record, &next, token.Schedule)
		a.Record, a.Wipe = &closed, !without("seal wipe")
	}
	// The journal's transaction is not cut short by a stop: its outcome must be known.
	crashAppend(a.Entries, "before")
	written, err := e.Journal.Append(context.WithoutCancel(ctx), a)
	crashAppend(a.Entries, "after")
	if err != nil {
		return fmt.Errorf("append to rotation %q: %w", r.id, err)
	}
	next.Head = written[len(written)-1].Seq
	r.state, r.loaded = next, true
	if intent != nil {
		intent.seq = next.Head
	}
	if intent != nil || next.Pending == nil {
		r.armed = intent
	}
	maps.Copy(r.secrets, seal)
	e.told(ctx, r, entries)
	return nil
}

// told logs what was written, tells people, and wakes whoever waits for it.
func (e *Engine) told(ctx context.Context, r *run, entries []Entry) {
	for _, entry := range entries {
		e.logEntry(ctx, &r.state, entry)
		e.tellPeople(&r.state, entry)
	}
	if s := &r.state; !s.ClosedAt.IsZero() || s.waitsFor() != nil || s.leak() {
		e.leaveRoom(r.id)
	}
	if !r.state.ClosedAt.IsZero() {
		clear(r.secrets)
		e.afterClose(r.state.clone()) //nolint:contextcheck // it outlives the call that closed the rotation
	}
	e.announce()
}

// secret returns a sealed value of the rotation. ErrNotFound: it was never known.
func (e *Engine) secret(ctx context.Context, r *run, slot Slot) (Secret, error) {
	r.mu.Lock()
	value, ok := r.secrets[slot]
	r.mu.Unlock()
	if ok {
		return value, nil
	}
	value, err := e.Journal.Unseal(ctx, r.id, slot)
	if err != nil {
		return Secret{}, fmt.Errorf("unseal the %s credential: %w", slot, err)
	}
	r.mu.Lock()
	r.secrets[slot] = value
	r.mu.Unlock()
	return value, nil
}

// closeRecord is the token's record after a rotation.
func closeRecord(r TokenRecord, s *State, _ Schedule) TokenRecord {
	summary := s.Summary()
	r.Name, r.Last, r.Current = s.Token, &summary, s.survivor()
	if r.FirstSeen.IsZero() {
		r.FirstSeen = s.OpenedAt
	}
	r.Leaked = s.FollowUp
	r.NotBefore = time.Time{}
	switch s.Ending {
	case Done:
		r.Failures = 0
	case Aborted:
		r.NotBefore = s.ClosedAt.Add(day)
	case RolledBack, Failed:
		if s.Reason == Scheduled || s.Reason == Expiry {
			r.Failures++
			r.NotBefore = notBefore(r.Failures, s.ClosedAt)
		}
	case Queued, Running, Waiting, Held:
	}
	return r
}

// writeOutcome appends what came of an act. The act happened: it is written
// down however long the journal takes, unless the process is told to stop.
func (e *Engine) writeOutcome(ctx context.Context, r *run, entries []Entry, seal map[Slot]Secret) error {
	for i := range entries {
		entries[i].At = time.Now() // when the answer came, not when it was asked for
	}
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		r.mu.Lock()
		err := e.append(ctx, r, entries, seal)
		if err != nil && !errors.Is(err, ErrConflict) {
			// Perhaps it was written after all: only the journal knows.
			if stored, readErr := e.Journal.Entries(ctx, r.id); readErr == nil && len(stored) > 0 && stored[len(stored)-1].Seq != r.state.Head {
				r.loaded = false
				err = nil
			}
		}
		r.mu.Unlock()
		if err == nil || errors.Is(err, ErrConflict) || e.ctx.Err() != nil {
			return err
		}
		e.Logger.Error("outcome of an act can't be written yet", "rotation", r.id, "err", err)
		select {
		case <-e.ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}
