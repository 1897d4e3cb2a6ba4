package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// noJournal stands for the journal of a rotatord that never ran: it is empty,
// and reading it makes no file.
type noJournal struct{}

var _ rotator.Journal = noJournal{}

func (noJournal) Append(context.Context, rotator.Append) ([]rotator.Entry, error) {
	return nil, rotator.Permanent(fmt.Errorf("write journal: it is open to read only"))
}

func (noJournal) Entries(_ context.Context, id string) ([]rotator.Entry, error) {
	return nil, fmt.Errorf("read rotation %q: %w", id, rotator.ErrNotFound)
}

func (noJournal) Unseal(context.Context, string, rotator.Slot) (rotator.Secret, error) {
	return rotator.Secret{}, fmt.Errorf("unseal value: %w", rotator.ErrNotFound)
}

func (noJournal) OpenRotations(context.Context) ([]rotator.Summary, error) { return nil, nil }

func (noJournal) Rotations(context.Context, string, int) ([]rotator.Summary, error) { return nil, nil }

func (noJournal) Token(_ context.Context, name string) (rotator.TokenRecord, error) {
	return rotator.TokenRecord{}, fmt.Errorf("read token %q: %w", name, rotator.ErrNotFound)
}

func (noJournal) TokenHead(context.Context, string) (int64, error) { return 0, nil }

func (noJournal) Tokens(context.Context) (map[string]rotator.TokenRecord, error) {
	return map[string]rotator.TokenRecord{}, nil
}

func (noJournal) SetDue(context.Context, map[string]time.Time) error {
	return rotator.Permanent(fmt.Errorf("write journal: it is open to read only"))
}

func (noJournal) Due(context.Context, time.Time) ([]string, error) { return nil, nil }

func (noJournal) NextDue(context.Context, time.Time) (time.Time, error) { return time.Time{}, nil }
