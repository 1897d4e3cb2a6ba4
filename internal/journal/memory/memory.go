// Package memory is a journal that lives in memory: for tests of the engine
// that run thousands of worlds, and for the conformance suite to hold both
// journals to the same contract.
//
// It never outlives its process, seals nothing on disk and has no hash chain:
// rotatord itself runs on package journal.
package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rotatord/rotatord/internal/journal/admit"
	"github.com/rotatord/rotatord/rotator"
)

// Journal implements rotator.Journal in memory.
type Journal struct {
	disk  *disk
	epoch int64
}

// disk is what several openings of one journal share.
type disk struct {
	mu      sync.Mutex
	epoch   int64
	entries []rotator.Entry
	streams map[string][]rotator.Entry
	rows    map[string]rotator.Summary
	order   []string
	records map[string]rotator.TokenRecord
	due     map[string]time.Time
	sealed  map[string]map[rotator.Slot]rotator.Secret
}

var _ rotator.Journal = (*Journal)(nil)

// New returns an empty journal.
func New() *Journal {
	return (&Journal{disk: &disk{
		streams: map[string][]rotator.Entry{}, rows: map[string]rotator.Summary{}, records: map[string]rotator.TokenRecord{},
		due: map[string]time.Time{}, sealed: map[string]map[rotator.Slot]rotator.Secret{},
	}}).Reopen()
}

// Reopen opens the same journal again, as a restarted process does: appends of
// the earlier opening are refused from now on.
func (j *Journal) Reopen() *Journal {
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	j.disk.epoch++
	return &Journal{disk: j.disk, epoch: j.disk.epoch}
}

func stream(token, rotation string) string {
	if rotation != "" {
		return "rotation/" + rotation
	}
	return "token/" + token
}

// Append implements rotator.Journal.
func (j *Journal) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, rotator.Unsent(err)
	}
	if err := admit.Check(a); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	d := j.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	name := stream(a.Token, a.Rotation)
	if err := j.admit(name, a); err != nil {
		return nil, err
	}
	written := make([]rotator.Entry, len(a.Entries))
	for i, e := range a.Entries {
		e.Seq, e.Epoch, e.Token, e.Rotation = int64(len(d.entries)+1), j.epoch, a.Token, a.Rotation
		written[i] = record(e)
		d.entries = append(d.entries, written[i])
		d.streams[name] = append(d.streams[name], written[i])
	}
	if a.Summary != nil {
		if _, known := d.rows[a.Rotation]; !known {
			d.order = append(d.order, a.Rotation)
		}
		d.rows[a.Rotation] = *a.Summary
	}
	if a.Record != nil {
		kept := *a.Record
		kept.Current = kept.Current.Record()
		d.records[a.Token] = kept
	}
	for slot, value := range a.Seal {
		if d.sealed[a.Rotation] == nil {
			d.sealed[a.Rotation] = map[rotator.Slot]rotator.Secret{}
		}
		d.sealed[a.Rotation][slot] = value
	}
	if a.Wipe {
		delete(d.sealed, a.Rotation)
	}
	return written, nil
}

// record is an entry as a journal on a disk gives it back: in UTC, without a value.
func record(e rotator.Entry) rotator.Entry {
	e.At, e.RetryAt = e.At.UTC(), e.RetryAt.UTC()
	if e.Credential != nil {
		kept := e.Credential.Record()
		e.Credential = &kept
	}
	return e
}

func (j *Journal) fenced() error {
	if j.epoch != j.disk.epoch {
		return fmt.Errorf("another process took over: %w", rotator.ErrConflict)
	}
	return nil
}

func (j *Journal) admit(name string, a rotator.Append) error {
	d := j.disk
	if err := j.fenced(); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if row, known := d.rows[a.Rotation]; known && row.Token != a.Token {
		return fmt.Errorf("append: rotation %s is of another token: %w", a.Rotation, rotator.ErrConflict)
	}
	head := int64(0)
	if s := d.streams[name]; len(s) > 0 {
		head = s[len(s)-1].Seq
	}
	if head != a.Head {
		return fmt.Errorf("append: the head is %d, not %d: %w", head, a.Head, rotator.ErrConflict)
	}
	if a.Summary == nil || !a.Summary.ClosedAt.IsZero() {
		return nil
	}
	for id, row := range d.rows {
		if row.Token == a.Token && id != a.Rotation && row.ClosedAt.IsZero() {
			return fmt.Errorf("append: rotation %s of the token is open: %w", id, rotator.ErrConflict)
		}
	}
	return nil
}

// Entries implements rotator.Journal.
func (j *Journal) Entries(ctx context.Context, rotation string) ([]rotator.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	entries := j.disk.streams[stream("", rotation)]
	if len(entries) == 0 {
		return nil, fmt.Errorf("rotation %q: %w", rotation, rotator.ErrNotFound)
	}
	return slices.Clone(entries), nil
}

// Unseal implements rotator.Journal.
func (j *Journal) Unseal(ctx context.Context, rotation string, slot rotator.Slot) (rotator.Secret, error) {
	if err := ctx.Err(); err != nil {
		return rotator.Secret{}, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	value, ok := j.disk.sealed[rotation][slot]
	if !ok {
		return rotator.Secret{}, fmt.Errorf("sealed value %q of rotation %q: %w", slot, rotation, rotator.ErrNotFound)
	}
	return value, nil
}

// OpenRotations implements rotator.Journal.
func (j *Journal) OpenRotations(ctx context.Context) ([]rotator.Summary, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	var open []rotator.Summary
	for _, id := range j.disk.order {
		if row := j.disk.rows[id]; row.ClosedAt.IsZero() {
			open = append(open, row)
		}
	}
	return open, nil
}

// Rotations implements rotator.Journal.
func (j *Journal) Rotations(ctx context.Context, token string, limit int) ([]rotator.Summary, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	var found []rotator.Summary
	for _, id := range slices.Backward(j.disk.order) {
		if row := j.disk.rows[id]; token == "" || row.Token == token {
			found = append(found, row)
		}
		if limit > 0 && len(found) == limit {
			break
		}
	}
	return found, nil
}

// Token implements rotator.Journal.
func (j *Journal) Token(ctx context.Context, name string) (rotator.TokenRecord, error) {
	if err := ctx.Err(); err != nil {
		return rotator.TokenRecord{}, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	record, ok := j.disk.records[name]
	if !ok {
		return rotator.TokenRecord{}, fmt.Errorf("token %q: %w", name, rotator.ErrNotFound)
	}
	return record, nil
}

// TokenHead implements rotator.Journal.
func (j *Journal) TokenHead(ctx context.Context, token string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	if s := j.disk.streams[stream(token, "")]; len(s) > 0 {
		return s[len(s)-1].Seq, nil
	}
	return 0, nil
}

// Tokens implements rotator.Journal.
func (j *Journal) Tokens(ctx context.Context) (map[string]rotator.TokenRecord, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	all := make(map[string]rotator.TokenRecord, len(j.disk.records))
	maps.Copy(all, j.disk.records)
	return all, nil
}

// SetDue implements rotator.Journal.
func (j *Journal) SetDue(ctx context.Context, due map[string]time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	if err := j.fenced(); err != nil {
		return fmt.Errorf("set due dates: %w", err)
	}
	maps.Copy(j.disk.due, due)
	return nil
}

// Due implements rotator.Journal.
func (j *Journal) Due(ctx context.Context, now time.Time) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	busy := map[string]bool{}
	for _, row := range j.disk.rows {
		if row.ClosedAt.IsZero() {
			busy[row.Token] = true
		}
	}
	var names []string
	for name, at := range j.disk.due {
		if !at.IsZero() && !at.After(now) && !busy[name] {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(j.disk.due[a].Compare(j.disk.due[b]), cmp.Compare(a, b))
	})
	return names, nil
}

// NextDue implements rotator.Journal.
func (j *Journal) NextDue(ctx context.Context, after time.Time) (next time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return next, err
	}
	j.disk.mu.Lock()
	defer j.disk.mu.Unlock()
	for _, at := range j.disk.due {
		if at.After(after) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, nil
}
