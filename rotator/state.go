package rotator

import (
	"fmt"
	"slices"
	"time"
)

// State is what a rotation's entries say. It is made by Fold alone.
type State struct {
	ID       string
	Token    string
	Reason   Reason
	Policy   Policy
	OpenedAt time.Time
	By, Why  string

	StartedAt time.Time // zero: queued
	ClosedAt  time.Time // zero: open
	Position
	EnteredAt time.Time // when the step was entered
	Passed    []Step    // steps behind it, in order
	Ending    Status    // how it ends; set when the course turns or the end is reached
	EndWhy    string

	Old, New Credential
	Stores   []StoreState

	Preflighted bool
	Captured    bool    // the stores were asked for the old value
	OldSealed   bool    // a store told it: it can be put back
	OldChecked  bool    // the service was asked in this step whether it is live
	NewVerdict  Verdict // last check of the new credential; empty: none
	ScopesDone  bool
	Doubt       bool // an issue may have had its effect
	EverDoubted bool
	DoubtedAt   time.Time // the last time
	Counted     bool      // the issuer lists no other credential of this rotation's marker

	Deploys    map[string]DeployState
	RolloutAt  time.Time // when the deadline of the consumers began to run
	StoredAt   time.Time
	Probes     map[string]ProbeState
	Looks      int // since the last change of what the probes say
	LookedAt   time.Time
	Rechecked  bool // the stores were read again after the last probe was green
	Overwrite  bool // a person approved writing over a foreign value
	Generation int  // of the course's rollout: a new one is a new release

	Revoked      bool      // the revoke step's act succeeded
	OldRevokedAt time.Time // when the issuer accepted it, or a person was asked
	NewRevokedAt time.Time
	Dead         map[Fingerprint]time.Time // proven dead
	Checks       int                       // of the credential that must be dead, since it was revoked
	LastVerdict  Verdict
	ByHand       bool // a person is asked to delete it

	Pending    *Entry // an intent without an outcome
	Failing           // acts of the step as a whole
	Hold       *Hold  // a person must decide
	Asked      *Hold  // a person must do something
	HeldAt     time.Time
	RemindedAt time.Time
	Decision   Decision // retry or abort, not yet carried out
	HoldKind   HoldKind // what the decision was about
	GivenUp    bool     // a person aborted it although it was known as a leak
	FollowUp   bool     // a leak must be dealt with by another rotation after this one

	Head   int64 // Seq of the last entry
	LastAt time.Time
}

// StoreState is what the entries say of one store of a rotation.
type StoreState struct {
	Ref         StoreRef
	Fingerprint Fingerprint // what it holds; empty: nothing, or nobody can tell
	Version     string
	Read        bool // it was read at least once
	WriteOnly   bool
	Versioned   bool        // it told a version when it was read
	Found       string      // of a store that can only be written: its version before this rotation wrote
	Written     Fingerprint // what this rotation wrote last
	WrittenAs   string      // the version that this made, where the store can tell
	Touched     bool        // this rotation wrote to it, or may have
	fresh       bool        // it was not touched before the last intent
	Unsure      bool        // a write may have had its effect, and nobody has read since
	Failing     Failing
}

// DeployState is what the entries say of one deployer.
type DeployState struct {
	Accepted  bool // it accepted this course's release
	Restarted bool // it started a rollout in this rotation, or may have
	Failing   Failing
}

// Failing counts the acts on one target that went wrong in a row.
type Failing struct {
	Tries   int
	LastErr string
	GaveUp  bool // the last error was final
	RetryAt time.Time
}

// holds tells whether the store is known to hold a value.
func (s StoreState) holds(f Fingerprint) bool {
	if s.Unsure {
		return false
	}
	if s.WriteOnly {
		return s.Written == f && !s.overwritten()
	}
	return s.Fingerprint == f
}

// shows says for people what is known of the store's content.
func (s StoreState) shows() string {
	switch {
	case s.overwritten():
		return fmt.Sprintf("was written by somebody else: its version is %q", s.Version)
	case s.WriteOnly:
		return "can't be read back, and was not written"
	}
	return "holds " + orElse(string(s.Fingerprint), "nothing")
}

// overwritten tells whether a store that can only be written has another
// version than this rotation made, or than it found before it wrote.
func (s StoreState) overwritten() bool {
	switch {
	case !s.WriteOnly || s.Unsure || !s.Versioned:
		return false
	case s.WrittenAs != "":
		return s.Version != s.WrittenAs
	}
	return !s.Touched && s.Version != s.Found
}

// ProbeState counts what a probe said.
type ProbeState struct {
	Successes int // in a row
	Failures  int // unhealthy looks
	Errors    int // looks in a row that could not tell
	Last      Observation
	At        time.Time
}

// IssuerProbe is the name of the implicit first probe: the issuer's own check
// of the credential that consumers should live on.
const IssuerProbe = "issuer"

// Fold turns a rotation's entries, in order, into its state. Entries that the
// transition table does not allow are an error.
func Fold(entries []Entry) (State, error) {
	var s State
	for _, e := range entries {
		if err := s.apply(e); err != nil {
			return State{}, fmt.Errorf("fold entry %d: %w", e.Seq, err)
		}
	}
	return s, nil
}

// Status tells where the rotation stands.
func (s *State) Status() Status {
	switch {
	case !s.ClosedAt.IsZero():
		return s.Ending
	case s.Hold != nil:
		return Held
	case s.StartedAt.IsZero():
		return Queued
	case s.Asked != nil, s.Step == StepProbe, s.RetryAt.After(s.LastAt):
		return Waiting
	}
	return Running
}

// DeadlineAt tells when the deadline that runs now passes; zero: none does.
func (s *State) DeadlineAt(u Setup) time.Time {
	switch {
	case s.Policy.Deadline > 0 && s.Course == ReplaceFirst && s.OldRevokedAt.IsZero():
		return s.OpenedAt.Add(s.Policy.Deadline)
	case s.Hold == nil && (s.Step == StepDeploy || s.Step == StepProbe) && !s.RolloutAt.IsZero():
		return s.RolloutAt.Add(u.Rollout.Deadline)
	}
	return time.Time{}
}

// target is the credential that the stores and consumers should end up on.
func (s *State) target() Credential {
	if s.Course == RollBack {
		return s.Old
	}
	return s.New
}

// victim is the credential that this course ends.
func (s *State) victim() Credential {
	if s.Course == RollBack {
		return s.New
	}
	return s.Old
}

func (s *State) victimSlot() Slot {
	if s.Course == RollBack {
		return SlotNew
	}
	return SlotOld
}

func (s *State) targetSlot() Slot {
	if s.Course == RollBack {
		return SlotOld
	}
	return SlotNew
}

// leak tells whether the rotation must get rid of the old value whatever happens.
func (s *State) leak() bool { return s.Reason == Leak }

// survivor is the credential that is the token's current one after the rotation.
func (s *State) survivor() Credential {
	if s.Ending == Done {
		return s.New
	}
	if !s.OldRevokedAt.IsZero() {
		return Credential{}
	}
	return s.Old
}

// Summary returns the rotation in one line.
func (s *State) Summary() Summary {
	sum := Summary{
		ID: s.ID, Token: s.Token, Reason: s.Reason, Status: s.Status(), Course: s.Course, Step: s.Step,
		OpenedAt: s.OpenedAt, ClosedAt: s.ClosedAt, Old: s.Old.Fingerprint, New: s.New.Fingerprint, Detail: s.EndWhy,
	}
	if hold := s.waitsFor(); hold != nil && s.ClosedAt.IsZero() {
		sum.Detail = hold.Text
	}
	if dead, ok := s.Dead[s.Old.Fingerprint]; ok && !s.OldRevokedAt.IsZero() {
		sum.Dead = max(dead.Sub(s.OldRevokedAt), time.Nanosecond)
	}
	return sum
}

// waitsFor is the person's part, if there is one.
func (s *State) waitsFor() *Hold {
	if s.Hold != nil {
		return s.Hold
	}
	return s.Asked
}

func (s *State) store(target string) *StoreState {
	for i := range s.Stores {
		if s.Stores[i].Ref.String() == target {
			return &s.Stores[i]
		}
	}
	return nil
}

// noWayBack: consumers may have the new value already, and the old one can't be
// put back: no store told it, there was none, or it is dead.
func (s *State) noWayBack() bool { return s.anyTouched() && (!s.OldSealed || s.provenDead(s.Old)) }

// newInUse tells whether a store holds the new credential, so that consumers may
// live on it, and nobody has seen it dead.
func (s *State) newInUse() bool {
	return s.New.Known() && s.NewVerdict != Dead && !s.provenDead(s.New) &&
		slices.ContainsFunc(s.Stores, func(st StoreState) bool { return st.holds(s.New.Fingerprint) })
}

// anyTouched tells whether a store may hold the new value, or did.
func (s *State) anyTouched() bool {
	return slices.ContainsFunc(s.Stores, func(st StoreState) bool { return st.Touched })
}
