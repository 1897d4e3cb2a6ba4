package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rotatord/rotatord/rotator"
)

const writers = 20

// Values of the kind that a store must carry. They look like secrets, so that
// one in an error is found.
const (
	first  = "s3cr3t-first"
	second = "s3cr3t-second"
	third  = "s3cr3t-third"
)

func testMiss(t *testing.T, h *Harness) {
	want := rotator.ErrNotFound
	if h.Lacks.Reading {
		want = errors.ErrUnsupported
	}
	if _, err := h.get(t.Context(), t, h.Store, h.Key); !errors.Is(err, want) {
		t.Errorf("Get(%q) of an empty place = %v; want %v", h.Key, err, want)
	}
	if h.Sibling == nil {
		return
	}
	h.Write(t, h.Sibling(0), first)
	if _, err := h.get(t.Context(), t, h.Store, h.Key); !errors.Is(err, want) {
		t.Errorf("Get(%q) beside another field = %v; want %v", h.Key, err, want)
	}
}

func testValues(t *testing.T, h *Harness) {
	values := []string{
		first, "final-newline\n", "two\nlines", `single ' quote`, `double " quote`, "both ' and \" of them",
		`back\slash and \n`, "$HOME ${HOME} `id` # no comment", " blanks around ", "clé-日本-🔑", "=+/",
		strings.Repeat("0123456789abcdef", 256), "{\"json\": [1]}", "'", `"`,
	}
	if !h.Lacks.Empty {
		values = append(values, "", "after the empty one")
	}
	prev := ""
	for _, value := range values {
		version := h.mustPut(t, h.Key, value, prev)
		if version.ID == prev {
			t.Errorf("Put of %q answers the version before it, %q", value, prev)
		}
		if len(value) > 3 && strings.Contains(version.ID, value) {
			t.Errorf("the version ID %q shows the value %q", version.ID, value)
		}
		prev = version.ID
	}
	if h.Lacks.Reading {
		return
	}
	for _, value := range values { // what others wrote is read as exactly
		h.Write(t, h.Key, value)
		h.wantCurrent(t, h.Key, value, "")
	}
}

func testAttemptTwice(t *testing.T, h *Harness) {
	one := h.mustPut(t, h.Key, first, "")
	again := h.mustPut(t, h.Key, first, "")
	if again.ID != one.ID {
		t.Errorf("the same Put twice answers versions %q and %q; want one", one.ID, again.ID)
	}
	two := h.mustPut(t, h.Key, second, one.ID)
	for range 2 {
		again := h.mustPut(t, h.Key, second, one.ID)
		if again.ID != two.ID || two.ID == one.ID {
			t.Errorf("the same Put twice answers versions %q and %q; want one, not %q", two.ID, again.ID, one.ID)
		}
	}
}

func testPutBack(t *testing.T, h *Harness) {
	one := h.mustPut(t, h.Key, first, "")
	two := h.mustPut(t, h.Key, second, one.ID)
	back := h.mustPut(t, h.Key, first, two.ID)
	h.mustPut(t, h.Key, third, back.ID)
}

func testConflict(t *testing.T, h *Harness) {
	wantConflict := func(value, prev, still string) {
		t.Helper()
		_, err := h.put(t.Context(), t, h.Store, h.Key, value, prev)
		if !errors.Is(err, rotator.ErrConflict) || !rotator.HadNoEffect(err) {
			t.Errorf("Put with prev %q = %v, no effect %v; want ErrConflict without effect", prev, err, rotator.HadNoEffect(err))
		}
		if got, ok := h.Read(t, h.Key); got != still || ok != (still != "") {
			t.Errorf("after a conflict consumers read %q, %v; want %q", got, ok, still)
		}
	}
	wantConflict(first, "1", "") // a version of a key that does not exist
	h.Write(t, h.Key, first)
	wantConflict(second, "", first)
	wantConflict(second, "no version of ours", first)
	if h.Lacks.Reading {
		return
	}
	seen, err := h.get(t.Context(), t, h.Store, h.Key)
	if err != nil {
		t.Fatalf("Get(%q) = %v", h.Key, err)
	}
	h.Write(t, h.Key, second)
	wantConflict(third, seen.ID, second)
}

func testSiblings(t *testing.T, h *Harness) {
	if h.Lacks.Fields {
		return
	}
	const odd = "sibling's \"own\" \\ value # é"
	h.Write(t, h.Sibling(0), odd)
	h.Write(t, h.Sibling(1), first)
	one := h.mustPut(t, h.Key, second, "")
	h.wantRead(t, h.Sibling(0), odd)
	h.wantRead(t, h.Sibling(1), first)

	// Another field changes between our look and our write: no conflict, and not lost.
	h.Write(t, h.Sibling(1), third)
	two := h.mustPut(t, h.Key, first, one.ID)
	h.wantRead(t, h.Sibling(0), odd)
	h.wantRead(t, h.Sibling(1), third)

	h.mustPut(t, h.Sibling(2), odd, "")
	h.mustPut(t, h.Key, third, two.ID)
	h.wantRead(t, h.Sibling(2), odd)
}

func testBadKeys(t *testing.T, h *Harness) {
	checker, checks := h.Store.(rotator.KeyChecker)
	if checks && checker.CheckKey(h.Key) != nil {
		t.Errorf("CheckKey(%q) = %v; want nil", h.Key, checker.CheckKey(h.Key))
	}
	dots := false
	for _, key := range h.Bad {
		dots = dots || strings.Contains(key, "..")
		if _, err := h.get(t.Context(), t, h.Store, key); !rotator.IsPermanent(err) {
			t.Errorf("Get(%q) = %v; want a permanent error", key, err)
		}
		if _, err := h.put(t.Context(), t, h.Store, key, first, ""); !rotator.IsPermanent(err) {
			t.Errorf("Put(%q) = %v; want a permanent error", key, err)
		}
	}
	if !dots {
		t.Errorf("Harness.Bad has no key with `..`: %q", h.Bad)
	}
}

func testHalfWrite(t *testing.T, h *Harness) {
	one := h.mustPut(t, h.Key, first, "")
	if _, err := h.put(t.Context(), t, h.Breaking, h.Key, second, one.ID); err == nil {
		t.Errorf("a write that breaks off answers no error")
	}
	h.wantRead(t, h.Key, first)
	h.mustPut(t, h.Key, second, one.ID) // and nothing is left in the way
}

func testCancelled(t *testing.T, h *Harness) {
	one := h.mustPut(t, h.Key, first, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.put(ctx, t, h.Store, h.Key, second, one.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("Put with a cancelled ctx = %v; want context.Canceled", err)
	}
	if _, err := h.get(ctx, t, h.Store, h.Key); !h.Lacks.Reading && !errors.Is(err, context.Canceled) {
		t.Errorf("Get with a cancelled ctx = %v; want context.Canceled", err)
	}
	if p, ok := h.Store.(rotator.Pinger); ok {
		if err := p.Ping(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Ping with a cancelled ctx = %v; want context.Canceled", err)
		}
	}
	if w, ok := h.Store.(rotator.WriteChecker); ok {
		if err := w.CheckWrite(ctx, h.Key); !errors.Is(err, context.Canceled) {
			t.Errorf("CheckWrite with a cancelled ctx = %v; want context.Canceled", err)
		}
	}
	h.wantRead(t, h.Key, first)
}

// failures are the errors of every call that a store's service refuses.
func (h *Harness) failures(t *testing.T, store rotator.Store) map[string]error {
	t.Helper()
	found := map[string]error{}
	if !h.Lacks.Reading {
		_, found["Get"] = h.get(t.Context(), t, store, h.Key)
	}
	_, found["Put"] = h.put(t.Context(), t, store, h.Key, first, "")
	if p, ok := store.(rotator.Pinger); ok {
		found["Ping"] = p.Ping(t.Context())
	}
	if w, ok := store.(rotator.WriteChecker); ok {
		found["CheckWrite"] = w.CheckWrite(t.Context(), h.Key)
	}
	for call, err := range found {
		h.clean(t, err, first)
		if err == nil || errors.Is(err, rotator.ErrNotFound) || errors.Is(err, rotator.ErrConflict) {
			t.Errorf("%s = %v; want an error that says who refused", call, err)
		}
	}
	return found
}

func testUnreachable(t *testing.T, h *Harness) {
	if h.Lacks.Service {
		return
	}
	for call, err := range h.failures(t, h.Unreachable) {
		if rotator.IsPermanent(err) {
			t.Errorf("%s without a connection = %v, permanent; want one that is retried", call, err)
		}
		if call == "Put" && !rotator.HadNoEffect(err) {
			t.Errorf("Put without a connection = %v; want one that surely had no effect", err)
		}
	}
}

func testRefused(t *testing.T, h *Harness) {
	if h.Lacks.Service {
		return
	}
	for call, err := range h.failures(t, h.Refused) {
		if !rotator.IsPermanent(err) {
			t.Errorf("%s with a refused log-in = %v; want a permanent error", call, err)
		}
	}
}

func testChecks(t *testing.T, h *Harness) {
	check := func() {
		t.Helper()
		if p, ok := h.Store.(rotator.Pinger); ok {
			if err := p.Ping(t.Context()); err != nil {
				t.Errorf("Ping() = %v; want nil", err)
			}
		}
		if w, ok := h.Store.(rotator.WriteChecker); ok {
			if err := w.CheckWrite(t.Context(), h.Key); err != nil {
				t.Errorf("CheckWrite(%q) = %v; want nil", h.Key, err)
			}
		}
	}
	check()
	if got, ok := h.Read(t, h.Key); ok {
		t.Errorf("after the checks consumers read %q; want nothing", got)
	}
	one := h.mustPut(t, h.Key, first, "")
	check()
	h.wantRead(t, h.Key, first)
	h.wantCurrent(t, h.Key, first, one.ID)
}

func testRace(t *testing.T, h *Harness) {
	one := h.mustPut(t, h.Key, first, "")
	won := make([]bool, writers)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			_, err := h.put(t.Context(), t, h.Store, h.Key, numbered(i), one.ID)
			won[i] = err == nil
			if err != nil && !errors.Is(err, rotator.ErrConflict) {
				t.Errorf("Put of one of %d writers = %v; want nil or ErrConflict", writers, err)
			}
			_, err = h.get(t.Context(), t, h.Store, h.Key)
			if err != nil && !h.Lacks.Reading {
				t.Errorf("Get beside writers = %v; want nil", err)
			}
		})
	}
	group.Wait()
	winners := []string{}
	for i := range writers {
		if won[i] {
			winners = append(winners, numbered(i))
		}
	}
	if len(winners) == 0 || (len(winners) > 1 && !h.Lacks.CompareAndSet) {
		t.Fatalf("%d of %d writers won; want one", len(winners), writers)
	}
	if len(winners) == 1 {
		h.wantRead(t, h.Key, winners[0])
	}
}

func testFieldRace(t *testing.T, h *Harness) {
	if h.Lacks.Fields {
		return
	}
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			if _, err := h.put(t.Context(), t, h.Store, h.Sibling(i), numbered(i), ""); err != nil {
				t.Errorf("Put of field %d beside others = %v; want nil", i, err)
			}
		})
	}
	group.Wait()
	for i := range writers {
		h.wantRead(t, h.Sibling(i), numbered(i))
	}
}

func numbered(i int) string { return fmt.Sprintf("s3cr3t-of-writer-%d", i) }
