package rotator

// Reason says why a rotation runs.
type Reason string

// The reasons.
const (
	Scheduled   Reason = "scheduled"
	Offboarding Reason = "offboarding"
	Leak        Reason = "leak"
	Expiry      Reason = "expiry"
	Manual      Reason = "manual"
)

// Reasons lists every reason, in the order in which people are shown them.
func Reasons() []Reason { return []Reason{Scheduled, Offboarding, Leak, Expiry, Manual} }

// Step is one step of a rotation.
type Step string

// The steps, in the order of an ordinary rotation.
const (
	StepIssue   Step = "issue"
	StepStore   Step = "store"
	StepDeploy  Step = "deploy"
	StepProbe   Step = "probe"
	StepRevoke  Step = "revoke"
	StepConfirm Step = "confirm"
)

// Steps lists the steps in the order of an ordinary rotation.
func Steps() []Step {
	return []Step{StepIssue, StepStore, StepDeploy, StepProbe, StepRevoke, StepConfirm}
}

// Status is where a rotation stands.
type Status string

// The statuses. The last four are final.
const (
	Queued     Status = "queued"  // waits for its turn
	Running    Status = "running" // acts, or is about to
	Waiting    Status = "waiting" // for a time to come, or for a person to do something
	Held       Status = "held"    // a person must decide
	Done       Status = "done"
	RolledBack Status = "rolled_back"
	Failed     Status = "failed"
	Aborted    Status = "aborted"
)

// Final tells whether nothing more will happen to the rotation.
func (s Status) Final() bool {
	switch s {
	case Done, RolledBack, Failed, Aborted:
		return true
	case Queued, Running, Waiting, Held:
	}
	return false
}

// Course is the order in which a rotation takes its steps.
type Course string

// The courses.
const (
	ReplaceFirst Course = "replace_first" // issue … probe, then revoke, confirm
	RevokeFirst  Course = "revoke_first"  // revoke, confirm, then issue … probe: a leak that asks for it, or whose deadline passed
	RollBack     Course = "roll_back"     // old value to the stores, deploy, probe, then revoke and confirm the new one
)

// Decision is what a person decides about a held rotation.
type Decision string

// The decisions.
const (
	Resume  Decision = "resume"  // look again and go on from the same step
	Retry   Decision = "retry"   // do the act that led here again
	Abort   Decision = "abort"   // undo, if nothing was revoked yet
	Approve Decision = "approve" // answer the hold's question with yes
)
