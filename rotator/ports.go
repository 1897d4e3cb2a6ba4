package rotator

import (
	"context"
	"time"
)

// A Journal is the append-only record that a restart goes on from, and the
// audit log. Opening one takes a fencing epoch: entries of an older epoch's
// owner are refused from then on.
//
// Each rotation is a stream of entries with a head: the Seq of its last entry.
// Entries of a token as a whole (Rotation empty) are a stream too.
type Journal interface {
	// Append adds entries to one stream in one transaction, with everything
	// else the Append holds, and returns them with Seq and Epoch set. A stale
	// Head, a second open rotation of a token, or a lost fence is ErrConflict
	// and nothing is written. Another error does not mean that nothing was
	// written: read the stream before you decide.
	Append(ctx context.Context, a Append) ([]Entry, error)
	// Entries returns a rotation's entries in order; none is ErrNotFound.
	Entries(ctx context.Context, rotation string) ([]Entry, error)
	// Unseal returns a value sealed for a rotation: ErrNotFound once wiped.
	Unseal(ctx context.Context, rotation string, slot Slot) (Secret, error)
	// OpenRotations returns the rotations that are not closed, oldest first.
	OpenRotations(ctx context.Context) ([]Summary, error)
	// Rotations returns the newest rotations, newest first, of one token or,
	// when it is empty, of all; limit 0 means all.
	Rotations(ctx context.Context, token string, limit int) ([]Summary, error)
	// Token returns the record of a token: ErrNotFound when it was never seen.
	Token(ctx context.Context, name string) (TokenRecord, error)
	// TokenHead returns the Seq of the last entry of a token as a whole; 0: none.
	TokenHead(ctx context.Context, token string) (int64, error)
	// Tokens returns the records of all tokens by name.
	Tokens(ctx context.Context) (map[string]TokenRecord, error)
	// SetDue records when tokens are due next; the zero time means never.
	SetDue(ctx context.Context, due map[string]time.Time) error
	// Due returns the tokens that are due at now and have no open rotation, most overdue first.
	Due(ctx context.Context, now time.Time) ([]string, error)
	// NextDue returns the first due date of any token after a time; the zero
	// time: there is none.
	NextDue(ctx context.Context, after time.Time) (time.Time, error)
}

// Slot names a sealed value of a rotation.
type Slot string

// The sealed values of a rotation.
const (
	SlotOld Slot = "old"
	SlotNew Slot = "new"
)

// An Append is one transaction on the journal.
type Append struct {
	Token    string
	Rotation string  // empty for entries of the token as a whole
	Head     int64   // Seq of the stream's last entry that the caller knows; 0: the stream is new
	Entries  []Entry // with At, Kind and what the kind needs; Token and Rotation are set by the journal
	Summary  *Summary
	Record   *TokenRecord    // the token's record after these entries; nil: unchanged
	Seal     map[Slot]Secret // values to keep sealed until the rotation ends
	Wipe     bool            // the rotation ends: overwrite its sealed values
}

// A Summary is a rotation in one line: its row beside the entries.
type Summary struct {
	ID       string
	Token    string
	Reason   Reason
	Status   Status
	Course   Course
	Step     Step
	OpenedAt time.Time
	ClosedAt time.Time // zero while open
	WakeAt   time.Time // zero: nothing to do before somebody acts
	Old, New Fingerprint
	Detail   string        // why it is held, or how it ended
	Dead     time.Duration // from the revoke to the proof that the old one is dead; 0 where there was none
}

// A TokenRecord is what the journal knows of a token between its rotations.
type TokenRecord struct {
	Name      string
	Current   Credential // zero: not known yet
	FirstSeen time.Time
	Failures  int       // scheduled rotations in a row that failed or were rolled back
	NotBefore time.Time // no scheduled rotation before it: after a failure or an abort
	Leaked    bool      // a leak was reported that the last rotation did not cover
	Last      *Summary  // the last closed rotation
}

// A Dispatcher calls the engine when a rotation is to go on. Per rotation there
// is one call at a time; a WakeAt during the call leads to another call after it.
type Dispatcher interface {
	// Start begins to dispatch. advance returns when it wants to be called
	// again; the zero time means: not before the next WakeAt.
	Start(advance func(ctx context.Context, rotation string) time.Time)
	// WakeAt sets when a rotation is advanced next; an earlier time already set stays.
	WakeAt(rotation string, at time.Time)
	// Stop cancels the calls' contexts, waits for them and forgets all wake times.
	Stop()
}
