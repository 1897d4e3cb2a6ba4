package journal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/rotatord/rotatord/rotator"
)

func openTest(t *testing.T) *Journal {
	t.Helper()
	folder := t.TempDir()
	j, err := Open(t.Context(), Options{
		DSN: "sqlite:" + filepath.Join(folder, "rotatord.db"), SealKeyFile: filepath.Join(folder, "rotatord.key"), NoSync: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// together has all appends wait while another one writes, so that they share a
// transaction in the given order; ready is called when all wait.
func together(t *testing.T, j *Journal, appends []rotator.Append, contexts []context.Context, ready func()) []error {
	t.Helper()
	errs := make([]error, len(appends))
	var all sync.WaitGroup
	j.writeMu.Lock()
	for n := range appends {
		all.Go(func() { _, errs[n] = j.Append(contexts[n], appends[n]) })
		for waiting := 0; waiting <= n; runtime.Gosched() {
			j.queueMu.Lock()
			waiting = len(j.queue)
			j.queueMu.Unlock()
		}
	}
	ready()
	j.writeMu.Unlock()
	all.Wait()
	return errs
}

func newRotation(token, id string) rotator.Append {
	return rotator.Append{
		Token: token, Rotation: id, Entries: []rotator.Entry{{Kind: rotator.EntryOpened}},
		Summary: &rotator.Summary{ID: id, Token: token},
	}
}

// TestSharedTransaction has one of each kind in one transaction: right, in
// conflict, broken in the middle, given up.
func TestSharedTransaction(t *testing.T) {
	j := openTest(t)
	for _, a := range []rotator.Append{newRotation("closed", "01A"), newRotation("other", "01B")} {
		if _, err := j.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	// The row of another rotation of the token, so that the tables refuse it
	// only after its entry was written.
	broken := newRotation("fresh", "01B")
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	appends := []rotator.Append{
		newRotation("a", "02A"), newRotation("closed", "02B"), broken, newRotation("b", "02C"), newRotation("c", "02D"), newRotation("a", "02E"),
	}
	contexts := []context.Context{t.Context(), t.Context(), t.Context(), ctx, t.Context(), t.Context()}
	errs := together(t, j, appends, contexts, func() { cancel(gone) })
	for n, want := range []error{nil, rotator.ErrConflict, rotator.ErrConflict, gone, nil, rotator.ErrConflict} {
		if !errors.Is(errs[n], want) || (want != nil && !rotator.HadNoEffect(errs[n]) && !errors.Is(want, rotator.ErrConflict)) {
			t.Errorf("Append %d = %v; want %v", n, errs[n], want)
		}
	}
	report, err := j.Verify(t.Context(), Head{})
	if err != nil || report.Entries != 4 {
		t.Errorf("Verify = %+v, %v; want the 4 entries of those that were right", report, err)
	}
	if _, err := j.Entries(t.Context(), "02C"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Entries of what was given up = %v; want ErrNotFound", err)
	}
}

// TestGroupCommit has many who wait be one transaction.
func TestGroupCommit(t *testing.T) {
	j := openTest(t)
	const waiting = 50
	appends, contexts := make([]rotator.Append, waiting), make([]context.Context, waiting)
	for n := range waiting {
		appends[n], contexts[n] = newRotation(fmt.Sprint("token ", n), fmt.Sprint("rotation ", n)), t.Context()
	}
	transactions, guard := 0, j.guard
	j.guard = func() error { transactions++; return guard() } // asked before each
	if err := errors.Join(together(t, j, appends, contexts, func() {})...); err != nil {
		t.Fatal(err)
	}
	if transactions != 1 {
		t.Errorf("%d transactions; want 1", transactions)
	}
	open, err := j.OpenRotations(t.Context())
	if err != nil || len(open) != waiting {
		t.Fatalf("OpenRotations = %d, %v; want %d", len(open), err, waiting)
	}
	for n, s := range open {
		if s.ID != appends[n].Rotation {
			t.Errorf("rotation %d is %q; want %q: the order in which they waited", n, s.ID, appends[n].Rotation)
		}
	}
}

// TestLeaksFirst has a leak wait behind more than one transaction holds.
func TestLeaksFirst(t *testing.T) {
	j := openTest(t)
	const waiting = 3 * maxBatch
	appends, contexts := make([]rotator.Append, waiting), make([]context.Context, waiting)
	for n := range waiting {
		appends[n], contexts[n] = newRotation(fmt.Sprint("token ", n), fmt.Sprint("rotation ", n)), t.Context()
	}
	appends[waiting-1].Summary.Reason = rotator.Leak
	transactions, guard := 0, j.guard
	j.guard = func() error { transactions++; return guard() } // asked before each
	if err := errors.Join(together(t, j, appends, contexts, func() {})...); err != nil {
		t.Fatal(err)
	}
	if transactions != 3 {
		t.Errorf("%d transactions; want 3", transactions)
	}
	open, err := j.OpenRotations(t.Context())
	if err != nil || len(open) != waiting {
		t.Fatalf("OpenRotations = %d, %v; want %d", len(open), err, waiting)
	}
	if first := open[0].ID; first != appends[waiting-1].Rotation {
		t.Errorf("%q was written first; want the leak", first)
	}
	for n, s := range open[1:] {
		if s.ID != appends[n].Rotation {
			t.Errorf("rotation %d is %q; want %q: the order in which they waited", n, s.ID, appends[n].Rotation)
		}
	}
}
