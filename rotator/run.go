package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A run is an open rotation in memory. mu guards everything; it is held while
// deciding and while writing to the journal, never during an act.
type run struct {
	id string

	mu      sync.Mutex
	state   State
	loaded  bool
	secrets map[Slot]Secret
	armed   *armed // nil: none
}

// armed is an act whose intent was written together with what led to it: it
// comes next, whatever else happens.
type armed struct {
	action Action
	began  time.Time // when it was decided
	seq    int64     // of its intent
}

// journalPause is how long a rotation sleeps when the journal can't be written.
const journalPause = 5 * time.Second

// maxTurns bounds what a rotation does without ever sleeping: no sound one
// comes near it, and a mistake here must not fill the journal.
const maxTurns = 1000

// maxMoves bounds how many moves are written with what led to them.
const maxMoves = 8

// run returns the rotation in memory, or an empty one to load.
func (e *Engine) run(id string) *run {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.runs[id]
	if !ok {
		r = &run{id: id, secrets: map[Slot]Secret{}}
		e.runs[id] = r
	}
	return r
}

func (e *Engine) forget(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.runs, id)
}

// load reads the rotation from the journal if memory does not hold it.
func (e *Engine) load(ctx context.Context, r *run) error {
	if r.loaded {
		return nil
	}
	entries, err := e.Journal.Entries(ctx, r.id)
	if err != nil {
		return fmt.Errorf("read rotation %q: %w", r.id, err)
	}
	inOrder(entries, time.Now())
	state, err := Fold(entries)
	if err != nil {
		return fmt.Errorf("read rotation %q: %w", r.id, err)
	}
	known := r.state.Head // 0: this process has not seen it yet
	r.state, r.loaded = state, true
	if r.armed != nil && (state.Pending == nil || state.Pending.Seq != r.armed.seq) {
		r.armed = nil // what was written meanwhile left it behind
	}
	if len(entries) > 1 { // with the first one, nothing is sealed
		e.unsealAll(ctx, r)
	}
	if i := slices.IndexFunc(entries, func(e Entry) bool { return e.Seq > known }); known > 0 && i >= 0 {
		e.told(ctx, r, entries[i:]) // written, though the journal's answer was lost
	}
	return nil
}

// unsealAll takes what is sealed into memory, so that no error can carry a
// value by accident. What can't be unsealed is missed where it is needed.
func (e *Engine) unsealAll(ctx context.Context, r *run) {
	for _, slot := range []Slot{SlotOld, SlotNew} {
		if _, ok := r.secrets[slot]; ok || !r.state.ClosedAt.IsZero() {
			continue
		}
		if value, err := e.Journal.Unseal(ctx, r.id, slot); err == nil {
			r.secrets[slot] = value
		}
	}
}

// setup gathers what Next must know of the configuration.
func (e *Engine) setup(token string) (Setup, Token) {
	t, err := e.token(token)
	if err != nil {
		return Setup{}, t
	}
	u := Setup{Configured: true, Rollout: t.Rollout, ActTimeout: e.ActTimeout}
	for _, s := range t.Stores {
		u.Stores = append(u.Stores, s.Ref())
	}
	for _, d := range t.Deployers {
		u.Deployers = append(u.Deployers, d.Name)
	}
	for _, p := range t.Probes {
		u.Probes = append(u.Probes, p.Name)
	}
	_, u.CanList = t.Issuer.(Lister)
	_, u.CanScope = t.Issuer.(Scoper)
	return u, t
}

// advance takes a rotation as far as it goes now and returns when to come back;
// the zero time: when somebody acts. The dispatcher calls it.
func (e *Engine) advance(ctx context.Context, id string) time.Time {
	r := e.run(id)
	for turns := 0; ctx.Err() == nil || r.isArmed(); turns++ {
		if turns == maxTurns {
			e.Logger.Error("rotation does not come to rest", "rotation", id)
			return time.Now().Add(maxPause)
		}
		wake, again, err := e.turn(ctx, r)
		if err != nil {
			if ctx.Err() == nil {
				e.Logger.Error("rotation can't go on", "rotation", id, "err", err)
			}
			if errors.Is(err, ErrNotFound) { // it was never opened
				e.forget(id)
				return time.Time{}
			}
			r.drop()
			return time.Now().Add(journalPause)
		}
		if !again {
			return wake
		}
	}
	return time.Time{}
}

// within shortens a time-out that would outlast a leak's deadline: no call may
// hang longer than that.
func (r *run) within(timeout time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := revokeAt(r.state); !at.IsZero() {
		return max(min(timeout, time.Until(at)), 0)
	}
	return timeout
}

// drop forgets what memory says: the journal is read again before the next decision.
func (r *run) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded, r.armed = false, nil
}

func (r *run) isArmed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.armed != nil
}

// turn takes one action. again: ask Next at once.
func (e *Engine) turn(ctx context.Context, r *run) (wake time.Time, again bool, err error) {
	r.mu.Lock()
	if r.armed == nil && time.Now().Round(0).Before(r.state.LastAt.Round(0)) {
		r.loaded = false // the clock was set back: load puts the entries in order
	}
	if err := e.load(ctx, r); err != nil {
		r.mu.Unlock()
		return time.Time{}, false, err
	}
	if r.state.StartedAt.IsZero() && r.state.ClosedAt.IsZero() {
		admitted, err := e.admit(ctx, r)
		r.mu.Unlock()
		return time.Time{}, admitted, err
	}
	u, token := e.setup(r.state.Token)
	now := time.Now()
	if next := r.armed; next != nil {
		r.armed = nil
		if u.Configured && sameStores(r.state, u) { // else its intent is reconciled
			a := act{engine: e, run: r, token: token, setup: u, state: r.state.clone(), action: next.action, began: next.began}
			r.mu.Unlock()
			return time.Time{}, true, a.do(ctx)
		}
	}
	action := Next(r.state, u, now)
	if action.Kind == DoNothing {
		done := !r.state.ClosedAt.IsZero()
		if r.state.waitsFor() != nil {
			e.leaveRoom(r.id) // it may have waited when this process started
		}
		r.mu.Unlock()
		if done {
			e.forget(r.id)
		}
		return action.Until, false, nil
	}
	var began time.Time
	if entry, ok := decide(&r.state, action, now); ok {
		if entry.Kind == EntryIntent {
			began = now
		}
		if err := e.append(ctx, r, []Entry{entry}, nil); err != nil {
			r.mu.Unlock()
			return time.Time{}, false, err
		}
		if r.armed != nil || entry.Kind == EntryIntent && r.state.Pending == nil { // time went on: something else comes first
			r.mu.Unlock()
			return time.Time{}, true, nil
		}
	}
	a := act{engine: e, run: r, token: token, setup: u, state: r.state.clone(), action: action, began: began}
	r.mu.Unlock()
	return time.Time{}, true, a.do(ctx)
}

// decide returns the entry that an action writes before anything is done: an
// intent for what changes the world, the whole of it for what changes only the
// journal, nothing for what only reads.
func decide(s *State, a Action, now time.Time) (entry Entry, ok bool) {
	entry = Entry{At: now, Course: s.Course, Step: s.Step, Target: a.Target, Why: a.Why}
	switch a.Kind {
	case DoMove:
		entry.Kind, entry.Trigger = EntryMoved, a.Trigger
	case DoHold:
		entry.Kind, entry.Hold = EntryHeld, a.Hold
	case DoAsk:
		entry.Kind, entry.Hold = EntryAsked, a.Hold
	case DoRemind:
		entry.Kind = EntryReminded
	case DoClose:
		entry.Kind, entry.Status = EntryClosed, s.Ending
	case DoIssue, DoSettle, DoStore, DoDeploy, DoRevoke:
		entry.Kind, entry.Attempt = EntryIntent, s.attempt(a)
	case DoNothing, DoPreflight, DoCapture, DoCheck, DoScopes, DoLook, DoReread, DoReconcile, DoCount:
		return Entry{}, false
	}
	return entry, true
}

// attempt counts the acts on a target within the step.
func (s *State) attempt(a Action) int {
	if st := s.store(a.Target); a.Kind == DoStore && st != nil {
		return st.Failing.Tries + 1
	}
	if a.Kind == DoDeploy {
		return s.Deploys[a.Target].Failing.Tries + 1
	}
	return s.Tries + 1
}

// admit starts a queued rotation if there is room; leaks need none. One that
// finds no room is woken when its turn comes.
func (e *Engine) admit(ctx context.Context, r *run) (bool, error) {
	if !r.state.leak() && !e.takeRoom(r.id) {
		return false, nil
	}
	return true, e.append(ctx, r, []Entry{{At: time.Now(), Kind: EntryStarted}}, nil)
}

// takeRoom gives a rotation one of the places, or a place in the queue.
func (e *Engine) takeRoom(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.room[id]:
	case len(e.room) < e.MaxConcurrent:
		e.room[id] = true
	default:
		if !e.queued[id] {
			e.queued[id] = true
			e.queue = append(e.queue, id)
		}
		return false
	}
	return true
}

// leaveRoom gives the place of a rotation, or its place in the queue, to the next.
func (e *Engine) leaveRoom(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.room, id)
	delete(e.queued, id)
	for len(e.queue) > 0 && len(e.room) < e.MaxConcurrent {
		next := e.queue[0]
		e.queue = e.queue[1:]
		if !e.queued[next] {
			continue // it has left
		}
		delete(e.queued, next)
		e.room[next] = true
		e.Dispatcher.WakeAt(next, time.Now())
	}
}
