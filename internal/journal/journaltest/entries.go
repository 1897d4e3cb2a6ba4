package journaltest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

func testAppend(t *testing.T, s Subject) {
	j := s.Journal
	_, err := j.Entries(t.Context(), "01A")
	wantNotFound(t, "Entries of a rotation that is not there", err)

	a := opening("crm", "01A")
	a.Entries = append(a.Entries, rotator.Entry{
		At: day0(), Kind: rotator.EntryObserved, Step: rotator.StepProbe,
		Observations: []rotator.Observation{{Probe: "http", Finding: rotator.Finding{Health: rotator.NotYet, Target: "w1", Detail: "line\none \u2028 <é>"}}, {Probe: "exec", Err: "exit 3"}},
	})
	first, err := j.Append(t.Context(), a)
	if err != nil || len(first) != 2 {
		t.Fatalf("Append = %v, %v; want 2 entries", first, err)
	}
	seen, err := j.Append(t.Context(), rotator.Append{Token: "crm", Entries: []rotator.Entry{{At: day0(), Kind: rotator.EntrySeen}}})
	if err != nil || len(seen) != 1 {
		t.Fatalf("Append for a token = %v, %v; want 1 entry", seen, err)
	}
	next, err := j.Append(t.Context(), step("crm", "01A", first[1].Seq))
	if err != nil {
		t.Fatalf("Append = %v", err)
	}
	all := append(append(append([]rotator.Entry(nil), first...), seen...), next...)
	for i, e := range all {
		wantRotation := "01A"
		if e.Kind == rotator.EntrySeen {
			wantRotation = ""
		}
		if e.Seq != int64(i+1) || e.Epoch <= 0 || e.Epoch != all[0].Epoch || e.Token != "crm" || e.Rotation != wantRotation || !e.At.Equal(day0()) || e.At.Location() != time.UTC {
			t.Errorf("entry %d is %+v; want seq %d, one epoch, token crm, rotation %q, its time in UTC", i, e, i+1, wantRotation)
		}
	}
	wantSame(t, "Entries against what Append returned", mustEntries(t, j, "01A"), append(first, next...))
	wantSame(t, "observations", first[1].Observations, a.Entries[1].Observations)
	if _, err := j.Entries(t.Context(), ""); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Entries of no rotation = %v; want ErrNotFound", err)
	}
}

func testReopen(t *testing.T, s Subject) {
	head := map[string]int64{}
	for n := range 30 {
		token, rotation := name("token", n%3), name("rotation", n%3)
		if head[rotation] == 0 {
			head[rotation] = mustAppend(t, s.Journal, opening(token, rotation))
			continue
		}
		head[rotation] = mustAppend(t, s.Journal, step(token, rotation, head[rotation]))
	}
	want := mustEntries(t, s.Journal, "rotation-001")
	open, err := s.Journal.OpenRotations(t.Context())
	if err != nil || len(open) != 3 {
		t.Fatalf("OpenRotations = %v, %v; want 3", open, err)
	}
	again := s.Reopen()
	wantSame(t, "entries after reopening", mustEntries(t, again, "rotation-001"), want)
	openAgain, err := again.OpenRotations(t.Context())
	if err != nil {
		t.Fatalf("OpenRotations = %v", err)
	}
	wantSame(t, "open rotations after reopening", openAgain, open)
	if got := mustAppend(t, again, step("token-001", "rotation-001", head["rotation-001"])); got != 31 {
		t.Errorf("first entry after reopening has seq %d; want 31", got)
	}
}

func testHead(t *testing.T, s Subject) {
	j := s.Journal
	head := mustAppend(t, j, opening("crm", "01A"))
	mustAppend(t, j, opening("erp", "01B"))
	for _, wrong := range []int64{head - 1, head + 1, 99, -1} {
		a := step("crm", "01A", wrong)
		a.Summary = opening("crm", "01A").Summary
		a.Summary.Detail = "from a stale head"
		a.Record = &rotator.TokenRecord{Name: "crm"}
		a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret("x")}
		_, err := j.Append(t.Context(), a)
		if wrong == 0 {
			wantConflict(t, "Append of a rotation that is there as new", err)
		} else {
			wantConflict(t, "Append with a stale head", err)
		}
	}
	_, err := j.Append(t.Context(), opening("crm", "01A"))
	wantConflict(t, "Append that opens what is open", err)
	_, err = j.Append(t.Context(), step("erp", "01A", head))
	wantConflict(t, "Append with another's token", err)

	if got := len(mustEntries(t, j, "01A")); got != 1 {
		t.Errorf("%d entries after conflicts; want 1", got)
	}
	_, err = j.Token(t.Context(), "crm")
	wantNotFound(t, "Token that only a conflict wrote", err)
	_, err = j.Unseal(t.Context(), "01A", rotator.SlotNew)
	wantNotFound(t, "Unseal of what only a conflict sealed", err)
	open, err := j.OpenRotations(t.Context())
	if err != nil || len(open) != 2 || open[0].Detail != "" {
		t.Errorf("OpenRotations = %+v, %v; want two, without the conflict's detail", open, err)
	}
	if got := mustAppend(t, j, step("crm", "01A", head)); got != 3 {
		t.Errorf("seq after conflicts = %d; want 3", got)
	}
	testTokenHead(t, j)
}

func testTokenHead(t *testing.T, j rotator.Journal) {
	t.Helper()
	entry := rotator.Append{Token: "crm", Entries: []rotator.Entry{{At: day0(), Kind: rotator.EntryReset}}}
	head := mustAppend(t, j, entry)
	entry.Head = head - 1
	_, err := j.Append(t.Context(), entry)
	wantConflict(t, "Append for a token with a stale head", err)
	entry.Head = head
	next := mustAppend(t, j, entry)
	if got, err := j.TokenHead(t.Context(), "crm"); err != nil || got != next {
		t.Errorf("TokenHead = %d, %v; want %d", got, err, next)
	}
	if got, err := j.TokenHead(t.Context(), "never seen"); err != nil || got != 0 {
		t.Errorf("TokenHead of an unknown token = %d, %v; want 0", got, err)
	}
}

func testRace(t *testing.T, s Subject) {
	head := mustAppend(t, s.Journal, opening("crm", "01A"))
	const writers = 20
	errs := make([]error, writers)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() { _, errs[n] = s.Journal.Append(t.Context(), step("crm", "01A", head)) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantConflict(t, "Append of a writer that lost", err)
		}
	}
	if won != 1 || len(mustEntries(t, s.Journal, "01A")) != 2 {
		t.Errorf("%d writers won with %d entries; want 1 and 2", won, len(mustEntries(t, s.Journal, "01A")))
	}
}

func testOneOpen(t *testing.T, s Subject) {
	j := s.Journal
	head := mustAppend(t, j, opening("crm", "01A"))
	_, err := j.Append(t.Context(), opening("crm", "01B"))
	wantConflict(t, "Append that opens a second rotation", err)
	_, err = j.Entries(t.Context(), "01B")
	wantNotFound(t, "Entries of the second rotation", err)
	mustAppend(t, j, opening("erp", "01C"))

	head = mustAppend(t, j, closing("crm", "01A", head))
	mustAppend(t, j, opening("crm", "01B"))
	again := step("crm", "01A", head)
	again.Summary = opening("crm", "01A").Summary
	_, err = j.Append(t.Context(), again)
	wantConflict(t, "Append that opens a closed rotation beside the open one", err)

	var all sync.WaitGroup
	errs := make([]error, 20)
	for n := range errs {
		all.Go(func() { _, errs[n] = j.Append(t.Context(), opening("hr", name("02", n))) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantConflict(t, "Append of a rotation that came too late", err)
		}
	}
	if won != 1 {
		t.Errorf("%d rotations of one token were opened at once; want 1", won)
	}
}

func testRefused(t *testing.T, s Subject) {
	head := mustAppend(t, s.Journal, opening("crm", "01A"))
	change := func(f func(a *rotator.Append)) rotator.Append {
		a := step("crm", "01A", head)
		f(&a)
		return a
	}
	for what, a := range map[string]rotator.Append{
		"no token":                   change(func(a *rotator.Append) { a.Token = "" }),
		"no kind":                    change(func(a *rotator.Append) { a.Entries[0].Kind = "" }),
		"new without summary":        change(func(a *rotator.Append) { a.Rotation, a.Head = "01B", 0 }),
		"new without entry":          {Token: "erp", Rotation: "01B", Summary: opening("erp", "01B").Summary},
		"summary of another":         change(func(a *rotator.Append) { a.Summary = opening("crm", "01B").Summary }),
		"summary of another's token": change(func(a *rotator.Append) { a.Summary = opening("erp", "01A").Summary }),
		"summary without rotation":   {Token: "crm", Summary: opening("crm", "01A").Summary},
		"wipe without rotation":      {Token: "crm", Wipe: true},
		"record of another":          change(func(a *rotator.Append) { a.Record = &rotator.TokenRecord{Name: "erp"} }),
		"no value to seal":           change(func(a *rotator.Append) { a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: {}} }),
	} {
		if _, err := s.Journal.Append(t.Context(), a); !rotator.IsPermanent(err) {
			t.Errorf("Append with %s = %v; want a permanent error", what, err)
		}
	}
	if got := len(mustEntries(t, s.Journal, "01A")); got != 1 {
		t.Errorf("%d entries after what was refused; want 1", got)
	}
}

func testGoroutines(t *testing.T, s Subject) {
	const writers, each = 20, 15
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			token, rotation := name("token", n), name("rotation", n)
			written, err := s.Journal.Append(t.Context(), opening(token, rotation))
			for range each - 1 {
				if err != nil {
					break
				}
				written, err = s.Journal.Append(t.Context(), step(token, rotation, written[0].Seq))
				_, _ = s.Journal.OpenRotations(t.Context())
			}
			if err != nil {
				t.Errorf("writer %d: %v", n, err)
			}
		})
	}
	all.Wait()
	seen := make([]bool, writers*each+1)
	for n := range writers {
		entries := mustEntries(t, s.Journal, name("rotation", n))
		if len(entries) != each {
			t.Errorf("rotation %d has %d entries; want %d", n, len(entries), each)
		}
		for _, e := range entries {
			if e.Seq < 1 || e.Seq >= int64(len(seen)) || seen[e.Seq] {
				t.Fatalf("seq %d is there twice or out of range 1 to %d", e.Seq, writers*each)
			}
			seen[e.Seq] = true
		}
	}
}

// testConflictAlone has writers that are right and writers that are wrong share
// transactions.
func testConflictAlone(t *testing.T, s Subject) {
	head := mustAppend(t, s.Journal, opening("crm", "01A"))
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			var err error
			if n%2 == 0 {
				_, err = s.Journal.Append(t.Context(), opening(name("token", n), name("rotation", n)))
			} else {
				a := step("crm", "01A", head)
				a.Head = head + int64(n) // no such head
				if _, stale := s.Journal.Append(t.Context(), a); !errors.Is(stale, rotator.ErrConflict) {
					t.Errorf("Append with a wrong head = %v; want ErrConflict", stale)
				}
			}
			if err != nil {
				t.Errorf("Append beside conflicts = %v", err)
			}
		})
	}
	all.Wait()
	open, err := s.Journal.OpenRotations(t.Context())
	if err != nil || len(open) != 21 {
		t.Errorf("OpenRotations = %d, %v; want 21", len(open), err)
	}
}

func testCancelled(t *testing.T, s Subject) {
	j := s.Journal
	head := mustAppend(t, j, opening("crm", "01A"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"Append":        func() error { _, err := j.Append(ctx, step("crm", "01A", head)); return err },
		"NextDue":       func() error { _, err := j.NextDue(ctx, day0()); return err },
		"SetDue":        func() error { return j.SetDue(ctx, map[string]time.Time{"crm": day0()}) },
		"Entries":       func() error { _, err := j.Entries(ctx, "01A"); return err },
		"Unseal":        func() error { _, err := j.Unseal(ctx, "01A", rotator.SlotNew); return err },
		"OpenRotations": func() error { _, err := j.OpenRotations(ctx); return err },
		"Rotations":     func() error { _, err := j.Rotations(ctx, "", 0); return err },
		"Token":         func() error { _, err := j.Token(ctx, "crm"); return err },
		"Tokens":        func() error { _, err := j.Tokens(ctx); return err },
		"Due":           func() error { _, err := j.Due(ctx, day0()); return err },
	}
	for what, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context = %v; want context.Canceled", what, err)
		}
	}
	if got := len(mustEntries(t, j, "01A")); got != 1 {
		t.Errorf("%d entries after a cancelled Append; want 1", got)
	}
	if due, err := j.Due(t.Context(), day0().Add(time.Hour)); err != nil || len(due) != 0 {
		t.Errorf("Due after a cancelled SetDue = %v, %v; want none", due, err)
	}
}

// testCancelRace cancels while many write: what Append said is what is there.
func testCancelRace(t *testing.T, s Subject) {
	const writers = 60
	ctx, cancel := context.WithCancel(t.Context())
	errs := make([]error, writers)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			if n == writers/2 {
				cancel()
			}
			_, errs[n] = s.Journal.Append(ctx, opening(name("token", n), name("rotation", n)))
		})
	}
	all.Wait()
	cancel()
	for n, err := range errs {
		_, readErr := s.Journal.Entries(t.Context(), name("rotation", n))
		switch {
		case err == nil && readErr != nil:
			t.Errorf("Append %d succeeded, but Entries = %v", n, readErr)
		case err != nil && rotator.HadNoEffect(err) && !errors.Is(readErr, rotator.ErrNotFound):
			t.Errorf("Append %d = %v, but Entries = %v", n, err, readErr)
		}
	}
}

func testFence(t *testing.T, s Subject) {
	old := s.Journal
	head := mustAppend(t, old, opening("crm", "01A"))
	owner := s.Reopen()
	_, err := old.Append(t.Context(), step("crm", "01A", head))
	wantConflict(t, "P3: Append of the old owner", err)
	_, err = old.Append(t.Context(), opening("erp", "01B"))
	wantConflict(t, "opening Append of the old owner", err)
	wantConflict(t, "SetDue of the old owner", old.SetDue(t.Context(), map[string]time.Time{"crm": day0()}))

	head = mustAppend(t, owner, step("crm", "01A", head))
	entries := mustEntries(t, owner, "01A")
	if len(entries) != 2 || entries[1].Epoch <= entries[0].Epoch {
		t.Errorf("entries are %+v; want two, the second of a later epoch", entries)
	}
	third := s.Reopen()
	_, err = owner.Append(t.Context(), step("crm", "01A", head))
	wantConflict(t, "Append of the second owner", err)
	mustAppend(t, third, step("crm", "01A", head))
}

// testBubble uses a journal where time is fake: it must neither hang nor wait.
func testBubble(t *testing.T, open func(t *testing.T) Subject) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		start := time.Now()
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				time.Sleep(time.Duration(n%5) * time.Hour)
				a := opening(name("token", n), name("rotation", n))
				a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret("v")}
				written, err := s.Journal.Append(t.Context(), a)
				if err != nil {
					t.Errorf("Append = %v", err)
					return
				}
				time.Sleep(24 * time.Hour)
				if _, err := s.Journal.Append(t.Context(), closing(a.Token, a.Rotation, written[0].Seq)); err != nil {
					t.Errorf("Append = %v", err)
				}
			})
		}
		all.Wait()
		if got := time.Since(start); got != 28*time.Hour {
			t.Errorf("the journal took %v of the bubble's time; want 28h", got)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
}
