// Package journaltest is what every rotator.Journal must hold: order, heads,
// fences, seals, and what the engine reads back. A new kind of journal passes
// it in a few lines.
//
// It never looks at how a journal keeps its data; what is particular to one
// kind (files, locks, damage) is tested beside it. To add a demand, add a
// function to the table in Run.
package journaltest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

// A Subject is a new, empty journal with what the suite needs around it.
type Subject struct {
	Journal rotator.Journal
	// Reopen opens the same journal as another owner, as after a crash: the
	// ones before are not closed, but no longer own it.
	Reopen func() rotator.Journal
	// OtherKey is Reopen with another seal key. nil, and the next two too: the
	// journal stores nothing outside the process.
	OtherKey func() rotator.Journal
	// AtRest returns all bytes that are stored at this moment.
	AtRest func() []byte
	// Ciphertexts returns all sealed values as they are stored.
	Ciphertexts func() [][]byte
	// Close closes everything that was opened.
	Close func() error
}

// Run runs the suite. open is called once for each test, and may be called
// inside a bubble of testing/synctest.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	tests := []struct {
		name string
		run  func(t *testing.T, s Subject)
	}{
		{"append and read", testAppend},
		{"order survives reopening", testReopen},
		{"a stale head is a conflict", testHead},
		{"one of many writers wins", testRace},
		{"one open rotation a token", testOneOpen},
		{"what makes no sense is refused", testRefused},
		{"summaries", testSummaries},
		{"records", testRecords},
		{"due dates", testDue},
		{"many due dates", testManyDue},
		{"sealed values come back", testSeal},
		{"sealed values need the key", atRest(testSealKey)},
		{"wiped values are gone", testWipe},
		{"wiped values leave the disk", atRest(testWipeAtRest)},
		{"no value is stored", testNoValue},
		{"goroutines", testGoroutines},
		{"a conflict touches nobody else", testConflictAlone},
		{"a cancelled context has no effect", testCancelled},
		{"a context cancelled on the way", testCancelRace},
		{"epochs fence", testFence},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			s := open(t)
			test.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
			if err := goleak.Find(before); err != nil {
				t.Errorf("after Close: %v", err)
			}
		})
	}
	t.Run("fake time", func(t *testing.T) { testBubble(t, open) })
}

// atRest is a test of what is stored.
func atRest(run func(t *testing.T, s Subject)) func(t *testing.T, s Subject) {
	return func(t *testing.T, s Subject) {
		t.Helper()
		if s.AtRest == nil {
			t.Skip("the journal stores nothing outside the process")
		}
		run(t, s)
	}
}

// day0 is when the suite's rotations begin; not in UTC, on purpose.
func day0() time.Time {
	return time.Date(2026, 11, 23, 14, 0, 0, 123456789, time.FixedZone("", 3600))
}

// opening opens a rotation.
func opening(token, rotation string) rotator.Append {
	return rotator.Append{
		Token: token, Rotation: rotation,
		Entries: []rotator.Entry{{At: day0(), Kind: rotator.EntryOpened, Reason: rotator.Manual, By: "ana@example.com"}},
		Summary: &rotator.Summary{
			ID: rotation, Token: token, Reason: rotator.Manual, Status: rotator.Running,
			Course: rotator.ReplaceFirst, Step: rotator.StepIssue, OpenedAt: day0(),
		},
	}
}

// step adds one entry after head.
func step(token, rotation string, head int64) rotator.Append {
	return rotator.Append{
		Token: token, Rotation: rotation, Head: head,
		Entries: []rotator.Entry{{At: day0(), Kind: rotator.EntryIntent, Step: rotator.StepStore, Target: "vault a#b", Attempt: 1}},
	}
}

// closing ends a rotation.
func closing(token, rotation string, head int64) rotator.Append {
	a := step(token, rotation, head)
	a.Entries[0] = rotator.Entry{At: day0(), Kind: rotator.EntryClosed, Status: rotator.Done}
	a.Summary = opening(token, rotation).Summary
	a.Summary.Status, a.Summary.ClosedAt = rotator.Done, day0().Add(time.Hour)
	a.Wipe = true
	return a
}

// mustAppend appends and returns the new head.
func mustAppend(t *testing.T, j rotator.Journal, a rotator.Append) int64 {
	t.Helper()
	written, err := j.Append(t.Context(), a)
	if err != nil {
		t.Fatalf("Append(%s %s, head %d) = %v", a.Token, a.Rotation, a.Head, err)
	}
	if len(written) == 0 {
		return a.Head
	}
	return written[len(written)-1].Seq
}

func mustEntries(t *testing.T, j rotator.Journal, rotation string) []rotator.Entry {
	t.Helper()
	entries, err := j.Entries(t.Context(), rotation)
	if err != nil {
		t.Fatalf("Entries(%q) = %v", rotation, err)
	}
	return entries
}

func wantConflict(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("%s = %v; want ErrConflict", what, err)
	}
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("%s = %v; want ErrNotFound", what, err)
	}
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(sameSecret)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func sameSecret(a, b rotator.Secret) bool {
	return a.IsZero() == b.IsZero() && a.Reveal() == b.Reveal()
}

func name(kind string, n int) string { return fmt.Sprintf("%s-%03d", kind, n) }
