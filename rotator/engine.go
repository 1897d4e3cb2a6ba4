package rotator

import (
	"context"
	"log/slog"
	"time"
)

// Options of an Engine.
type Options struct {
	Journal       Journal
	Dispatcher    Dispatcher
	Tokens        []Token
	Logger        *slog.Logger
	MaxConcurrent int           // rotations that run at once, leaks not counted; 0: 8
	ActTimeout    time.Duration // of one call to a plug-in; 0: one minute
	NewID         func() string // makes rotation IDs; they sort by time
}

// Engine runs rotations: it alone acts. All its methods may be called from
// many goroutines.
type Engine struct{}

// NewEngine makes an engine that does nothing yet.
func NewEngine(o Options) *Engine { panic("soon") }

// Start takes up every open rotation, reconciles what was under way when the
// last process died, and (with schedule) starts what is due, now and every minute.
func (e *Engine) Start(ctx context.Context, schedule bool) error { panic("soon") }

// Stop ends the acts under way (they are reconciled at the next start) and waits for them.
func (e *Engine) Stop() { panic("soon") }

// Reload takes up a new configuration. Open rotations keep the policy they
// began with; one whose stores changed is held.
func (e *Engine) Reload(ctx context.Context, tokens []Token) error { panic("soon") }

// Rotate opens a rotation and returns its ID. One that is open already is
// ErrConflict, but for a leak: that turns the open one into a leak.
func (e *Engine) Rotate(ctx context.Context, r RotateRequest) (string, error) { panic("soon") }

// StartDue opens a rotation for every token that is due and returns their IDs.
func (e *Engine) StartDue(ctx context.Context) ([]string, error) { panic("soon") }

// Wait blocks until the rotation is final or needs a person, and returns its
// status then; each change before is given to watch, if that is not nil.
func (e *Engine) Wait(ctx context.Context, rotation string, watch func(RotationStatus)) (RotationStatus, error) {
	panic("soon")
}

// Decide records what a person decided about an open rotation.
func (e *Engine) Decide(ctx context.Context, rotation string, d Decision, by, why string) error {
	panic("soon")
}

// Provide hands a value that a person generated to the rotation that waits for
// it, after checking that it is live, new and fits the token's params.
func (e *Engine) Provide(ctx context.Context, p Provision) (Fingerprint, error) { panic("soon") }

// Adopt takes an existing credential as the token's current one.
func (e *Engine) Adopt(ctx context.Context, a Adoption) (Credential, error) { panic("soon") }

// Status returns the status of the named tokens, or of all, by name.
func (e *Engine) Status(ctx context.Context, names ...string) ([]TokenStatus, error) { panic("soon") }

// Rotation returns the status of one rotation, open or closed.
func (e *Engine) Rotation(ctx context.Context, id string) (RotationStatus, error) { panic("soon") }

// Plan returns what a rotation would do. It reads, and changes nothing.
func (e *Engine) Plan(ctx context.Context, token string, reason Reason) (Plan, error) { panic("soon") }

// Sweep lists the credentials at the issuer that nobody owns; with apply it
// revokes those that carry the token's marker.
func (e *Engine) Sweep(ctx context.Context, token, by string, apply bool) ([]Orphan, error) {
	panic("soon")
}
