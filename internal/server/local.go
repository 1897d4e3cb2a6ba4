package server

import (
	"context"
	"fmt"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Local answers from an engine in this process. By names who asks: the journal
// keeps it.
type Local struct {
	Engine Engine
	By     string
}

// Tokens implements Reader.
func (l *Local) Tokens(ctx context.Context, names ...string) ([]Token, error) {
	found, err := l.Engine.Status(ctx, names...)
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, 0, len(found))
	for _, t := range found {
		tokens = append(tokens, TokenOf(t))
	}
	return tokens, nil
}

// Rotation implements Reader.
func (l *Local) Rotation(ctx context.Context, id string) (Rotation, error) {
	found, err := l.Engine.Rotation(ctx, id)
	if err != nil {
		return Rotation{}, err
	}
	return RotationOf(found), nil
}

// Plan implements Reader.
func (l *Local) Plan(ctx context.Context, token string, reason rotator.Reason) (Plan, error) {
	plan, err := l.Engine.Plan(ctx, token, reason)
	if err != nil {
		return Plan{}, err
	}
	return planOf(plan), nil
}

// Rotate implements Runner.
func (l *Local) Rotate(ctx context.Context, token string, reason rotator.Reason, why string) (Rotation, error) {
	id, err := l.Engine.Rotate(ctx, rotator.RotateRequest{Token: token, Reason: reason, By: l.By, Why: why})
	if err != nil {
		return Rotation{}, err
	}
	return l.Rotation(ctx, id)
}

// StartDue implements Runner.
func (l *Local) StartDue(ctx context.Context) ([]Rotation, error) {
	ids, err := l.Engine.StartDue(ctx)
	if err != nil {
		return nil, err
	}
	started := make([]Rotation, 0, len(ids))
	for _, id := range ids {
		rotation, err := l.Rotation(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("look at rotation %s: %w", id, err)
		}
		started = append(started, rotation)
	}
	return started, nil
}

// Watch implements Runner.
func (l *Local) Watch(ctx context.Context, id string, see func(Rotation)) (Rotation, error) {
	last, err := l.Engine.Wait(ctx, id, func(s rotator.RotationStatus) {
		if see != nil {
			see(RotationOf(s))
		}
	})
	if err != nil {
		return Rotation{}, err
	}
	return RotationOf(last), nil
}

// Decide implements Hands.
func (l *Local) Decide(ctx context.Context, id string, d rotator.Decision, why string) (Rotation, error) {
	if err := l.Engine.Decide(ctx, id, d, l.By, why); err != nil {
		return Rotation{}, err
	}
	return l.Rotation(ctx, id)
}

// Provide implements Hands.
func (l *Local) Provide(ctx context.Context, token string, value rotator.Secret, id string) (rotator.Fingerprint, error) {
	return l.Engine.Provide(ctx, rotator.Provision{Token: token, Value: value, ID: id, By: l.By})
}

// Adopt implements Keeper.
func (l *Local) Adopt(ctx context.Context, token, id string, issuedAt time.Time) (Credential, error) {
	adopted, err := l.Engine.Adopt(ctx, rotator.Adoption{Token: token, ID: id, IssuedAt: issuedAt, By: l.By})
	if err != nil {
		return Credential{}, err
	}
	return credentialOf(adopted), nil
}

// Sweep implements Keeper.
func (l *Local) Sweep(ctx context.Context, token string, apply bool) ([]Orphan, error) {
	found, err := l.Engine.Sweep(ctx, token, l.By, apply)
	orphans := make([]Orphan, 0, len(found))
	for _, o := range found {
		orphans = append(orphans, Orphan{
			Credential: credentialOf(o.Credential), Ours: o.Ours, Ended: o.Ended, Error: o.Err,
		})
	}
	return orphans, err
}
