// Package probetest is the conformance suite of probes: what the engine relies
// on before it revokes a credential, held for every plug-in of the kind.
//
// A plug-in's test opens a Harness, with the probe set against a real consumer
// or a stand-in, and calls Run. What a consumer can't do is declared in the
// Harness, not skipped by an option. The suite never looks into a plug-in; to
// add a line, add a function to the table in Run, and what it needs to Harness.
package probetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

const (
	patience       = 30 * time.Second
	maxDetailRunes = 200
)

// State is how a consumer does.
type State string

// The states of a Harness's consumer.
const (
	Well     State = "well"     // works, and lives on Consumer.Fingerprint
	Broken   State = "broken"   // its credential is refused
	Starting State = "starting" // not ready to tell
	Mute     State = "mute"     // works, but does not say on what it lives
	Garbled  State = "garbled"  // what it says can't be read
	Hanging  State = "hanging"  // does not answer until the test ends
)

// A Consumer is what the probe is to see.
type Consumer struct {
	State       State
	Fingerprint rotator.Fingerprint
}

// A Harness is a probe and its consumer, fresh for each test.
type Harness struct {
	// Probe looks at the consumer.
	Probe rotator.Probe
	// Set makes the consumer what the probe is to see from now on.
	Set func(c Consumer)
	// Looks counts how often the consumer was looked at.
	Looks func() int
	// Changes says in words what the probe changed at the consumer: nothing.
	Changes func() []string
	// Unreachable is a probe whose consumer does not exist or does not listen.
	Unreachable rotator.Probe

	// Blind declares that the probe, as it is configured here, can't see which
	// credential the consumer lives on; Mute and Garbled are then never set.
	Blind bool

	// Secrets are values given to the plug-in, or said by the consumer, that
	// neither a Finding nor an error may show.
	Secrets []string
}

// Asked is the fingerprint that the suite's releases ask for.
func Asked() rotator.Fingerprint { return rotator.FingerprintOf("new value") }

func other() rotator.Fingerprint { return rotator.FingerprintOf("old value") }

// Run holds the suite against the harnesses that open makes. open registers
// its own clean-up with t.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Harness){
		"green for the asked fingerprint":            green,
		"another fingerprint is not yet":             anotherFingerprint,
		"a mute or garbled consumer is an error":     muteConsumer,
		"a broken consumer is unhealthy":             brokenConsumer,
		"a starting consumer is not yet":             startingConsumer,
		"unreachable is an error, never a verdict":   unreachable,
		"a consumer that hangs is an error":          hangingConsumer,
		"a cancelled context does not look":          cancelled,
		"20 goroutines":                              concurrent,
		"a probe that can be pinged looks at no one": ping,
		"one call is one look, and changes nothing":  oneLook,
		"sees what changed since the last look":      changing,
	} {
		t.Run(name, func(t *testing.T) {
			// Registered first, so it runs after everything that open cleans up.
			ignore := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
			h := open(t)
			if h.Probe == nil || h.Set == nil || h.Looks == nil || h.Changes == nil || h.Unreachable == nil {
				t.Fatal("Harness: Probe, Set, Looks, Changes and Unreachable are required")
			}
			test(t, h)
			if changes := h.Changes(); len(changes) != 0 {
				t.Errorf("the probe changed the consumer: %q", changes)
			}
		})
	}
}

// release is asked for; each look is one of the same release.
func release() rotator.Release {
	return rotator.Release{
		ID: "r1", Token: "crm-sync", Rotation: "01JD0000000000000000000000",
		Fingerprint: Asked(), Previous: other(),
		StoredAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
	}
}

func (h Harness) look(t *testing.T) (rotator.Finding, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	finding, err := h.Probe.Probe(ctx, release())
	h.check(t, finding, err)
	return finding, err
}

// check holds what is true of every Finding and every error.
func (h Harness) check(t *testing.T, f rotator.Finding, err error) {
	t.Helper()
	text := fmt.Sprintf("%+v %v %#v", f, err, err)
	for _, secret := range h.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is shown: %s", strings.ReplaceAll(text, secret, "[SECRET]"))
		}
	}
	if err != nil {
		if f != (rotator.Finding{}) {
			t.Errorf("Probe() = %+v beside the error %v; want no finding", f, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("error %q; want one line", err)
		}
		return
	}
	if f.Target == "" {
		t.Errorf("Probe() = %+v; want a target", f)
	}
	if strings.ContainsFunc(f.Detail+f.Target, unicode.IsControl) || len([]rune(f.Detail)) > maxDetailRunes {
		t.Errorf("detail %q; want one line of at most %d characters", f.Detail, maxDetailRunes)
	}
	if f.Health != rotator.Healthy && f.Detail == "" {
		t.Errorf("Probe() = %+v; want a detail that says why", f)
	}
}

func (h Harness) want(t *testing.T, c Consumer, health rotator.Health, seen rotator.Fingerprint) {
	t.Helper()
	h.Set(c)
	if h.Blind {
		seen = ""
	}
	finding, err := h.look(t)
	if err != nil {
		t.Errorf("Probe() of %+v = %v; want %s", c, err, health)
		return
	}
	if finding.Health != health || (seen != "" && finding.Seen != seen) {
		t.Errorf("Probe() of %+v = %+v; want %s, seen %q", c, finding, health, seen)
	}
}

func (h Harness) wantError(t *testing.T, c Consumer) {
	t.Helper()
	h.Set(c)
	if finding, err := h.look(t); err == nil {
		t.Errorf("Probe() of %+v = %+v; want an error", c, finding)
	}
}

func green(t *testing.T, h Harness) {
	h.want(t, Consumer{Well, Asked()}, rotator.Healthy, Asked())
}

func anotherFingerprint(t *testing.T, h Harness) {
	if h.Blind {
		t.Skip("the harness declares Blind: it can't see the fingerprint")
	}
	h.want(t, Consumer{Well, other()}, rotator.NotYet, other())
}

func muteConsumer(t *testing.T, h Harness) {
	if h.Blind {
		t.Skip("the harness declares Blind: it can't see the fingerprint")
	}
	h.wantError(t, Consumer{State: Mute})
	h.wantError(t, Consumer{State: Garbled})
}

func brokenConsumer(t *testing.T, h Harness) {
	h.want(t, Consumer{Broken, Asked()}, rotator.Unhealthy, "")
	h.want(t, Consumer{Broken, other()}, rotator.Unhealthy, "")
}

func startingConsumer(t *testing.T, h Harness) {
	h.want(t, Consumer{State: Starting}, rotator.NotYet, "")
}

func unreachable(t *testing.T, h Harness) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	finding, err := h.Unreachable.Probe(ctx, release())
	h.check(t, finding, err)
	if err == nil {
		t.Errorf("Probe() of nobody = %+v; want an error", finding)
	}
}

func hangingConsumer(t *testing.T, h Harness) {
	h.Set(Consumer{State: Hanging})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		finding, err := h.Probe.Probe(ctx, release())
		h.check(t, finding, err)
		ended <- err
	}()
	// The look has begun before it is cancelled; nothing else would end it.
	for deadline := time.Now().Add(patience); h.Looks() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the consumer was never looked at")
		}
		select {
		case err := <-ended:
			t.Fatalf("Probe() of a consumer that hangs ended by itself: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Probe() cancelled = %v; want context.Canceled", err)
	}
}

func cancelled(t *testing.T, h Harness) {
	h.Set(Consumer{Well, Asked()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	finding, err := h.Probe.Probe(ctx, release())
	h.check(t, finding, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Probe() with a cancelled context = %v; want context.Canceled", err)
	}
	if looks := h.Looks(); looks != 0 {
		t.Errorf("looks = %d; want 0", looks)
	}
}

func concurrent(t *testing.T, h Harness) {
	h.Set(Consumer{Well, Asked()})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if finding, err := h.look(t); err != nil || finding.Health != rotator.Healthy {
				t.Errorf("Probe() = %+v, %v; want healthy", finding, err)
			}
		})
	}
	group.Wait()
}

func oneLook(t *testing.T, h Harness) {
	for i, c := range []Consumer{{Well, Asked()}, {Broken, Asked()}, {State: Starting}} {
		h.Set(c)
		_, _ = h.look(t)
		if looks := h.Looks(); looks != i+1 {
			t.Errorf("looks after %d calls = %d; want %d", i+1, looks, i+1)
		}
	}
}

func changing(t *testing.T, h Harness) {
	h.want(t, Consumer{State: Starting}, rotator.NotYet, "")
	if !h.Blind {
		h.want(t, Consumer{Well, other()}, rotator.NotYet, other())
	}
	h.want(t, Consumer{Well, Asked()}, rotator.Healthy, Asked())
	h.want(t, Consumer{Broken, Asked()}, rotator.Unhealthy, "")
}

func ping(t *testing.T, h Harness) {
	pinger, ok := h.Probe.(rotator.Pinger)
	if !ok {
		t.Skip("the probe declares that it can't be pinged: no rotator.Pinger")
	}
	h.Set(Consumer{State: Starting})
	if err := pinger.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v; want nil", err)
	}
	if looks := h.Looks(); looks != 0 {
		t.Errorf("looks = %d; want 0", looks)
	}
}
