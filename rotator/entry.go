package rotator

import "time"

// EntryKind says what an entry records.
type EntryKind string

// The kinds of entries.
const (
	EntryOpened    EntryKind = "opened"    // a rotation begins: Reason, Policy, Course, Stores, Credential (the old one), By, Why
	EntryStarted   EntryKind = "started"   // it left the queue
	EntryIntent    EntryKind = "intent"    // an act is about to happen: Step, Target, Attempt
	EntryOutcome   EntryKind = "outcome"   // what came of it: as the intent, and Err or what the act yielded
	EntryRead      EntryKind = "read"      // a store was read: Target, Version, Fingerprint, or Err
	EntryChecked   EntryKind = "checked"   // a credential was checked: Fingerprint, Verdict, Err
	EntryObserved  EntryKind = "observed"  // one look of the probes: Observations
	EntryMoved     EntryKind = "moved"     // the rotation went on by the transition table: Trigger
	EntryHeld      EntryKind = "held"      // a person must decide: Hold
	EntryAsked     EntryKind = "asked"     // a person must do something: Hold
	EntryReminded  EntryKind = "reminded"  // people were told again
	EntryDecided   EntryKind = "decided"   // somebody decided: Decision, By, Why
	EntryProvided  EntryKind = "provided"  // somebody handed over a value: Credential, By
	EntryEscalated EntryKind = "escalated" // a leak was reported: Policy, By, Why
	EntryClosed    EntryKind = "closed"    // it ended: Status, Why
	EntryAdopted   EntryKind = "adopted"   // of a token: Credential is its current one, By
	EntrySeen      EntryKind = "seen"      // of a token: first seen
	EntryReset     EntryKind = "reset"     // of a token: scheduled rotations may go on, By
	EntryRevoked   EntryKind = "revoked"   // of a token: a sweep ended an orphan: Credential, By, Err
)

// An Entry is one line of the journal. Which fields are set depends on the
// Kind; none ever holds a credential's value.
type Entry struct {
	Seq      int64 // by the journal: 1 and up, without gaps, over all streams
	Epoch    int64 // by the journal: of the process that wrote it
	At       time.Time
	Token    string
	Rotation string // empty for entries of a token as a whole
	Kind     EntryKind

	Course  Course
	Step    Step
	Target  string // which store, deployer or probe
	Attempt int    // counts from 1 within the step
	Trigger Trigger

	Reason   Reason
	Policy   *Policy
	Stores   []StoreRef
	Decision Decision
	Status   Status
	By       string // who asked or decided
	Why      string

	Credential   *Credential
	Fingerprint  Fingerprint
	Version      string
	Verdict      Verdict
	Observations []Observation
	Hold         *Hold

	Err      string // one line without secrets; empty: it went well
	Final    bool   // with Err: trying again is pointless
	NoEffect bool   // with Err: the act surely changed nothing
	RetryAt  time.Time
}

// An Observation is one probe's Finding as the journal keeps it.
type Observation struct {
	Probe   string
	Finding Finding // zero when Err is set
	Err     string  // the probe could not tell
}

// HoldKind says why a rotation is held or waits for a person.
type HoldKind string

// The kinds of holds, and of asks.
const (
	HoldDeadline    HoldKind = "deadline"      // consumers were not ready in time
	HoldProbe       HoldKind = "probe"         // a probe can't run
	HoldUnhealthy   HoldKind = "unhealthy"     // a probe says unhealthy, and the policy holds
	HoldPreflight   HoldKind = "preflight"     // a leak can't be replaced yet
	HoldInDoubt     HoldKind = "in_doubt"      // an act may have had its effect, and nobody can be asked
	HoldConflict    HoldKind = "conflict"      // a store holds what nobody here wrote
	HoldReverted    HoldKind = "reverted"      // a store no longer holds the new value
	HoldStore       HoldKind = "store"         // a store can't be written or put back
	HoldDeploy      HoldKind = "deploy"        // a deployer does not accept the rollout
	HoldRevoke      HoldKind = "revoke"        // the issuer does not revoke
	HoldLive        HoldKind = "still_live"    // a revoked credential is still accepted
	HoldUnconfirmed HoldKind = "unconfirmed"   // nobody can tell whether it is dead
	HoldConfig      HoldKind = "configuration" // the configuration no longer fits the rotation
	HoldSealed      HoldKind = "sealed"        // a sealed value can't be read
	AskProvide      HoldKind = "provide"       // a person must generate a credential and hand it over
	AskDelete       HoldKind = "delete"        // a person must delete a credential
)

// A Hold says what a person must decide or do.
type Hold struct {
	Kind    HoldKind
	Text    string // why, and what would release it
	Awaited []Awaited
}
