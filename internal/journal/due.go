package journal

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// SetDue records when tokens are due next, in one transaction, which concurrent
// appends may share.
func (j *Journal) SetDue(ctx context.Context, due map[string]time.Time) error {
	if err := j.setDue(ctx, due); err != nil {
		return fmt.Errorf("set due dates: %w", err)
	}
	return nil
}

func (j *Journal) setDue(ctx context.Context, due map[string]time.Time) error {
	if j.write == nil {
		return errReadOnly()
	}
	if due == nil {
		due = map[string]time.Time{}
	}
	r := newRequest(ctx)
	r.due = due
	return j.submit(ctx, r)
}

func (w *writer) setDue(ctx context.Context, due map[string]time.Time) error {
	if len(due) == 1 {
		for name, at := range due {
			_, err := w.stmt(ctx, w.q.dueSet+w.q.dueSetRow+w.q.dueSetEnd).ExecContext(ctx, name, sortable(at))
			return err
		}
	}
	const chunk = 500
	args := make([]any, 0, 2*chunk)
	// In order of the names it is one walk through the table.
	for _, name := range slices.Sorted(maps.Keys(due)) {
		args = append(args, name, sortable(due[name]))
		if len(args) == cap(args) {
			if err := w.setDueChunk(ctx, args); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	if len(args) == 0 {
		return nil
	}
	return w.setDueChunk(ctx, args)
}

func (w *writer) setDueChunk(ctx context.Context, args []any) error {
	rows := strings.Repeat(", "+w.q.dueSetRow, len(args)/2)
	_, err := w.tx.ExecContext(ctx, w.q.dueSet+strings.TrimPrefix(rows, ", ")+w.q.dueSetEnd, args...)
	return err
}

// sortable is a time for an index: nanoseconds since 1970, cut to what fits in
// 64 bits (the years 1678 to 2262); nil for the zero time.
func sortable(t time.Time) any {
	switch {
	case t.IsZero():
		return nil
	case t.Before(time.Unix(0, math.MinInt64)):
		return int64(math.MinInt64)
	case t.After(time.Unix(0, math.MaxInt64)):
		return int64(math.MaxInt64)
	}
	return t.UnixNano()
}
