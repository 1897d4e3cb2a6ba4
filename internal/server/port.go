package server

import (
	"context"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Engine is what this package needs of the engine; *rotator.Engine is one.
type Engine interface {
	EngineReader
	EngineRunner
	EngineHands
	EngineKeeper
}

// EngineReader looks and changes nothing.
type EngineReader interface {
	Status(ctx context.Context, names ...string) ([]rotator.TokenStatus, error)
	Rotation(ctx context.Context, id string) (rotator.RotationStatus, error)
	Plan(ctx context.Context, token string, reason rotator.Reason) (rotator.Plan, error)
}

// EngineRunner opens rotations and waits for them.
type EngineRunner interface {
	Rotate(ctx context.Context, r rotator.RotateRequest) (string, error)
	StartDue(ctx context.Context) ([]string, error)
	Wait(ctx context.Context, rotation string, watch func(rotator.RotationStatus)) (rotator.RotationStatus, error)
}

// EngineHands takes what a person decides or hands over.
type EngineHands interface {
	Decide(ctx context.Context, rotation string, d rotator.Decision, by, why string) error
	Provide(ctx context.Context, p rotator.Provision) (rotator.Fingerprint, error)
}

// EngineKeeper looks after credentials outside of rotations.
type EngineKeeper interface {
	Adopt(ctx context.Context, a rotator.Adoption) (rotator.Credential, error)
	Sweep(ctx context.Context, token, by string, apply bool) ([]rotator.Orphan, error)
}

// API is what a command can ask for: *Client asks a daemon, *Local the engine
// of its own process. An error wraps rotator.ErrNotFound, rotator.ErrConflict
// or errors.ErrUnsupported where that is what went wrong.
type API interface {
	Reader
	Runner
	Hands
	Keeper
}

// Reader looks and changes nothing.
type Reader interface {
	// Tokens returns the named tokens, or all, by name.
	Tokens(ctx context.Context, names ...string) ([]Token, error)
	// Rotation returns one rotation, open or closed.
	Rotation(ctx context.Context, id string) (Rotation, error)
	// Plan says what a rotation would do.
	Plan(ctx context.Context, token string, reason rotator.Reason) (Plan, error)
}

// Runner opens rotations and watches them.
type Runner interface {
	// Rotate opens a rotation; one that is open already is rotator.ErrConflict,
	// but for a leak.
	Rotate(ctx context.Context, token string, reason rotator.Reason, why string) (Rotation, error)
	// StartDue opens a rotation for every token that is due.
	StartDue(ctx context.Context) ([]Rotation, error)
	// Watch gives each change of a rotation to see, until it is final or needs
	// a person, and returns it as it is then. A process that stops in between
	// is ErrInterrupted.
	Watch(ctx context.Context, id string, see func(Rotation)) (Rotation, error)
}

// Hands takes what a person decides or hands over.
type Hands interface {
	Decide(ctx context.Context, id string, d rotator.Decision, why string) (Rotation, error)
	// Provide hands over a value; id is the credential's ID at the issuer, or empty.
	Provide(ctx context.Context, token string, value rotator.Secret, id string) (rotator.Fingerprint, error)
}

// Keeper looks after credentials outside of rotations.
type Keeper interface {
	// Adopt takes the credential that the stores hold as the current one; the
	// zero time means that nobody knows when it was issued.
	Adopt(ctx context.Context, token, id string, issuedAt time.Time) (Credential, error)
	// Sweep lists the credentials that nobody owns; with apply it ends ours.
	Sweep(ctx context.Context, token string, apply bool) ([]Orphan, error)
}

var (
	_ Engine = (*rotator.Engine)(nil)
	_ API    = (*Local)(nil)
	_ API    = (*Client)(nil)
)
