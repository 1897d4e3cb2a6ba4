package server

import (
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Times in these types are UTC; nil means unknown, never, or not yet.

// A Daemon is the process behind the socket.
type Daemon struct {
	PID       int       `json:"pid" doc:"Process ID"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
}

// A Credential is the record of one value that an issuer made; never the value.
type Credential struct {
	ID          string              `json:"id" doc:"The issuer's name for it; empty where it is not known"`
	Name        string              `json:"name" doc:"The name it carries at the issuer"`
	Fingerprint rotator.Fingerprint `json:"fingerprint" doc:"First 16 hex digits of the value's SHA-256"`
	IssuedAt    *time.Time          `json:"issued_at"`
	ExpiresAt   *time.Time          `json:"expires_at"`
	LastUsedAt  *time.Time          `json:"last_used_at"`
	Scopes      []string            `json:"scopes" doc:"null where the issuer can't tell"`
}

// A Due tells when a token is due next, and why.
type Due struct {
	At     time.Time      `json:"at"`
	Reason rotator.Reason `json:"reason"`
	Rule   string         `json:"rule" doc:"What made the date: cron, max_age, expiry or leak"`
}

// A Token is a managed token as it stands now.
type Token struct {
	Name     string      `json:"name"`
	Issuer   string      `json:"issuer"`
	Current  *Credential `json:"current" doc:"null while it is not known"`
	Due      *Due        `json:"due" doc:"null: never"`
	Failures int         `json:"failures" doc:"Scheduled rotations in a row that failed"`
	Paused   bool        `json:"paused" doc:"So many failed that no scheduled one is started"`
	Last     *Rotation   `json:"last_rotation" doc:"The last closed rotation"`
	Open     *Rotation   `json:"rotation" doc:"null: none is open"`
	Blind    []string    `json:"write_only_stores" doc:"Stores that can't be read back: the evidence of a write is its version and time"`
}

// A Rotation is one run of the state machine for one token.
type Rotation struct {
	ID          string              `json:"id"`
	Token       string              `json:"token"`
	Reason      rotator.Reason      `json:"reason"`
	Status      rotator.Status      `json:"status"`
	Course      rotator.Course      `json:"course"`
	Step        rotator.Step        `json:"step"`
	OpenedAt    *time.Time          `json:"opened_at"`
	StartedAt   *time.Time          `json:"started_at" doc:"When it left the queue"`
	ClosedAt    *time.Time          `json:"closed_at"`
	WakeAt      *time.Time          `json:"wake_at" doc:"When it goes on by itself; null: not before somebody acts"`
	DeadlineAt  *time.Time          `json:"deadline_at" doc:"null: none runs"`
	Old         rotator.Fingerprint `json:"old_fingerprint"`
	New         rotator.Fingerprint `json:"new_fingerprint"`
	DeadSeconds *float64            `json:"dead_after_seconds" doc:"From the revoke to the proof that the old credential is dead"`
	Detail      string              `json:"detail" doc:"Why it is held, or how it ended"`
	Done        []rotator.Step      `json:"steps_done"`
	Awaited     []Awaited           `json:"awaited" doc:"Who or what it waits for now"`
	Hold        *Hold               `json:"hold" doc:"Set while a person must decide or do something"`
	Attempt     int                 `json:"attempt"`
	LastError   string              `json:"last_error"`
	Settled     bool                `json:"settled" doc:"It does nothing more before wake_at, or before a person acts"`
	FollowUp    bool                `json:"follow_up" doc:"Once it is closed, a leak rotation of the token follows"`
}

// NeedsPerson tells whether nothing goes on before a person acts.
func (r Rotation) NeedsPerson() bool { return r.Hold != nil && r.Settled && !r.Status.Final() }

// Awaited names one consumer, store or person that a rotation waits for.
type Awaited struct {
	Probe  string `json:"probe"`
	Target string `json:"target"`
	Detail string `json:"detail"`
}

// A Hold says what a person must decide or do.
type Hold struct {
	Kind    rotator.HoldKind `json:"kind"`
	Text    string           `json:"text"`
	Awaited []Awaited        `json:"awaited"`
}

// A Plan says what a rotation would do, call by call.
type Plan struct {
	Token    string         `json:"token"`
	Reason   rotator.Reason `json:"reason"`
	Policy   Policy         `json:"policy"`
	Current  *Credential    `json:"current"`
	Lines    []PlanLine     `json:"lines"`
	Unknowns []string       `json:"unknowns" doc:"What can't be known beforehand"`
}

// A Policy is what differs between rotations by their reason. Durations read
// like 30m or 1d; empty: none.
type Policy struct {
	Start       rotator.Start       `json:"start"`
	Course      rotator.Course      `json:"course"`
	OnDeadline  rotator.OnDeadline  `json:"on_deadline"`
	OnUnhealthy rotator.OnUnhealthy `json:"on_unhealthy"`
	Deadline    string              `json:"deadline"`
	Reminder    string              `json:"reminder"`
}

// A PlanLine is one call of a plan.
type PlanLine struct {
	Step     rotator.Step `json:"step"`
	Target   string       `json:"target"`
	Text     string       `json:"text"`
	Effect   bool         `json:"effect" doc:"It changes something outside"`
	NoReturn bool         `json:"no_return" doc:"From here on it can't be undone"`
}

// An Orphan is a credential at the issuer that no journal entry owns.
type Orphan struct {
	Credential Credential `json:"credential"`
	Ours       bool       `json:"ours" doc:"It carries this token's marker"`
	Ended      bool       `json:"ended" doc:"The sweep revoked it"`
	Error      string     `json:"error" doc:"Why the sweep could not"`
}
