package rotator

import (
	"fmt"
	"time"
)

// deadlinePassed: a leak's old credential is revoked at the deadline, even if
// the rotation is held or an act is in doubt: the doubt is settled afterwards.
func deadlinePassed(s State, now time.Time) bool {
	at := revokeAt(s)
	return !at.IsZero() && !now.Before(at)
}

// revokeAt is when a leak's old credential is revoked without further waiting:
// at the deadline, or at once when a rotation that had begun otherwise became a
// leak whose policy revokes first. Zero: it is not this step that waits.
func revokeAt(s State) time.Time {
	switch {
	case !s.leak() || s.GivenUp || s.StartedAt.IsZero() || s.Course == RollBack && s.ByHand || !hasRow(s.Position, TriggerDeadline):
	case s.Policy.Course == RevokeFirst && s.Course == ReplaceFirst:
		return s.OpenedAt
	case s.Policy.OnDeadline == DeadlineRevoke && s.Policy.Deadline > 0:
		return s.OpenedAt.Add(s.Policy.Deadline)
	}
	return time.Time{}
}

func deadlineWhy(s State) string {
	if s.Policy.Course == RevokeFirst {
		return "the leak's policy is to revoke first"
	}
	return "the leak's deadline passed"
}

// turnBack leaves a step for the way back, but asks first whether the service
// still accepts the credential that consumers would get again.
func turnBack(s State, on Trigger, why string) Action {
	if s.anyTouched() && !s.OldChecked {
		return Action{Kind: DoCheck, Target: targetOld}
	}
	return move(on, why)
}

// orAbort is the part of a hold's text that offers to abort, where that is possible.
func orAbort(s State) string {
	if CanDecide(s, Abort) != nil {
		return ""
	}
	return ", or abort"
}

// orResume is the part of a conflict's text that offers to resume. The version of
// a store that can only be written never comes back.
func orResume(st StoreState) string {
	if st.WriteOnly {
		return ""
	}
	return "resume when it holds the credential again, "
}

// cantReplace holds a leak that has no usable replacement, and says when the old credential goes.
func cantReplace(s State, what string) Action {
	if s.New.Known() && !s.newInUse() {
		what += "; retry to make another one"
	}
	if s.Course == ReplaceFirst {
		what += "; the old credential is revoked at the deadline"
	}
	return hold(HoldPreflight, nil, "%s; mend it, then resume%s", what, orAbort(s))
}

// lostAnswer: only a person can look whether the issuer made a credential. They
// are asked when the call can no longer have its effect, and not before.
func lostAnswer(s State, u Setup, now time.Time) Action {
	if from := s.DoubtedAt.Add(u.ActTimeout); now.Before(from) {
		return sleep(from)
	}
	return hold(HoldInDoubt, nil, "the issuer's answer was lost and it can't list credentials: look for %q there, delete it, then approve%s",
		Marker(s.Token, s.ID), orAbort(s))
}

// straysInDoubt: whether the service made more than one credential of this
// rotation's name can't be seen, or not be mended.
func straysInDoubt(s State) Action {
	return hold(HoldInDoubt, nil, "credentials named %q can't be listed or ended: %s; mend it, then resume; or end all but %s, then approve",
		Marker(s.Token, s.ID), s.LastErr, describe(s.target()))
}

func deleteByHand(s State, c Credential) *Hold {
	return &Hold{Kind: AskDelete, Text: fmt.Sprintf("delete credential %s of token %s at the issuer; rotatord then checks by itself that it is dead", describe(c), s.Token)}
}

// describe names a credential for people.
func describe(c Credential) string {
	text := string(c.Fingerprint)
	switch {
	case c.ID != "" && c.Fingerprint == "":
		text = fmt.Sprintf("%q", c.ID)
	case c.ID != "":
		text = fmt.Sprintf("%q (fingerprint %s)", c.ID, c.Fingerprint)
	}
	if !c.IssuedAt.IsZero() {
		text += " of " + c.IssuedAt.UTC().Format(time.DateOnly)
	}
	return text
}
