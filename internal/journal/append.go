package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/rotatord/rotatord/internal/journal/admit"
	"github.com/rotatord/rotatord/rotator"
)

// A request is an Append or a SetDue on its way to the disk.
type request struct {
	gaveUp  func() error // why the caller no longer wants it; nil: it does
	a       rotator.Append
	rows    []row
	summary []byte
	record  []byte
	sealed  map[rotator.Slot][]byte
	due     map[string]time.Time // of a SetDue, which has no Append

	done    chan struct{} // closed when it was written, or was not
	entries []rotator.Entry
	err     error
}

// Append adds entries to one stream. It returns after the disk has them. What
// comes in while a transaction is written shares the next one; leaks are first.
//
// An error that satisfies rotator.HadNoEffect, and an ErrConflict, means that
// surely nothing was written; after any other error something may have been.
// A context that is done before the transaction begins has no effect; later
// it is not looked at. Entries come back as they will be read: in UTC, without
// values.
func (j *Journal) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	r, err := j.prepare(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if err := j.submit(ctx, r); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	return r.entries, nil
}

// prepare does all that needs no lock: check, encode, seal.
func (j *Journal) prepare(ctx context.Context, a rotator.Append) (*request, error) {
	if j.write == nil {
		return nil, errReadOnly()
	}
	if err := admit.Check(a); err != nil {
		return nil, err
	}
	r := newRequest(ctx)
	r.a = a
	if err := r.gaveUp(); err != nil {
		return nil, rotator.Unsent(err)
	}
	err := r.encode()
	if err != nil {
		return nil, rotator.Permanent(err)
	}
	for slot, value := range a.Seal {
		if a.Wipe {
			break // it would be gone at once
		}
		if r.sealed[slot], err = j.sealer.seal(ctx, a.Rotation, slot, value); err != nil {
			return nil, rotator.Unsent(err)
		}
	}
	return r, nil
}

func errReadOnly() error {
	return rotator.Permanent(fmt.Errorf("the journal is open for reading only: %w", errors.ErrUnsupported))
}

// encode fills the rows, and the entries as they will be read from them: what
// can't be read back is refused here.
func (r *request) encode() (err error) {
	for _, e := range r.a.Entries {
		body, err := encodeEntry(e)
		if err != nil {
			return fmt.Errorf("encode entry: %w", err)
		}
		written := row{
			at: e.At.UTC().Format(time.RFC3339Nano), token: r.a.Token, rotation: r.a.Rotation,
			kind: string(e.Kind), body: body,
		}
		read, err := written.entry()
		if err != nil {
			return fmt.Errorf("encode entry: %w", err)
		}
		r.rows, r.entries = append(r.rows, written), append(r.entries, read)
	}
	if r.a.Summary != nil {
		if r.summary, err = encodeSummary(*r.a.Summary); err != nil {
			return fmt.Errorf("encode summary: %w", err)
		}
	}
	if r.a.Record != nil {
		if r.record, err = encodeRecord(*r.a.Record); err != nil {
			return fmt.Errorf("encode token record: %w", err)
		}
	}
	return nil
}

// writeBatch writes requests in one transaction. Where one of them breaks the
// transaction, each gets its own, so that it breaks nobody else's.
func (j *Journal) writeBatch(ctx context.Context, batch []*request) {
	live := batch[:0:0]
	for _, r := range batch {
		if r.err = rotator.Unsent(r.gaveUp()); r.err == nil {
			live = append(live, r)
		}
	}
	if len(live) == 0 {
		return
	}
	err := j.writable()
	if err == nil {
		err = j.transact(ctx, live)
	}
	if err != nil && len(live) > 1 && rotator.HadNoEffect(err) && j.writable() == nil {
		for _, r := range live {
			r.fail(j.transact(ctx, []*request{r}))
		}
	} else {
		for _, r := range live {
			r.fail(err)
		}
	}
	j.forgetWipedSoon(ctx)
}

// fail notes an error of the whole transaction; nil leaves what the request
// itself has come to.
func (r *request) fail(err error) {
	if err != nil {
		r.err = err
	}
}

func errClosed() error { return rotator.Permanent(errors.New("the journal is closed")) }

func (j *Journal) writable() error {
	if j.closed {
		return errClosed()
	}
	return rotator.Unsent(j.guard())
}

// transact writes requests in one transaction. A conflict is noted in its
// request and leaves the others alone; an error undoes all.
func (j *Journal) transact(ctx context.Context, batch []*request) error {
	tx, err := j.write.BeginTx(ctx, nil)
	if err != nil {
		return rotator.Unsent(j.explain(err))
	}
	undo := func(err error) error {
		_ = tx.Rollback()
		if j.constraint(err) {
			err = fmt.Errorf("%w: %w", rotator.ErrConflict, err)
		}
		return rotator.Unsent(j.explain(err))
	}
	w := writer{Journal: j, tx: tx}
	if err := w.begin(ctx); err != nil {
		return undo(err)
	}
	wiped := false
	for _, r := range batch {
		r.err = w.conflict(ctx, r)
		if r.err != nil {
			if !errors.Is(r.err, rotator.ErrConflict) {
				return undo(r.err)
			}
			continue
		}
		if err := w.apply(ctx, r); err != nil {
			return undo(err)
		}
		wiped = wiped || r.a.Wipe
	}
	if err := w.end(ctx); err != nil {
		return undo(err)
	}
	if err := tx.Commit(); err != nil {
		_, _ = j.write.ExecContext(ctx, `ROLLBACK`) // a commit that failed may have left it open
		return fmt.Errorf("commit, which may have been done all the same: %w", j.explain(err))
	}
	j.residue = j.residue || wiped
	return nil
}

// A writer is one transaction.
type writer struct {
	*Journal
	tx      *sql.Tx
	head    int64
	hash    []byte
	lost    error // set when this process no longer owns the journal
	written bool
}

func (w *writer) stmt(ctx context.Context, text string) *sql.Stmt {
	return w.tx.StmtContext(ctx, w.writes[text])
}

func (w *writer) begin(ctx context.Context) error {
	m, err := scanMeta(w.stmt(ctx, w.q.meta).QueryRowContext(ctx))
	if err != nil {
		return err
	}
	w.head, w.hash = m.head.Seq, m.headHash
	if m.epoch != w.epoch && !without("fence") {
		w.lost = fmt.Errorf("another process has taken over the journal (epoch %d, ours is %d): %w", m.epoch, w.epoch, rotator.ErrConflict)
	}
	return nil
}

// conflict asks whether the request still fits what is there.
func (w *writer) conflict(ctx context.Context, r *request) error {
	if w.lost != nil {
		return w.lost
	}
	if r.due != nil {
		return nil
	}
	a := r.a
	var head int64
	if err := w.stmt(ctx, w.q.streamHead).QueryRowContext(ctx, a.Rotation, a.Token).Scan(&head); err != nil {
		return err
	}
	if head != a.Head {
		return fmt.Errorf("the last entry is %d, not %d: %w", head, a.Head, rotator.ErrConflict)
	}
	if a.Head != 0 || a.Rotation == "" || !a.Summary.ClosedAt.IsZero() {
		return nil // what is left of conflicts the tables themselves refuse
	}
	var other string
	err := w.stmt(ctx, w.q.openRotation).QueryRowContext(ctx, a.Token).Scan(&other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("rotation %q of %q is open already: %w", other, a.Token, rotator.ErrConflict)
}

// apply writes a request that has no conflict.
func (w *writer) apply(ctx context.Context, r *request) error {
	if r.due != nil {
		return w.setDue(ctx, r.due)
	}
	opened := w.head + 1
	for i := range r.rows {
		n := &r.rows[i]
		n.seq, n.epoch, n.prev = w.head+1, w.epoch, w.hash
		n.hash = n.sum()
		_, err := w.stmt(ctx, w.q.entryInsert).ExecContext(ctx, n.seq, n.epoch, n.at, n.token, n.rotation, n.kind, string(n.body), n.prev, n.hash)
		if err != nil {
			return err
		}
		w.head, w.hash, w.written = n.seq, n.hash, true
		r.entries[i].Seq, r.entries[i].Epoch = n.seq, n.epoch
	}
	if r.summary != nil {
		if err := w.setSummary(ctx, r, opened); err != nil {
			return err
		}
	}
	if r.record != nil {
		if _, err := w.stmt(ctx, w.q.recordSet).ExecContext(ctx, r.a.Token, string(r.record)); err != nil {
			return err
		}
	}
	for slot, ciphertext := range r.sealed {
		if _, err := w.stmt(ctx, w.q.sealSet).ExecContext(ctx, r.a.Rotation, string(slot), ciphertext); err != nil {
			return err
		}
	}
	if r.a.Wipe {
		_, err := w.stmt(ctx, w.q.sealWipe).ExecContext(ctx, r.a.Rotation)
		return err
	}
	return nil
}

func (w *writer) setSummary(ctx context.Context, r *request, opened int64) error {
	s := r.a.Summary
	if r.a.Head == 0 {
		_, err := w.stmt(ctx, w.q.rotationAdd).ExecContext(ctx, s.ID, s.Token, opened, sortable(s.ClosedAt), sortable(s.WakeAt), string(r.summary))
		return err
	}
	_, err := w.stmt(ctx, w.q.rotationSet).ExecContext(ctx, sortable(s.ClosedAt), sortable(s.WakeAt), string(r.summary), s.ID)
	return err
}

// end moves the chain's head, if this process still owns it.
func (w *writer) end(ctx context.Context) error {
	if !w.written {
		return nil
	}
	result, err := w.stmt(ctx, w.q.headSet).ExecContext(ctx, w.head, w.hash, w.epoch)
	if err != nil {
		return err
	}
	if moved, err := result.RowsAffected(); err != nil || moved != 1 && !without("fence") {
		return errors.Join(rotator.ErrConflict, err)
	}
	return nil
}
