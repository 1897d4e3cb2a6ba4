package rotator

import (
	"fmt"
	"time"
)

func (s *State) applyMoved(e Entry) error {
	to, ok := transit(s.Position, e.Trigger)
	if !ok {
		return fmt.Errorf("%s/%s has no transition on %q", s.Course, s.Step, e.Trigger)
	}
	s.moveTo(to, e)
	return nil
}

func (s *State) moveTo(to Position, e Entry) {
	from := s.Position
	if s.Pending != nil {
		s.leaveInDoubt(*s.Pending, e.At)
	}
	if e.Trigger == TriggerOK && from.Course == to.Course {
		s.Passed = append(s.Passed, from.Step)
	}
	if from.Course != to.Course {
		s.turn(from, to, e)
	}
	s.Position, s.EnteredAt, s.OldChecked = to, e.At, false
	s.Decision, s.HoldKind = "", ""
	if to.Step != StepConfirm {
		s.Asked = nil
	}
	s.clearTries()
	switch to.Step {
	case StepStore:
		s.freshStores()
		if e.Trigger == TriggerRewrite { // consumers may have read what was there in between
			s.freshDeploys()
			s.Generation++
			for i := range s.Stores {
				if s.Stores[i].WriteOnly {
					s.Stores[i].Written, s.Stores[i].WrittenAs = "", ""
				}
			}
		}
	case StepDeploy:
		if e.Trigger == TriggerAgain {
			s.freshDeploys()
			s.Generation++
		}
		s.RolloutAt = e.At
	case StepProbe:
		s.freshProbes()
		if from.Step == StepRevoke { // looked at again: the deadline runs anew
			s.RolloutAt = e.At
		}
	case StepRevoke, StepConfirm, StepIssue:
		if e.Trigger == TriggerAgain && to.Step == StepIssue && s.New.Known() {
			s.dropNew()
		}
		s.Checks, s.LastVerdict, s.Revoked = 0, "", false
	case end:
		if s.Ending == "" {
			s.Ending = Done
		}
	}
}

// dropNew makes room for another new credential. The first may be live still:
// unless the rotation itself ended it, it is looked for by its marker.
func (s *State) dropNew() {
	s.Doubt, s.EverDoubted = s.NewRevokedAt.IsZero(), true
	s.New, s.NewVerdict, s.NewRevokedAt, s.ScopesDone = Credential{}, "", time.Time{}, false
}

// leaveInDoubt: the rotation goes on although nobody knows what came of an act.
func (s *State) leaveInDoubt(intent Entry, at time.Time) {
	s.Pending = nil
	switch {
	case intent.Step == StepIssue && intent.Target == "":
		s.Doubt, s.EverDoubted, s.DoubtedAt = true, true, at
	case intent.Step == StepDeploy:
		d := s.Deploys[intent.Target]
		d.Restarted = true
		s.Deploys[intent.Target] = d
	}
}

// turn takes the rotation from one course to another.
func (s *State) turn(from, to Position, e Entry) {
	s.Hold = nil
	switch {
	case to.Course == RollBack:
		s.Passed, s.ByHand = nil, false
		s.freshDeploys()
		s.Generation++
		s.EndWhy = e.Why
		switch {
		case e.Trigger == TriggerAbort:
			s.Ending, s.GivenUp = Aborted, s.leak()
		case from.Step == StepIssue:
			s.Ending = Failed
		default:
			s.Ending = RolledBack
		}
	case from.Course == RollBack:
		s.Passed, s.Ending, s.EndWhy, s.ByHand = []Step{StepIssue}, "", "", false
		s.NewVerdict = "" // it may have been ended on the way back
		s.freshDeploys()
		s.Generation++
	}
}

// markRevoked notes when the course's victim was ended, the first time only.
func (s *State) markRevoked(at time.Time) {
	if s.Course == RollBack {
		if s.NewRevokedAt.IsZero() {
			s.NewRevokedAt = at
		}
	} else if s.OldRevokedAt.IsZero() {
		s.OldRevokedAt = at
	}
}
