package journal

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// SetDue records when tokens are due next, in one transaction.
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
	j.writeMu.Lock()
	defer j.writeMu.Unlock()
	if err := j.writable(); err != nil {
		return err
	}
	const chunk = 500
	args := make([]any, 0, 2*chunk)
	err := inTx(ctx, j.write, func(tx *sql.Tx) error {
		w := writer{Journal: j, tx: tx}
		if err := w.begin(ctx); err != nil {
			return err
		}
		if w.lost != nil {
			return w.lost
		}
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
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return j.explain(err)
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
