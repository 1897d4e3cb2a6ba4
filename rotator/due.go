package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// startAtOnce is how many due rotations are opened at the same time, so that
// the journal can commit them together.
const startAtOnce = 32

// StartDue opens a rotation for every token that is due, the most overdue
// first, and returns their IDs.
func (e *Engine) StartDue(ctx context.Context) ([]string, error) {
	due, err := e.Journal.Due(ctx, time.Now())
	if err != nil {
		return nil, fmt.Errorf("read due tokens: %w", err)
	}
	ids, failed := make([]string, len(due)), make([]error, len(due))
	var tasks sync.WaitGroup
	busy := make(chan struct{}, startAtOnce)
	for i, name := range due {
		busy <- struct{}{}
		tasks.Go(func() {
			ids[i], failed[i] = e.startDue(ctx, name)
			<-busy
		})
	}
	tasks.Wait()
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" }), errors.Join(failed...)
}

// startDue opens a rotation of a token, if it is due indeed; else the ID is empty.
func (e *Engine) startDue(ctx context.Context, name string) (string, error) {
	t, err := e.token(name)
	if err != nil {
		return "", nil //nolint:nilerr // no longer configured
	}
	record, err := e.record(ctx, name)
	if err != nil {
		return "", err
	}
	d := DueOf(t.Schedule, record)
	if d.At.IsZero() || d.At.After(time.Now()) || d.Reason != Leak && record.Failures >= MaxFailures {
		return "", nil
	}
	id, err := e.Rotate(ctx, RotateRequest{Token: name, Reason: d.Reason, By: "schedule", Why: "due by " + d.Rule})
	switch {
	case errors.Is(err, ErrConflict):
		return "", nil // one is open
	case err != nil:
		return "", err
	}
	return id, nil
}
