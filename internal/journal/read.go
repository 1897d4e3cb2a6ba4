package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Entries returns a rotation's entries in order; none is ErrNotFound.
func (j *Journal) Entries(ctx context.Context, rotation string) ([]rotator.Entry, error) {
	var found []rotator.Entry
	var err error
	if rotation != "" {
		found, err = j.list(ctx, j.q.entriesOf, rotation)
	}
	if err == nil && len(found) == 0 {
		err = rotator.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read entries of rotation %q: %w", rotation, err)
	}
	return found, nil
}

// TokenEntries returns the entries of a token as a whole, those without a
// rotation, in order. None is no error.
func (j *Journal) TokenEntries(ctx context.Context, token string) ([]rotator.Entry, error) {
	found, err := j.list(ctx, j.q.entriesOfSelf, token)
	if err != nil {
		return nil, fmt.Errorf("read entries of token %q: %w", token, err)
	}
	return found, nil
}

func (j *Journal) list(ctx context.Context, query string, args ...any) ([]rotator.Entry, error) {
	var found []rotator.Entry
	err := j.eachRow(ctx, j.often, query, args, func(rows *sql.Rows) error {
		r, err := scanRow(rows)
		if err != nil {
			return err
		}
		e, err := r.entry()
		if err != nil {
			return fmt.Errorf("entry %d can't be read: %w", r.seq, err)
		}
		found = append(found, e)
		return nil
	})
	return found, err
}

// TokenHead returns the Seq of the last entry of a token as a whole; 0: none.
func (j *Journal) TokenHead(ctx context.Context, token string) (int64, error) {
	var head int64
	if err := j.oneRow(ctx, j.q.streamHead, &head, "", token); err != nil {
		return 0, fmt.Errorf("read head of token %q: %w", token, err)
	}
	return head, nil
}

// Unseal returns a value sealed for a rotation: ErrNotFound once wiped.
func (j *Journal) Unseal(ctx context.Context, rotation string, slot rotator.Slot) (rotator.Secret, error) {
	value, err := j.unseal(ctx, rotation, slot)
	if err != nil {
		return value, fmt.Errorf("unseal %s value of rotation %q: %w", slot, rotation, err)
	}
	return value, nil
}

func (j *Journal) unseal(ctx context.Context, rotation string, slot rotator.Slot) (rotator.Secret, error) {
	if j.sealer == nil {
		return rotator.Secret{}, errReadOnly()
	}
	var ciphertext []byte
	if err := j.oneRow(ctx, j.q.sealGet, &ciphertext, rotation, string(slot)); err != nil {
		return rotator.Secret{}, err
	}
	return j.sealer.unseal(ctx, rotation, slot, ciphertext)
}

// OpenRotations returns the rotations that are not closed, oldest first.
func (j *Journal) OpenRotations(ctx context.Context) ([]rotator.Summary, error) {
	return j.summaries(ctx, j.q.openRotations)
}

// Rotations returns the newest rotations, newest first, of one token or, when
// it is empty, of all; limit 0 means all.
func (j *Journal) Rotations(ctx context.Context, token string, limit int) ([]rotator.Summary, error) {
	if limit <= 0 {
		limit = -1
	}
	if token == "" {
		return j.summaries(ctx, j.q.rotations, limit)
	}
	return j.summaries(ctx, j.q.rotationsOf, token, limit)
}

func (j *Journal) summaries(ctx context.Context, query string, args ...any) ([]rotator.Summary, error) {
	found, err := decodeAll(ctx, j, decodeSummary, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read rotations: %w", err)
	}
	return found, nil
}

// Token returns the record of a token: ErrNotFound when it was never seen.
func (j *Journal) Token(ctx context.Context, name string) (rotator.TokenRecord, error) {
	found, err := decodeAll(ctx, j, decodeRecord, j.q.record, name)
	if err == nil && len(found) == 0 {
		err = rotator.ErrNotFound
	}
	if err != nil {
		return rotator.TokenRecord{}, fmt.Errorf("read record of token %q: %w", name, err)
	}
	return found[0], nil
}

// Tokens returns the records of all tokens by name.
func (j *Journal) Tokens(ctx context.Context) (map[string]rotator.TokenRecord, error) {
	found, err := decodeAll(ctx, j, decodeRecord, j.q.records)
	if err != nil {
		return nil, fmt.Errorf("read records of tokens: %w", err)
	}
	byName := make(map[string]rotator.TokenRecord, len(found))
	for _, r := range found {
		byName[r.Name] = r
	}
	return byName, nil
}

// Due returns the tokens that are due at now and have no open rotation, most
// overdue first. It knows nothing of the configuration: a token that was taken
// out of it stays due until SetDue says never.
func (j *Journal) Due(ctx context.Context, now time.Time) ([]string, error) {
	var names []string
	err := j.reading(ctx, func() (err error) {
		names, err = texts(ctx, j.often, j.q.due, sortable(now))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read due tokens: %w", j.readError(ctx, err))
	}
	return names, nil
}

// NextDue returns the first due date of any token after a time, whether it has
// an open rotation or not; the zero time: there is none.
func (j *Journal) NextDue(ctx context.Context, after time.Time) (time.Time, error) {
	var next sql.NullInt64
	if err := j.oneRow(ctx, j.q.nextDue, &next, sortable(after)); err != nil {
		return time.Time{}, fmt.Errorf("read next due date: %w", err)
	}
	if !next.Valid {
		return time.Time{}, nil
	}
	return time.Unix(0, next.Int64).UTC(), nil
}

func decodeAll[T any](ctx context.Context, j *Journal, decode func([]byte) (T, error), query string, args ...any) ([]T, error) {
	var found []T
	err := j.eachRow(ctx, j.often, query, args, func(rows *sql.Rows) error {
		var text sql.RawBytes
		if err := rows.Scan(&text); err != nil {
			return err
		}
		one, err := decode(text)
		found = append(found, one)
		return err
	})
	return found, err
}

// often asks with prepared statements what every rotation asks.
type often struct {
	db    *sql.DB
	stmts map[string]*sql.Stmt
}

func (o often) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if stmt := o.stmts[query]; stmt != nil {
		return stmt.QueryContext(ctx, args...)
	}
	return o.db.QueryContext(ctx, query, args...)
}

func (o often) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if stmt := o.stmts[query]; stmt != nil {
		return stmt.QueryRowContext(ctx, args...)
	}
	return o.db.QueryRowContext(ctx, query, args...)
}

type rowsQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (j *Journal) eachRow(ctx context.Context, db rowsQuerier, query string, args []any, f func(*sql.Rows) error) error {
	return j.readError(ctx, j.reading(ctx, func() error { return eachRow(ctx, db, query, args, f) }))
}

// oneRow reads the only column of a query's only row.
func (j *Journal) oneRow(ctx context.Context, query string, to any, args ...any) error {
	return j.readError(ctx, j.reading(ctx, func() error { return j.often.QueryRowContext(ctx, query, args...).Scan(to) }))
}

// reading runs f on one of few goroutines. SQLite takes far more stack than a
// rotation does, and a stack that grew stays: thousands of rotations that read
// would each keep one.
func (j *Journal) reading(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case j.reads <- func() { done <- f() }:
		return <-done
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-j.quit:
		return errClosed()
	}
}

func (j *Journal) readForOthers() {
	for {
		select {
		case read := <-j.reads:
			read()
		case <-j.quit:
			return
		}
	}
}

func eachRow(ctx context.Context, db rowsQuerier, query string, args []any, f func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// texts reads the one column of a query.
func texts(ctx context.Context, db rowsQuerier, query string, args ...any) ([]string, error) {
	var found []string
	err := eachRow(ctx, db, query, args, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		found = append(found, text)
		return err
	})
	return found, err
}

// readError tells a cancelled read and a missing row apart from real errors.
func (j *Journal) readError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, sql.ErrNoRows):
		return rotator.ErrNotFound
	}
	return j.explain(err)
}
