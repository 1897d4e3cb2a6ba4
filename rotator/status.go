package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Status returns the status of the named tokens, or of all, by name.
func (e *Engine) Status(ctx context.Context, names ...string) ([]TokenStatus, error) {
	everything := len(names) == 0
	if everything {
		names = e.tokenNames()
	}
	// Open rotations first, records last: one that ends in between is then known by its record.
	open, err := e.openNow(ctx, names, everything)
	if err != nil {
		return nil, err
	}
	if everything {
		names = withUnconfigured(names, open)
	}
	records, err := e.Journal.Tokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	var all []TokenStatus
	for _, name := range names {
		t, err := e.token(name)
		if _, isOpen := open[name]; err != nil && !isOpen {
			return nil, err
		}
		record := records[name]
		status := TokenStatus{
			Name: name, Issuer: t.IssuerName, Current: record.Current, Due: DueOf(t.Schedule, record),
			Failures: record.Failures, Paused: record.Failures >= MaxFailures, Last: record.Last,
		}
		for _, s := range t.Stores {
			if _, writeOnly := s.Store.(WriteOnly); writeOnly {
				status.Blind = append(status.Blind, s.Ref())
			}
		}
		if rotation, ok := open[name]; ok && (record.Last == nil || record.Last.ID != rotation.ID) {
			status.Open = &rotation
		}
		all = append(all, status)
	}
	return all, nil
}

// openNow returns the rotations that are not closed, of some tokens or of all.
func (e *Engine) openNow(ctx context.Context, names []string, all bool) (map[string]RotationStatus, error) {
	listed, err := e.Journal.OpenRotations(ctx)
	if err != nil {
		return nil, fmt.Errorf("read open rotations: %w", err)
	}
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
	}
	open := map[string]RotationStatus{}
	for _, o := range listed {
		if !all && !wanted[o.Token] {
			continue
		}
		rotation, err := e.Rotation(ctx, o.ID)
		if err != nil {
			return nil, err
		}
		if !rotation.Status.Final() {
			open[o.Token] = rotation
		}
	}
	return open, nil
}

// withUnconfigured adds tokens that left the configuration while a rotation of
// theirs is open: it must not be forgotten.
func withUnconfigured(names []string, open map[string]RotationStatus) []string {
	var gone []string
	for token := range open {
		if _, found := slices.BinarySearch(names, token); !found {
			gone = append(gone, token)
		}
	}
	names = append(names, gone...)
	slices.Sort(names)
	return names
}

func (e *Engine) tokenNames() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := make([]string, 0, len(e.tokens))
	for name := range e.tokens {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Rotation returns the status of one rotation, open or closed.
func (e *Engine) Rotation(ctx context.Context, id string) (RotationStatus, error) {
	state, err := e.stateOf(ctx, id)
	if err != nil {
		return RotationStatus{}, err
	}
	u, _ := e.setup(state.Token)
	return statusOf(state, u, time.Now()), nil
}

// stateOf returns a copy of a rotation's state, from memory or the journal.
func (e *Engine) stateOf(ctx context.Context, id string) (State, error) {
	e.mu.Lock()
	r := e.runs[id]
	e.mu.Unlock()
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.loaded {
			return r.state.clone(), nil
		}
	}
	entries, err := e.Journal.Entries(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return State{}, fmt.Errorf("rotation %q: %w", id, ErrNotFound)
	}
	if err != nil {
		return State{}, fmt.Errorf("read rotation %q: %w", id, err)
	}
	return Fold(entries)
}

func statusOf(s State, u Setup, now time.Time) RotationStatus {
	next := Next(s, u, now)
	status := RotationStatus{
		Summary: s.Summary(), StartedAt: s.StartedAt, DeadlineAt: s.DeadlineAt(u), Hold: s.waitsFor(),
		Done: slices.Clone(s.Passed), Attempt: s.Tries, LastErr: s.LastErr, FollowUp: s.FollowUp,
	}
	status.WakeAt, status.Settled = next.Until, next.Kind == DoNothing
	switch {
	case status.Status.Final():
	case status.Hold != nil && len(status.Hold.Awaited) > 0:
		status.Awaited = status.Hold.Awaited
	case status.Hold != nil && s.Hold == nil:
		status.Awaited = []Awaited{{Probe: "person", Detail: status.Hold.Text}}
	case s.Step == StepProbe:
		status.Awaited = Stragglers(s, u)
	case s.Step == StepStore:
		status.Awaited = awaitedStores(s)
	case s.Step == StepDeploy:
		status.Awaited = awaitedDeployers(s, u)
	case status.LastErr != "":
		status.Awaited = []Awaited{{Probe: "issuer", Detail: status.LastErr}}
	}
	return status
}

func awaitedStores(s State) []Awaited {
	var late []Awaited
	for _, st := range s.Stores {
		if !st.holds(s.target().Fingerprint) {
			late = append(late, Awaited{Probe: "store", Target: st.Ref.String(), Detail: orElse(st.Failing.LastErr, "not written yet")})
		}
	}
	return late
}

func awaitedDeployers(s State, u Setup) []Awaited {
	var late []Awaited
	for _, name := range u.Deployers {
		if d := s.Deploys[name]; !d.Accepted {
			late = append(late, Awaited{Probe: "deploy", Target: name, Detail: orElse(d.Failing.LastErr, "not started yet")})
		}
	}
	return late
}
