// Package storetest is what every store must do, as tests: a store's own test
// says how to open it over an empty place and how others read and write that
// place, and Run does the rest.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Harness {
//			dir := t.TempDir()
//			…
//			return storetest.Harness{Store: store, Key: "crm.env#TOKEN", …}
//		})
//	}
//
// It never looks into a store: whatever it proves, it proves through the
// interface and through the harness. What a store can't do by its nature is
// declared in Lacks, and nothing else is skipped; a field of the harness that is
// missing without being declared fails the suite.
//
// To add a promise, add a function to the table in Run, and break it once in a
// store to see it fail.
package storetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

// A Harness is a store over a place of its own, in which nothing is stored yet.
type Harness struct {
	Store rotator.Store
	Key   string   // well formed; nothing is stored under it
	Bad   []string // keys that are malformed or point out of the store's place, with `..` for one

	// Sibling returns the key of the i-th other field in the same secret as Key.
	Sibling func(i int) string
	// Write stores a value as somebody else would, past the store.
	Write func(t testing.TB, key, value string)
	// Read returns what a consumer reads, past the store; false: there is nothing.
	Read func(t testing.TB, key string) (string, bool)

	Breaking    rotator.Store // over the same place; each of its writes breaks off halfway
	Unreachable rotator.Store // its service refuses the connection
	Refused     rotator.Store // its service refuses the log-in, with 401 or 403

	Secrets []string // log-ins and the like that no error may show
	Lacks   Lacks
}

// Lacks declares what a store can't do by its nature.
type Lacks struct {
	Service       bool // it talks to nobody: Unreachable and Refused are nil
	Fields        bool // a secret holds one value: Sibling is nil
	Reading       bool // it can only be written: Get answers errors.ErrUnsupported
	Empty         bool // it can't hold the empty value
	CompareAndSet bool // of two writers at the same instant, both may succeed
}

// Run runs the suite. open is called once for each part of it; what it opens it
// closes by t.Cleanup, but stores that are an io.Closer are closed by the suite.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(t *testing.T, h *Harness)
	}{
		{"miss is ErrNotFound", testMiss},
		{"values round-trip", testValues},
		{"the same attempt twice is one version", testAttemptTwice},
		{"a value can be put back", testPutBack},
		{"a foreign write in between is ErrConflict", testConflict},
		{"other fields are untouched", testSiblings},
		{"bad keys are refused", testBadKeys},
		{"a half write leaves the old value", testHalfWrite},
		{"a cancelled ctx has no effect", testCancelled},
		{"a refused connection can be retried", testUnreachable},
		{"a refused log-in is permanent", testRefused},
		{"checks write nothing", testChecks},
		{"one of 20 writers wins", testRace},
		{"20 writers of 20 fields all win", testFieldRace},
	} {
		t.Run(part.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after all that open registers
			h := open(t)
			h.complete(t)
			t.Cleanup(h.close)
			part.run(t, &h)
		})
	}
}

// complete fails a harness that neither has nor declares something.
func (h *Harness) complete(t *testing.T) {
	t.Helper()
	for _, field := range []struct {
		name            string
		missing, lacked bool
	}{
		{"Store", h.Store == nil, false},
		{"Key", h.Key == "", false},
		{"Bad", len(h.Bad) == 0, false},
		{"Write", h.Write == nil, false},
		{"Read", h.Read == nil, false},
		{"Breaking", h.Breaking == nil, false},
		{"Sibling", h.Sibling == nil, h.Lacks.Fields},
		{"Unreachable", h.Unreachable == nil, h.Lacks.Service},
		{"Refused", h.Refused == nil, h.Lacks.Service},
	} {
		if field.missing != field.lacked {
			t.Fatalf("Harness.%s is missing: %v, declared in Lacks: %v", field.name, field.missing, field.lacked)
		}
	}
}

func (h *Harness) close() {
	for _, store := range []rotator.Store{h.Store, h.Breaking, h.Unreachable, h.Refused} {
		if closer, ok := store.(io.Closer); ok {
			_ = closer.Close()
		}
	}
}

// clean fails the test when an error shows one of the values.
func (h *Harness) clean(t testing.TB, err error, values ...string) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range append(values, h.Secrets...) {
		if secret = strings.TrimSpace(secret); len(secret) > 3 && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

func (h *Harness) get(ctx context.Context, t testing.TB, store rotator.Store, key string) (rotator.Version, error) {
	t.Helper()
	version, err := store.Get(ctx, key)
	h.clean(t, err)
	return version, err
}

func (h *Harness) put(ctx context.Context, t testing.TB, store rotator.Store, key, value, prev string) (rotator.Version, error) {
	t.Helper()
	version, err := store.Put(ctx, key, rotator.Write{
		Value: rotator.NewSecret(value), Prev: prev, Attempt: "attempt of " + string(rotator.FingerprintOf(value)),
	})
	h.clean(t, err, value)
	return version, err
}

// mustPut puts a value and checks what the store says of it and what consumers read.
func (h *Harness) mustPut(t *testing.T, key, value, prev string) rotator.Version {
	t.Helper()
	version, err := h.put(t.Context(), t, h.Store, key, value, prev)
	if err != nil {
		t.Fatalf("Put(%q, prev %q) = %v; want no error", key, prev, err)
	}
	if version.ID == "" {
		t.Errorf("Put(%q) answers no version ID", key)
	}
	h.wantRead(t, key, value)
	h.wantCurrent(t, key, value, version.ID)
	return version
}

// wantCurrent checks what Get says.
func (h *Harness) wantCurrent(t testing.TB, key, value, id string) {
	t.Helper()
	got, err := h.get(t.Context(), t, h.Store, key)
	if h.Lacks.Reading {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Get(%q) = %v; want errors.ErrUnsupported of a store that can only be written", key, err)
		}
		return
	}
	if err != nil || got.Value.Reveal() != value || got.Value.IsZero() {
		t.Errorf("Get(%q) = %q, %v; want %q", key, got.Value.Reveal(), err, value)
	}
	if id != "" && got.ID != id {
		t.Errorf("Get(%q) answers version %q; want %q as Put said", key, got.ID, id)
	}
}

// wantRead checks what consumers read.
func (h *Harness) wantRead(t testing.TB, key, value string) {
	t.Helper()
	if got, ok := h.Read(t, key); !ok || got != value {
		t.Errorf("consumers read %q, %v under %q; want %q", got, ok, key, value)
	}
}
