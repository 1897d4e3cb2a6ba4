package rotator

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// apply takes one more entry into the state. On an error the state is unchanged in part: drop it.
func (s *State) apply(e Entry) error {
	if e.Kind != EntryOpened && s.ID == "" {
		return fmt.Errorf("%s before %s", e.Kind, EntryOpened)
	}
	if !s.ClosedAt.IsZero() {
		return fmt.Errorf("%s after the end", e.Kind)
	}
	s.Head, s.LastAt = e.Seq, e.At
	switch e.Kind {
	case EntryOpened:
		return s.applyOpened(e)
	case EntryStarted:
		s.StartedAt, s.EnteredAt = e.At, e.At
	case EntryIntent:
		return s.applyIntent(e)
	case EntryOutcome:
		return s.applyOutcome(e)
	case EntryRead:
		s.applyRead(e)
	case EntryChecked:
		s.applyChecked(e)
	case EntryObserved:
		s.applyObserved(e)
	case EntryMoved:
		return s.applyMoved(e)
	case EntryHeld:
		s.Hold, s.HeldAt, s.RemindedAt = e.Hold, e.At, time.Time{}
	case EntryAsked:
		s.applyAsked(e)
	case EntryReminded:
		s.RemindedAt = e.At
	case EntryDecided:
		s.applyDecided(e)
	case EntryProvided:
		if e.Credential == nil {
			return fmt.Errorf("%s without a credential", e.Kind)
		}
		s.New, s.Asked, s.EnteredAt = *e.Credential, nil, e.At
		s.clearTries()
	case EntryEscalated:
		return s.applyEscalated(e)
	case EntryClosed:
		s.ClosedAt, s.Ending, s.EndWhy = e.At, e.Status, e.Why
		s.Hold, s.Asked = nil, nil
	case EntryAdopted, EntrySeen, EntryReset, EntryRevoked:
		return fmt.Errorf("%s does not belong to a rotation", e.Kind)
	default:
		return fmt.Errorf("kind %q is not known", e.Kind)
	}
	return nil
}

func (s *State) applyOpened(e Entry) error {
	if s.ID != "" || e.Policy == nil {
		return fmt.Errorf("%s twice, or without a policy", e.Kind)
	}
	*s = State{
		ID: e.Rotation, Token: e.Token, Reason: e.Reason, Policy: *e.Policy, OpenedAt: e.At, By: e.By, Why: e.Why,
		Position: entryOf(e.Course), EnteredAt: e.At, Head: e.Seq, LastAt: e.At,
		Deploys: map[string]DeployState{}, Probes: map[string]ProbeState{},
		Dead: map[Fingerprint]time.Time{},
	}
	if e.Credential != nil {
		s.Old = *e.Credential
	}
	for _, ref := range e.Stores {
		s.Stores = append(s.Stores, StoreState{Ref: ref})
	}
	return nil
}

func (s *State) applyIntent(e Entry) error {
	if s.Pending != nil {
		return fmt.Errorf("an intent for %s while that for %s has no outcome", e.Step, s.Pending.Step)
	}
	s.Pending = &e
	if st := s.store(e.Target); e.Step == StepStore && st != nil {
		st.fresh, st.Touched = !st.Touched, true
	}
	return nil
}

func (s *State) applyOutcome(e Entry) error {
	s.Pending = nil
	if e.Err != "" {
		s.applyFailure(e)
		return nil
	}
	switch e.Step {
	case StepIssue:
		s.applyIssued(e)
	case StepStore:
		st := s.store(e.Target)
		if st == nil {
			return fmt.Errorf("store %q is not one of the rotation", e.Target)
		}
		*st = StoreState{
			Ref: st.Ref, Fingerprint: e.Fingerprint, Version: e.Version, Read: st.Read,
			WriteOnly: e.Verdict == Unknown, Written: e.Fingerprint, Touched: true,
			Versioned: st.Versioned, Found: st.Found, WrittenAs: e.Version,
		}
		s.StoredAt = e.At
	case StepDeploy:
		s.Deploys[e.Target] = DeployState{Accepted: true, Restarted: true}
	case StepRevoke:
		s.clearTries()
		if e.Target == targetCapture {
			s.capture(e)
			return nil
		}
		s.Revoked = true
		s.markRevoked(e.At)
	case StepProbe, StepConfirm: // strays were looked for, and ended
		s.clearTries()
		s.EverDoubted = e.Target == targetCount && e.Verdict == Live
		s.Counted = true
	}
	return nil
}

// The parts of the issue step that have outcomes of their own.
const (
	targetPreflight = "preflight"
	targetCapture   = "capture" // of step revoke: what can be known of the old credential
	targetSettle    = "settle"  // ends strays of an issue whose answer was lost
	targetScopes    = "scopes"
	targetCount     = "count" // of step confirm: Verdict is live where strays were found
	targetOld       = "old"   // of a check: the old credential, before the way back
)

// capture takes up what the stores told of the old credential.
func (s *State) capture(e Entry) {
	s.Captured = true
	if e.Credential == nil {
		return
	}
	s.Old = *e.Credential
	s.OldSealed = s.Old.Fingerprint != "" &&
		slices.ContainsFunc(s.Stores, func(st StoreState) bool { return st.Fingerprint == s.Old.Fingerprint })
}

func (s *State) applyIssued(e Entry) {
	s.clearTries()
	switch e.Target {
	case targetPreflight:
		s.Preflighted = true
		s.capture(e)
	case targetSettle:
		s.Doubt = false
	case targetScopes:
		s.ScopesDone = true
	default:
		if e.Credential != nil {
			s.New, s.EnteredAt, s.NewVerdict, s.Counted = *e.Credential, e.At, "", false
		}
	}
}

func (s *State) applyFailure(e Entry) {
	switch e.Step {
	case StepStore:
		if st := s.store(e.Target); st != nil {
			st.Failing.count(e)
			st.Unsure = st.Unsure || !e.NoEffect
			if !e.NoEffect { // which version is ours, nobody knows
				st.WrittenAs, st.Version = e.Version, orElse(e.Version, st.Version)
				if st.WriteOnly {
					st.Written = ""
				}
			}
			st.Touched = st.Touched && (!st.fresh || !e.NoEffect)
		}
	case StepDeploy:
		d := s.Deploys[e.Target]
		d.Failing.count(e)
		d.Restarted = d.Restarted || !e.NoEffect
		s.Deploys[e.Target] = d
	default:
		s.count(e)
		if e.Step == StepIssue && e.Target == "" && !e.NoEffect {
			s.Doubt, s.EverDoubted, s.DoubtedAt = true, true, e.At
		}
	}
}

func (f *Failing) count(e Entry) {
	f.Tries++
	f.LastErr, f.GaveUp, f.RetryAt = e.Err, e.Final, e.RetryAt
}

// applyAsked: the person's part takes the place of the act's outcome.
func (s *State) applyAsked(e Entry) {
	s.Pending = nil
	s.Asked, s.HeldAt, s.RemindedAt = e.Hold, e.At, time.Time{}
	s.clearTries()
	if e.Hold != nil && e.Hold.Kind == AskDelete {
		s.ByHand = true
		s.markRevoked(e.At)
	}
}

func (s *State) applyRead(e Entry) {
	st := s.store(e.Target)
	if st == nil {
		return
	}
	if e.Err != "" {
		st.Failing.count(e)
		return
	}
	st.Unsure, st.Versioned = false, st.Versioned || e.Version != ""
	if !st.Touched && !st.Read {
		st.Found = e.Version
	}
	st.Read, st.Fingerprint, st.Version, st.WriteOnly = true, e.Fingerprint, e.Version, e.Verdict == Unknown
	if s.Step == StepStore && e.Fingerprint != "" && e.Fingerprint == s.target().Fingerprint {
		s.StoredAt = e.At // written, though the answer was lost
	}
	if s.Step == StepProbe {
		s.Rechecked = true
	}
}

func (s *State) applyChecked(e Entry) {
	if e.Verdict == Dead {
		s.markDead(e.Fingerprint, e.At)
	}
	if e.Target == targetOld {
		s.OldChecked = true
		return
	}
	s.LastErr, s.GaveUp, s.RetryAt = e.Err, e.Final, e.RetryAt
	if s.Step == StepIssue {
		s.NewVerdict = e.Verdict
		s.Tries++
		if e.Verdict == Live {
			s.Tries = 0
		}
		return
	}
	s.Checks++
	s.LastVerdict = e.Verdict
}

func (s *State) applyObserved(e Entry) {
	s.LookedAt, s.RetryAt = e.At, e.RetryAt
	s.Looks++
	for _, o := range e.Observations {
		p := s.Probes[o.Probe]
		if p.Last.Finding.Health != o.Finding.Health || (p.Last.Err == "") != (o.Err == "") {
			s.Looks = 0
		}
		p.Last, p.At = o, e.At
		switch {
		case o.Err != "":
			p.Errors++
			p.Successes = 0
		case o.Finding.Health == Healthy:
			p.Successes++
			p.Errors = 0
		case o.Finding.Health == Unhealthy:
			p.Failures++
			p.Successes, p.Errors = 0, 0
		default:
			p.Successes, p.Errors = 0, 0
		}
		s.Probes[o.Probe] = p
		if s.Course == RollBack && o.Probe == IssuerProbe && o.Err == "" && o.Finding.Health == Unhealthy {
			s.markDead(s.Old.Fingerprint, e.At)
		}
	}
	s.Rechecked = false
}

func (s *State) applyDecided(e Entry) {
	kind := HoldKind("")
	if s.Hold != nil {
		kind = s.Hold.Kind
	}
	s.Hold, s.OldChecked = nil, false
	s.clearTries()
	s.Decision, s.HoldKind = "", kind
	switch e.Decision {
	case Abort:
		s.Decision, s.EndWhy = Abort, e.Why
		if s.StartedAt.IsZero() {
			s.StartedAt = e.At // a queued one ends without a turn
		}
		return
	case Retry:
		s.Decision = Retry
	case Approve:
		s.approve(kind, e)
	case Resume:
	}
	switch s.Step {
	case StepStore:
		s.freshStores()
		if kind == HoldConflict && e.Decision != Approve {
			for i := range s.Stores { // a write without a version is refused, and the store is read again
				if st := &s.Stores[i]; !st.WriteOnly && foreign(*s, *st) {
					st.Fingerprint, st.Version = "", ""
				}
			}
		}
	case StepDeploy, StepProbe, StepRevoke:
		s.retryDeploys()
		if s.Step != StepRevoke || s.OldRevokedAt.IsZero() {
			s.freshProbes()
		}
		s.RolloutAt = e.At
	case StepIssue, StepConfirm:
		s.EnteredAt, s.NewVerdict = e.At, ""
	}
	s.Checks, s.LastVerdict = 0, ""
}

func (s *State) approve(kind HoldKind, e Entry) {
	switch kind {
	case HoldConflict:
		s.Overwrite = true
	case HoldInDoubt:
		s.Doubt = false
		s.EverDoubted = s.EverDoubted && s.Step != StepConfirm
		s.Counted = s.Counted || s.Step == StepConfirm
	case HoldUnconfirmed:
		s.Dead[s.victim().Fingerprint] = e.At
	default:
	}
}

func (s *State) applyEscalated(e Entry) error {
	if e.Policy == nil {
		return fmt.Errorf("%s without a policy", e.Kind)
	}
	s.Reason, s.Policy = Leak, *e.Policy
	s.Policy.Deadline += e.At.Sub(s.OpenedAt) // counts from the report
	s.GivenUp = false
	s.Decision = "" // an abort not yet carried out too: the leak goes first
	s.FollowUp = s.anyTouched() || s.Course == RollBack
	if s.StartedAt.IsZero() {
		s.StartedAt = e.At
	}
	s.clearTries()
	if s.Hold != nil && (s.Hold.Kind != HoldInDoubt || s.Step == StepConfirm) && s.Hold.Kind != HoldSealed {
		s.Hold = nil
	}
	return nil
}

// markDead notes when a credential was first proven dead.
func (s *State) markDead(f Fingerprint, at time.Time) {
	if _, known := s.Dead[f]; !known {
		s.Dead[f] = at
	}
}

func (s *State) clearTries() { s.Failing = Failing{} }

func (s *State) freshStores() {
	for i := range s.Stores {
		s.Stores[i].Failing = Failing{}
	}
}

// freshDeploys makes every deployer due again; who was restarted stays known.
func (s *State) freshDeploys() {
	for name, d := range s.Deploys {
		s.Deploys[name] = DeployState{Restarted: d.Restarted}
	}
}

func (s *State) freshProbes() {
	s.Probes = map[string]ProbeState{}
	s.Looks, s.LookedAt, s.Rechecked = 0, time.Time{}, false
}

// retryDeploys lets deployers that gave up try again.
func (s *State) retryDeploys() {
	for name, d := range s.Deploys {
		d.Failing = Failing{}
		s.Deploys[name] = d
	}
}

// clone returns a copy that shares nothing that apply changes.
func (s *State) clone() State {
	c := *s
	c.Passed, c.Stores = slices.Clone(s.Passed), slices.Clone(s.Stores)
	c.Deploys, c.Probes, c.Dead = maps.Clone(s.Deploys), maps.Clone(s.Probes), maps.Clone(s.Dead)
	return c
}
