package rotator

import (
	"fmt"
	"slices"
	"time"
)

// Setup is what Next must know of a token's configuration.
type Setup struct {
	Configured bool // the token still exists
	Stores     []StoreRef
	Deployers  []string
	Probes     []string
	Rollout    Rollout
	ActTimeout time.Duration // of one call to a plug-in
	CanList    bool          // the issuer lists credentials
	CanScope   bool          // the issuer tells scopes
}

// ActionKind says what the engine does next.
type ActionKind string

// The actions. The first group changes only the journal, the second reads the
// world, the third changes it and is written down as an intent before.
const (
	DoNothing ActionKind = "nothing" // sleep until Action.Until; zero: until somebody acts
	DoMove    ActionKind = "move"
	DoHold    ActionKind = "hold"
	DoAsk     ActionKind = "ask"
	DoRemind  ActionKind = "remind"
	DoClose   ActionKind = "close"

	DoPreflight ActionKind = "preflight"
	DoCapture   ActionKind = "capture" // read the old value before a revoke that comes first
	DoCheck     ActionKind = "check"   // the new credential in step issue, the victim in step confirm
	DoScopes    ActionKind = "scopes"
	DoLook      ActionKind = "look"
	DoReread    ActionKind = "reread"
	DoCount     ActionKind = "count" // the credentials of this rotation's marker, before the end
	DoReconcile ActionKind = "reconcile"

	DoIssue  ActionKind = "issue"
	DoSettle ActionKind = "settle" // end strays of this rotation's marker
	DoStore  ActionKind = "store"
	DoDeploy ActionKind = "deploy"
	DoRevoke ActionKind = "revoke"
)

// An Action is what comes next.
type Action struct {
	Kind    ActionKind
	Target  string
	Trigger Trigger
	Why     string
	Hold    *Hold
	Until   time.Time
}

// Limits that are not configurable: they keep our own calls sparing.
const (
	maxTries      = 5               // acts on one target before it counts as failed
	preflightRuns = 3               // of a rotation that is not a leak
	countTries    = 20              // lists before the end, which nobody waits for: about an hour
	liveGrace     = 2 * time.Minute // for a new credential to be accepted
	confirmChecks = 7               // refusals that we ask for after a revoke, spaced 1 s, 2 s, 4 s …
	handChecks    = 5 * time.Minute // longest pause between checks while a person is asked to delete
	maxPause      = 5 * time.Minute
	evidenceAge   = 15 * time.Minute // after it the consumers are looked at again before a revoke
	leakPause     = 30 * time.Second
)

func move(t Trigger, why string) Action { return Action{Kind: DoMove, Trigger: t, Why: why} }

func sleep(until time.Time) Action { return Action{Kind: DoNothing, Until: until} }

func hold(kind HoldKind, awaited []Awaited, format string, args ...any) Action {
	return Action{Kind: DoHold, Hold: &Hold{Kind: kind, Text: fmt.Sprintf(format, args...), Awaited: awaited}}
}

// Next decides what comes next. It is pure: the same state, setup and time give
// the same action. Whatever it returns for acting is safe to do exactly then;
// nothing it returns may be done later without asking again.
func Next(s State, u Setup, now time.Time) Action {
	a := next(s, u, now)
	if end := revokeAt(s); a.Kind == DoNothing && end.After(now) && (a.Until.IsZero() || end.Before(a.Until)) {
		a.Until = end // no pause, however long a service asks for it, is longer than a leak's deadline
	}
	return a
}

func next(s State, u Setup, now time.Time) Action {
	switch {
	case !s.ClosedAt.IsZero() || s.StartedAt.IsZero():
		return sleep(time.Time{})
	case s.Step == end:
		return Action{Kind: DoClose, Why: s.EndWhy}
	case deadlinePassed(s, now):
		return move(TriggerDeadline, deadlineWhy(s))
	case s.leak() && hasRow(s.Position, TriggerLeak) && (s.Pending == nil || s.Hold != nil):
		return move(TriggerLeak, "a leak was reported")
	case s.Hold != nil:
		return nudge(s, s.DeadlineAt(u), now)
	case !u.Configured:
		return hold(HoldConfig, nil, "token %q is no longer in the configuration; put it back, then resume", s.Token)
	case !sameStores(s, u) && s.Step != StepRevoke && s.Step != StepConfirm:
		return hold(HoldConfig, nil, "the token's stores changed in the configuration during the rotation; put them back, then resume")
	case s.Pending != nil:
		return nextReconcile(s, u, now)
	case s.Decision == Abort && s.noWayBack():
		return hold(HoldStore, nil, "the service refuses the old credential, so there is no way back; mend the cause, then resume")
	case s.Decision == Abort:
		return turnBack(s, TriggerAbort, s.EndWhy)
	case s.Decision == Retry && s.Step == StepProbe && !s.Rechecked:
		return rereadStores(s, now) // a person can't put the value back: the stores must be right before consumers are restarted
	case s.Decision == Retry:
		if trigger, ok := retryTrigger(s); ok {
			return move(trigger, "retry was decided")
		}
	}
	switch s.Step {
	case StepIssue:
		return nextIssue(s, u, now)
	case StepStore:
		return nextStore(s, now)
	case StepDeploy:
		return nextDeploy(s, u, now)
	case StepProbe:
		return nextProbe(s, u, now)
	case StepRevoke:
		return nextRevoke(s, u, now)
	default:
		return nextConfirm(s, u, now)
	}
}

func hasRow(p Position, t Trigger) bool {
	_, ok := transit(p, t)
	return ok
}

// nextReconcile: the process died, or the journal failed, between an intent and
// its outcome. The world is asked what came of it.
func nextReconcile(s State, u Setup, now time.Time) Action {
	// A process that stood still may wake up in the middle of ending strays: what
	// is issued before its call must end could be one of them.
	if from := s.Pending.At.Add(u.ActTimeout); s.Pending.Target == targetSettle && now.Before(from) {
		return sleep(from)
	}
	failing := s.Failing
	if st := s.store(s.Pending.Target); s.Pending.Step == StepStore && st != nil {
		failing = st.Failing
	}
	if failing.GaveUp || failing.Tries >= maxTries && !s.leak() {
		return hold(HoldInDoubt, []Awaited{{Probe: string(s.Pending.Step), Target: s.Pending.Target, Detail: failing.LastErr}},
			"nobody can tell whether %s %s had its effect before the process ended: %s; mend it, then resume",
			s.Pending.Step, s.Pending.Target, failing.LastErr)
	}
	return whenDue(failing, now, Action{Kind: DoReconcile})
}

func retryTrigger(s State) (Trigger, bool) {
	trigger := TriggerAgain
	blind := func(st StoreState) bool { return st.WriteOnly && st.Touched } // who knows what it holds
	if s.Step == StepProbe && (len(staleStores(s)) > 0 || slices.ContainsFunc(s.Stores, blind)) {
		trigger = TriggerRewrite
	}
	if s.Step == StepConfirm && s.provenDead(s.victim()) {
		return trigger, false // it is dead: what is tried again is the search for strays
	}
	if s.Step == StepIssue && s.newInUse() {
		return trigger, false // consumers may live on it: it is looked at again, not ended
	}
	return trigger, hasRow(s.Position, trigger) && s.Step != StepRevoke
}

func sameStores(s State, u Setup) bool {
	refs := make([]StoreRef, len(s.Stores))
	for i, st := range s.Stores {
		refs[i] = st.Ref
	}
	return slices.Equal(refs, u.Stores)
}

// nudge sleeps while a person is awaited, but for reminders and deadlines.
func nudge(s State, deadline, now time.Time) Action {
	var wake time.Time
	if deadline.After(now) {
		wake = deadline
	}
	if s.Policy.Reminder > 0 {
		last := s.HeldAt
		if s.RemindedAt.After(last) {
			last = s.RemindedAt
		}
		remind := last.Add(s.Policy.Reminder)
		if !now.Before(remind) {
			return Action{Kind: DoRemind}
		}
		if wake.IsZero() || remind.Before(wake) {
			wake = remind
		}
	}
	return sleep(wake)
}

// whenDue lets an action happen once the pause after the last failure is over.
func whenDue(f Failing, now time.Time, a Action) Action {
	if f.RetryAt.After(now) {
		return sleep(f.RetryAt)
	}
	return a
}

func nextIssue(s State, u Setup, now time.Time) Action {
	giveUp := func(what string) Action {
		if s.leak() {
			return cantReplace(s, what+": "+s.LastErr)
		}
		return move(TriggerFailed, what+": "+s.LastErr)
	}
	switch {
	case s.New.Known():
		return nextVerify(s, u, now)
	case s.Asked != nil:
		return nudge(s, s.DeadlineAt(u), now)
	case s.Doubt && !u.CanList:
		return lostAnswer(s, u, now)
	case s.Doubt:
		if s.GaveUp {
			return hold(HoldInDoubt, nil, "credentials named %q can't be listed or ended: %s; mend it, then resume", Marker(s.Token, s.ID), s.LastErr)
		}
		return whenDue(s.Failing, now, Action{Kind: DoSettle, Target: targetSettle})
	case s.GaveUp:
		if s.Preflighted {
			return giveUp("issue")
		}
		return giveUp("preflight")
	case !s.Preflighted:
		if s.Tries >= preflightRuns && !s.leak() {
			return giveUp("preflight")
		}
		return whenDue(s.Failing, now, Action{Kind: DoPreflight})
	case s.Tries >= maxTries && !s.leak():
		return giveUp("issue")
	}
	return whenDue(s.Failing, now, Action{Kind: DoIssue})
}

// nextVerify: the new credential must be live, with the scopes of the old one.
func nextVerify(s State, u Setup, now time.Time) Action {
	switch {
	case s.GaveUp && (s.NewVerdict == Live || s.NewVerdict == Unknown):
		why := "the new credential can't be used: " + s.LastErr
		if s.leak() {
			return cantReplace(s, why)
		}
		return move(TriggerFailed, why)
	case s.NewVerdict == Dead && !s.NewRevokedAt.IsZero():
		return move(TriggerAgain, "the new credential was ended on the way back: another one is needed")
	case s.NewVerdict == Live && s.Tries >= maxTries && !s.leak():
		return move(TriggerFailed, "the new credential can't be verified: "+s.LastErr)
	case s.NewVerdict == Live && u.CanScope && !s.ScopesDone && s.Old.Known():
		return whenDue(s.Failing, now, Action{Kind: DoScopes})
	case s.NewVerdict == Live:
		return move(TriggerOK, "")
	case now.Sub(s.EnteredAt) > liveGrace && s.Tries > 1:
		why := fmt.Sprintf("the new credential is not accepted after %s: %s", liveGrace, orElse(s.LastErr, string(s.NewVerdict)))
		if s.leak() {
			return cantReplace(s, why)
		}
		return move(TriggerFailed, why)
	}
	return whenDue(s.Failing, now, Action{Kind: DoCheck})
}

func nextRevoke(s State, u Setup, now time.Time) Action {
	victim := s.victim()
	switch {
	case s.Course == RevokeFirst && !s.Captured && s.GaveUp:
		return hold(HoldRevoke, nil, "nobody knows which credential to revoke, and the stores can't be read: %s; mend it, then resume", s.LastErr)
	case s.Course == RevokeFirst && !s.Captured:
		return whenDue(s.Failing, now, Action{Kind: DoCapture})
	case !victim.Known() || s.ByHand || s.Revoked || victim.ID == "" && s.provenDead(victim):
		return move(TriggerOK, "")
	case s.Course == ReplaceFirst && len(MissingEvidence(s, u)) > 0:
		return move(TriggerAgain, "evidence is missing")
	case s.Course == ReplaceFirst && s.Tries == 0 && s.Hold == nil && now.Sub(s.LookedAt) > evidenceAge && !s.leak():
		return move(TriggerAgain, "the evidence is old: the process was down, or the rotation held, since the last look")
	case s.GaveUp || s.Tries >= maxTries && !s.leak():
		return hold(HoldRevoke, []Awaited{{Probe: "issuer", Target: string(victim.Fingerprint), Detail: s.LastErr}},
			"credential %s can't be revoked: %s; mend it, then resume", describe(victim), s.LastErr)
	}
	return whenDue(s.Failing, now, Action{Kind: DoRevoke})
}

func nextConfirm(s State, u Setup, now time.Time) Action {
	victim := s.victim()
	dead := !s.mustDie(victim) || s.provenDead(victim)
	switch {
	case !dead && victim.Known() && s.Course != RollBack && s.OldRevokedAt.IsZero():
		return move(TriggerAgain, "the old credential became known after the revoke")
	case dead && s.Doubt && !u.CanList: // given up with an answer of the issuer lost
		return lostAnswer(s, u, now)
	case dead && s.EverDoubted && u.CanList && s.Course != RevokeFirst: // there the strays come last
		if s.GaveUp || s.Tries >= maxTries {
			return straysInDoubt(s)
		}
		if from := s.DoubtedAt.Add(u.ActTimeout); now.Before(from) {
			return sleep(from) // a call that was given up may still have its effect for as long as one may take
		}
		return whenDue(s.Failing, now, Action{Kind: DoSettle, Target: targetSettle})
	case dead && s.mustCount(u) && s.FollowUp && s.leak() && (s.GaveUp || s.Tries > 0):
		return move(TriggerOK, "the leak is followed up first; the issuer can't say how many credentials it made: look with `rotatord sweep`")
	case dead && s.mustCount(u) && (s.GaveUp || s.Tries >= countTries):
		return straysInDoubt(s)
	case dead && s.mustCount(u):
		return whenDue(s.Failing, now, Action{Kind: DoCount, Target: targetCount})
	case dead:
		return move(TriggerOK, "")
	case s.Course == RevokeFirst && (!victim.Known() || s.Checks > 0 && (s.ByHand || s.Checks >= confirmChecks || s.GaveUp)):
		return move(TriggerLater, "the old credential is not proven dead yet")
	case !victim.Known():
		return hold(HoldUnconfirmed, []Awaited{{Probe: "person", Detail: "deletes the old credential"}},
			"the credential that token %s used before is not known here: its stores can't be read; delete it at the issuer, then approve", s.Token)
	case s.ByHand && s.GaveUp && s.LastVerdict == Unknown:
		return hold(HoldUnconfirmed, []Awaited{{Probe: "person", Target: string(victim.Fingerprint), Detail: "deletes the credential"}},
			"credential %s is to be deleted at the issuer, and nobody here can tell whether it is dead: %s; delete it, then approve, or resume to check again",
			describe(victim), s.LastErr)
	case s.ByHand && s.Asked == nil && s.Course != RevokeFirst:
		return Action{Kind: DoAsk, Hold: deleteByHand(s, victim)}
	case !s.ByHand && (s.Checks >= confirmChecks || s.GaveUp && s.LastVerdict == Unknown):
		who := []Awaited{{Probe: "issuer", Target: string(victim.Fingerprint), Detail: orElse(s.LastErr, string(s.LastVerdict))}}
		if s.LastVerdict == Live {
			return hold(HoldLive, who, "credential %s was revoked, but the service still accepts it; resume to check again, retry to revoke again", describe(victim))
		}
		return hold(HoldUnconfirmed, who, "nobody can tell whether credential %s is dead: %s; resume to check again, or make sure and approve", describe(victim), s.LastErr)
	}
	next := s.EnteredAt
	if s.Checks > 0 {
		pause := backOff(time.Second, s.Checks-1, maxPause)
		if s.ByHand {
			pause = backOff(10*time.Second, s.Checks-1, handChecks)
		}
		next = s.LastAt.Add(pause)
	}
	if s.RetryAt.After(next) {
		next = s.RetryAt
	}
	if !now.Before(next) {
		return Action{Kind: DoCheck}
	}
	if s.Asked != nil {
		return nudge(s, next, now)
	}
	return sleep(next)
}
