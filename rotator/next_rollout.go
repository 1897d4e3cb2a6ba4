package rotator

import (
	"fmt"
	"slices"
	"time"
)

// nextStore writes the target to every store that does not hold it.
func nextStore(s State, now time.Time) Action {
	if s.Course == RollBack && (!s.Old.Known() || without("put-back")) {
		return move(TriggerOK, "") // there is nothing to put back
	}
	want := s.target().Fingerprint
	var wake time.Time
	var failed *StoreState
	for i := range s.Stores {
		st := &s.Stores[i]
		switch {
		case st.holds(want):
		case s.Course == RollBack && !st.Touched:
		case foreign(s, *st):
			return hold(HoldConflict, []Awaited{{Probe: "store", Target: st.Ref.String(), Detail: st.shows()}},
				"store %s holds a value that rotatord did not write; %sapprove to write over it%s", st.Ref, orResume(*st), orAbort(s))
		case st.Failing.GaveUp || st.Failing.Tries >= maxTries && !s.leak():
			failed = st
		case st.Failing.RetryAt.After(now):
			if wake.IsZero() || st.Failing.RetryAt.Before(wake) {
				wake = st.Failing.RetryAt
			}
		default:
			return Action{Kind: DoStore, Target: st.Ref.String()}
		}
	}
	switch {
	case failed != nil && s.Course == ReplaceFirst && !s.leak() && !s.noWayBack():
		return turnBack(s, TriggerFailed, fmt.Sprintf("store %s: %s", failed.Ref, failed.Failing.LastErr))
	case failed != nil && wake.IsZero():
		return hold(HoldStore, []Awaited{{Probe: "store", Target: failed.Ref.String(), Detail: failed.Failing.LastErr}},
			"store %s can't be written: %s; mend it, then resume%s", failed.Ref, failed.Failing.LastErr, orAbort(s))
	case !wake.IsZero():
		return sleep(wake)
	}
	return move(TriggerOK, "")
}

// foreign: the store holds what neither this rotation nor the one before wrote.
// A leak writes over it: the leaked value must go.
func foreign(s State, st StoreState) bool {
	if s.Overwrite || s.leak() {
		return false
	}
	return st.overwritten() || st.Read && !st.WriteOnly && st.Fingerprint != "" && st.Fingerprint != s.Old.Fingerprint &&
		st.Fingerprint != s.New.Fingerprint && s.Old.Known()
}

// nextDeploy starts every deployer once.
func nextDeploy(s State, u Setup, now time.Time) Action {
	var wake time.Time
	failed := ""
	for _, name := range u.Deployers {
		d := s.Deploys[name]
		switch {
		case d.Accepted:
		case s.Course == RollBack && !d.Restarted && !s.anyTouched(): // else a consumer may have read the new value by itself
		case d.Failing.GaveUp || d.Failing.Tries >= maxTries:
			failed = name
		case d.Failing.RetryAt.After(now):
			if wake.IsZero() || d.Failing.RetryAt.Before(wake) {
				wake = d.Failing.RetryAt
			}
		default:
			return Action{Kind: DoDeploy, Target: name}
		}
	}
	why := s.Deploys[failed].Failing.LastErr
	switch {
	case failed != "" && s.Course == ReplaceFirst && !s.leak() && !s.noWayBack():
		return turnBack(s, TriggerFailed, fmt.Sprintf("deploy %s: %s", failed, why))
	case failed != "" && wake.IsZero():
		return hold(HoldDeploy, []Awaited{{Probe: "deploy", Target: failed, Detail: why}},
			"deployer %s does not accept the rollout: %s; mend it, then resume%s", failed, why, orAbort(s))
	case !wake.IsZero():
		return sleep(wake)
	}
	return move(TriggerOK, "")
}

func nextProbe(s State, u Setup, now time.Time) Action {
	deadline := s.RolloutAt.Add(u.Rollout.Deadline)
	if s.Course == RollBack && (!s.anyTouched() || !s.Old.Known()) {
		return move(TriggerOK, "") // no consumer ever saw the new credential, or there is none to go back to
	}
	if s.Course == RollBack && s.provenDead(s.Old) {
		return move(TriggerFailed, "the service refuses the old credential: there is no way back")
	}
	if a, decided := judge(s, u); decided {
		return a
	}
	awaited := Stragglers(s, u)
	switch {
	case len(awaited) == 0 && !s.Rechecked:
		return rereadStores(s, now)
	case len(awaited) == 0:
		return afterReread(s, u)
	case !now.Before(deadline) && !s.LookedAt.IsZero() && (s.Course != ReplaceFirst || !s.leak()):
		return tooLate(s, u, awaited)
	}
	next := nextLook(s, u)
	if !now.Before(next) {
		return Action{Kind: DoLook}
	}
	if deadline.After(now) && deadline.Before(next) {
		next = deadline
	}
	if leakEnd := s.DeadlineAt(u); s.leak() && leakEnd.After(now) && leakEnd.Before(next) {
		next = leakEnd
	}
	return sleep(next)
}

// tooLate: the deadline passed, and this is who was not ready.
func tooLate(s State, u Setup, awaited []Awaited) Action {
	release := "both credentials live on; mend it, then resume or retry"
	switch s.Course {
	case ReplaceFirst:
		release += orAbort(s)
	case RevokeFirst:
		release = "the old credential is revoked already; mend it, then resume or retry"
	case RollBack:
	}
	return hold(HoldDeadline, awaited, "%d of %d probes not green after %s: %s; %s",
		len(awaited), len(u.Probes)+1, u.Rollout.Deadline, names(awaited), release)
}

// rereadStores asks every store again what it holds.
func rereadStores(s State, now time.Time) Action {
	if s.GaveUp || s.Tries >= maxTries {
		return hold(HoldStore, []Awaited{{Probe: "store", Detail: s.LastErr}}, "the stores can't be read again: %s; mend it, then resume%s", s.LastErr, orAbort(s))
	}
	return whenDue(s.Failing, now, Action{Kind: DoReread})
}

// staleStores names the stores that do not hold what the course wants there.
func staleStores(s State) []Awaited {
	var stale []Awaited
	for _, st := range s.Stores {
		if s.Course == RollBack && !st.Touched {
			continue
		}
		if !st.holds(s.target().Fingerprint) {
			stale = append(stale, Awaited{Probe: "store", Target: st.Ref.String(), Detail: st.shows()})
		}
	}
	return stale
}

// afterReread: every probe is green; do the stores still hold the value?
func afterReread(s State, u Setup) Action {
	if stale := staleStores(s); len(stale) > 0 {
		return hold(HoldReverted, stale, "store %s no longer holds the value: somebody changed it; retry to write it again, or resume when it is back%s", stale[0].Target, orAbort(s))
	}
	switch {
	case s.Course == RevokeFirst && s.mustDie(s.Old) && !s.provenDead(s.Old):
		return move(TriggerLater, "the old credential is not proven dead yet")
	case s.Course == RevokeFirst && s.EverDoubted:
		return move(TriggerLater, "an answer of the issuer was lost: strays are looked for")
	case s.Course == RevokeFirst && s.made(u):
		return move(TriggerLater, "the issuer is asked how many credentials it made")
	}
	return move(TriggerOK, "")
}

// mustDie tells whether a credential has to be proven dead. One that nobody
// knows has to, if a store that can't be read may have held it.
func (s *State) mustDie(victim Credential) bool {
	return victim.Known() || s.Course != RollBack && slices.ContainsFunc(s.Stores, func(st StoreState) bool { return st.WriteOnly })
}

// made tells whether the issuer made the new credential, and can be asked how
// often: a proxy on the way may have delivered the request twice.
func (s *State) made(u Setup) bool { return u.CanList && s.New.ID != "" }

// mustCount tells whether that question is open.
func (s *State) mustCount(u Setup) bool {
	return s.made(u) && !s.Counted && s.Course != RevokeFirst // there it comes last
}

func (s *State) provenDead(c Credential) bool {
	_, dead := s.Dead[c.Fingerprint]
	return dead
}

// judge says whether what the probes saw ends the step already.
func judge(s State, u Setup) (Action, bool) {
	for _, name := range append([]string{IssuerProbe}, u.Probes...) {
		p := s.Probes[name]
		who := []Awaited{awaitedOf(p.Last, name)}
		switch {
		case p.Failures > u.Rollout.FailureLimit && s.Course == ReplaceFirst && s.Policy.OnUnhealthy == UnhealthyRollBack && !s.leak() && !s.noWayBack():
			return turnBack(s, TriggerUnhealthy, fmt.Sprintf("probe %s: %s", name, orElse(p.Last.Finding.Detail, "unhealthy"))), true
		case s.Course == RollBack && name != IssuerProbe && p.Last.Err == "":
			// What broke on the new credential stays so until it has restarted: the deadline judges.
		case p.Failures > u.Rollout.FailureLimit && (s.Course == RollBack || s.Policy.OnUnhealthy != UnhealthyContinue && !s.leak() || s.Policy.OnUnhealthy == UnhealthyHold):
			return hold(HoldUnhealthy, who, "probe %s says unhealthy: %s; mend it, then resume, or retry to deploy again%s", name, orElse(p.Last.Finding.Detail, "it does not say why"), orAbort(s)), true
		case p.Errors > u.Rollout.ConsecutiveErrorLimit && (!s.leak() || s.Course != ReplaceFirst):
			return hold(HoldProbe, who, "probe %s can't tell: %s; mend it, then resume, or retry to deploy again%s", name, p.Last.Err, orAbort(s)), true
		}
	}
	return Action{}, false
}

// nextLook: the interval while something moves, then longer and longer towards 5 minutes.
func nextLook(s State, u Setup) time.Time {
	if s.LookedAt.IsZero() {
		return s.EnteredAt.Add(u.Rollout.InitialDelay)
	}
	looks := s.Looks
	for _, name := range u.Probes {
		if p := s.Probes[name]; p.Successes > 0 && p.Successes < u.Rollout.ConsecutiveSuccessLimit {
			looks = 0 // it is on its way
		}
	}
	next := s.LookedAt.Add(jitter(s.ID, looks, backOff(u.Rollout.Interval, looks-5, max(maxPause, u.Rollout.Interval))))
	if s.RetryAt.After(next) {
		return s.RetryAt
	}
	return next
}
