package rotator

import (
	"fmt"
	"strings"
)

// Trigger is what moves a rotation from one step to the next.
type Trigger string

// The triggers.
const (
	TriggerOK        Trigger = "ok"        // the step's evidence is there
	TriggerFailed    Trigger = "failed"    // the step can't be done
	TriggerUnhealthy Trigger = "unhealthy" // a probe says that the new credential breaks a consumer
	TriggerDeadline  Trigger = "deadline"  // a leak's deadline passed
	TriggerAbort     Trigger = "abort"     // a person decided so
	TriggerLeak      Trigger = "leak"      // a leak was reported in the middle
	TriggerAgain     Trigger = "again"     // the act before must be done again
	TriggerRewrite   Trigger = "rewrite"   // a store lost the value and must be written again
	TriggerLater     Trigger = "later"     // the proof of death must wait: the replacement is more urgent
)

// A Position is where a rotation stands: a step of a course, or its end.
type Position struct {
	Course Course
	Step   Step
}

// end is the position behind the last step.
const end Step = ""

// A Transition is one row of the state machine.
type Transition struct {
	From Position
	On   Trigger
	To   Position // Step is empty at the end
}

// Transitions is the state machine of a rotation. Fold refuses everything that
// has no row here; docs/concepts.md shows it as a diagram.
func Transitions() []Transition {
	replace := func(s Step) Position { return Position{ReplaceFirst, s} }
	revokeFirst := func(s Step) Position { return Position{RevokeFirst, s} }
	back := func(s Step) Position { return Position{RollBack, s} }
	return []Transition{
		{replace(StepIssue), TriggerOK, replace(StepStore)},
		{replace(StepIssue), TriggerFailed, back(StepRevoke)},
		{replace(StepIssue), TriggerAbort, back(StepRevoke)},
		{replace(StepIssue), TriggerDeadline, revokeFirst(StepRevoke)},
		{replace(StepIssue), TriggerAgain, replace(StepIssue)},
		{replace(StepStore), TriggerOK, replace(StepDeploy)},
		{replace(StepStore), TriggerFailed, back(StepStore)},
		{replace(StepStore), TriggerAbort, back(StepStore)},
		{replace(StepStore), TriggerDeadline, revokeFirst(StepRevoke)},
		{replace(StepDeploy), TriggerOK, replace(StepProbe)},
		{replace(StepDeploy), TriggerFailed, back(StepStore)},
		{replace(StepDeploy), TriggerAbort, back(StepStore)},
		{replace(StepDeploy), TriggerDeadline, revokeFirst(StepRevoke)},
		{replace(StepProbe), TriggerOK, replace(StepRevoke)},
		{replace(StepProbe), TriggerUnhealthy, back(StepStore)},
		{replace(StepProbe), TriggerAbort, back(StepStore)},
		{replace(StepProbe), TriggerDeadline, revokeFirst(StepRevoke)},
		{replace(StepProbe), TriggerAgain, replace(StepDeploy)},
		{replace(StepProbe), TriggerRewrite, replace(StepStore)},
		{replace(StepRevoke), TriggerOK, replace(StepConfirm)},
		{replace(StepRevoke), TriggerAgain, replace(StepProbe)},
		{replace(StepConfirm), TriggerOK, replace(end)},
		{replace(StepConfirm), TriggerAgain, replace(StepRevoke)},

		{revokeFirst(StepRevoke), TriggerOK, revokeFirst(StepConfirm)},
		{revokeFirst(StepConfirm), TriggerOK, revokeFirst(StepIssue)},
		{revokeFirst(StepConfirm), TriggerLater, revokeFirst(StepIssue)},
		{revokeFirst(StepConfirm), TriggerAgain, revokeFirst(StepRevoke)},
		{revokeFirst(StepIssue), TriggerOK, revokeFirst(StepStore)},
		{revokeFirst(StepIssue), TriggerAgain, revokeFirst(StepIssue)},
		{revokeFirst(StepIssue), TriggerAbort, back(StepRevoke)},
		{revokeFirst(StepStore), TriggerOK, revokeFirst(StepDeploy)},
		{revokeFirst(StepDeploy), TriggerOK, revokeFirst(StepProbe)},
		{revokeFirst(StepProbe), TriggerOK, revokeFirst(end)},
		{revokeFirst(StepProbe), TriggerAgain, revokeFirst(StepDeploy)},
		{revokeFirst(StepProbe), TriggerRewrite, revokeFirst(StepStore)},
		{revokeFirst(StepProbe), TriggerLater, replace(StepConfirm)},

		{back(StepStore), TriggerOK, back(StepDeploy)},
		{back(StepStore), TriggerLeak, replace(StepStore)},
		{back(StepDeploy), TriggerOK, back(StepProbe)},
		{back(StepDeploy), TriggerLeak, replace(StepStore)},
		{back(StepProbe), TriggerOK, back(StepRevoke)},
		{back(StepProbe), TriggerAgain, back(StepDeploy)},
		{back(StepProbe), TriggerRewrite, back(StepStore)},
		{back(StepProbe), TriggerLeak, replace(StepStore)},
		{back(StepProbe), TriggerFailed, replace(StepStore)},
		{back(StepRevoke), TriggerOK, back(StepConfirm)},
		{back(StepRevoke), TriggerDeadline, revokeFirst(StepRevoke)},
		{back(StepConfirm), TriggerOK, back(end)},
		{back(StepConfirm), TriggerDeadline, revokeFirst(StepRevoke)},
		{back(StepConfirm), TriggerAgain, back(StepRevoke)},
	}
}

// transit looks a move up in the table.
func transit(from Position, on Trigger) (Position, bool) {
	for _, t := range Transitions() {
		if t.From == from && t.On == on {
			return t.To, true
		}
	}
	return Position{}, false
}

// entry is where a rotation of a course begins.
func entryOf(c Course) Position {
	if c == RevokeFirst {
		return Position{RevokeFirst, StepRevoke}
	}
	return Position{ReplaceFirst, StepIssue}
}

// StatesDiagram draws the transition table as a Mermaid state diagram.
func StatesDiagram() string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	name := func(p Position) string {
		if p.Step == end {
			return map[Course]string{ReplaceFirst: "done", RevokeFirst: "done", RollBack: "undone"}[p.Course]
		}
		return string(p.Course) + "_" + string(p.Step)
	}
	line("stateDiagram-v2")
	line("    [*] --> %s", name(entryOf(ReplaceFirst)))
	line("    [*] --> %s: a leak with revoke first", name(entryOf(RevokeFirst)))
	for _, course := range []Course{ReplaceFirst, RevokeFirst, RollBack} {
		line("    state %s {", course)
		for _, step := range Steps() {
			line("        %s: %s", name(Position{course, step}), step)
		}
		line("    }")
	}
	for _, t := range Transitions() {
		line("    %s --> %s: %s", name(t.From), name(t.To), t.On)
	}
	line("    undone: rolled_back, failed or aborted")
	line("    done --> [*]")
	line("    undone --> [*]")
	return b.String()
}
