package rotator

import "time"

// A TokenStatus is what `status` shows of a token.
type TokenStatus struct {
	Name     string
	Issuer   string
	Current  Credential // zero: not known yet
	Due      Due
	Failures int  // scheduled rotations in a row that failed
	Paused   bool // so many that no scheduled one is started
	Last     *Summary
	Open     *RotationStatus // nil: none is open
	Blind    []StoreRef      // stores that can't be read back
}

// A RotationStatus is what `status` and the live view show of a rotation.
type RotationStatus struct {
	Summary
	StartedAt  time.Time // when it left the queue; zero: it is queued
	DeadlineAt time.Time // zero: none runs
	Awaited    []Awaited // who or what it waits for now
	Hold       *Hold     // set while it is held or waits for a person
	Done       []Step    // steps that are behind it, in order
	Attempt    int       // of the act under way or to be repeated
	LastErr    string    // of the last act or look that went wrong
	Settled    bool      // it does nothing more before its WakeAt, or before a person acts
	FollowUp   bool      // once it is closed, a leak rotation of the token follows
}

// NeedsPerson tells whether nothing goes on before a person acts.
func (r RotationStatus) NeedsPerson() bool { return r.Hold != nil && r.Settled }

// A RotateRequest asks for a rotation.
type RotateRequest struct {
	Token  string
	Reason Reason
	By     string // who asked
	Why    string
}

// A Provision is a value that a person generated.
type Provision struct {
	Token string
	Value Secret
	ID    string // its ID at the issuer, where the person knows it
	By    string
}

// An Adoption takes the credential that the stores hold as the current one.
type Adoption struct {
	Token    string
	ID       string    // its ID at the issuer; empty: look for it there, by name or as the only one
	IssuedAt time.Time // zero: unknown
	By       string
}

// A Plan says what a rotation would do, call by call.
type Plan struct {
	Token    string
	Reason   Reason
	Policy   Policy
	Current  Credential
	Lines    []PlanLine
	Unknowns []string // what can't be known beforehand
}

// A PlanLine is one call of a plan.
type PlanLine struct {
	Step     Step
	Target   string
	Text     string
	Effect   bool // changes something outside
	NoReturn bool // from here on it can't be undone
}

// An Orphan is a credential at the issuer that no journal entry owns.
type Orphan struct {
	Credential Credential
	Ours       bool   // it carries this token's marker
	Ended      bool   // the sweep revoked it
	Err        string // why it could not
}
