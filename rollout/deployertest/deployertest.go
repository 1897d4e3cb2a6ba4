// Package deployertest is the conformance suite of deployers: what the engine
// relies on, held for every plug-in of the kind.
//
// A plug-in's test opens a Harness, with the deployer set against a real target
// or a stand-in, and calls Run. What a target can't do is declared in the
// Harness, not skipped by an option. The suite never looks into a plug-in; to
// add a line, add a function to the table in Run, and what it needs to Harness.
package deployertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

// patience is how long a call may take that waits for nothing.
const patience = 30 * time.Second

// A Harness is a deployer and its target, fresh for each test.
type Harness struct {
	// Deployer starts rollouts at a target whose consumers never become ready.
	Deployer rotator.Deployer
	// Rollouts counts the rollouts that the target started for a release.
	Rollouts func(release string) int
	// FailNext makes the target refuse the next rollout in a way that passes.
	FailNext func()
	// Unknown is a deployer whose target does not exist.
	Unknown rotator.Deployer

	// Local declares that the plug-in itself talks to no service; without it,
	// Refused and Denied are needed.
	Local bool
	// Refused is a deployer at whose address nothing listens.
	Refused rotator.Deployer
	// Denied is a deployer whose log-in is answered with a status: 401 or 403.
	Denied func(status int) rotator.Deployer

	// Secrets are values given to the plug-in that no error may show.
	Secrets []string
}

// Run holds the suite against the harnesses that open makes. open registers
// its own clean-up with t.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Harness){
		"same release twice is one rollout":            sameReleaseTwice,
		"returns before consumers are ready":           returnsEarly,
		"another release is another rollout":           anotherRelease,
		"a failed rollout can be tried again":          failedAgain,
		"unknown target is permanent":                  unknownTarget,
		"a cancelled context has no effect":            cancelled,
		"20 goroutines, one release, one rollout":      concurrentSame,
		"20 goroutines, 20 releases, 20 rollouts":      concurrentOthers,
		"tells what was rolled out, where it can":      asked,
		"refused connection is retried, 401/403 not":   service,
		"a deployer that can be pinged starts nothing": ping,
	} {
		t.Run(name, func(t *testing.T) {
			// Registered first, so it runs after everything that open cleans up.
			ignore := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
			h := open(t)
			if h.Deployer == nil || h.Rollouts == nil || h.FailNext == nil || h.Unknown == nil {
				t.Fatal("Harness: Deployer, Rollouts, FailNext and Unknown are required")
			}
			if !h.Local && (h.Refused == nil || h.Denied == nil) {
				t.Fatal("Harness: Refused and Denied are required, or declare Local")
			}
			test(t, h)
		})
	}
}

// Release makes a release as the engine would; its fields depend on the id alone.
func Release(id string) rotator.Release {
	return rotator.Release{
		ID: id, Token: "crm-sync", Rotation: "01JD0000000000000000000000",
		Fingerprint: rotator.FingerprintOf("new " + id), Previous: rotator.FingerprintOf("old " + id),
		StoredAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
	}
}

func (h Harness) deploy(t *testing.T, d rotator.Deployer, id string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := d.Deploy(ctx, Release(id))
	h.checkError(t, err)
	return err
}

func (h Harness) mustDeploy(t *testing.T, id string) {
	t.Helper()
	if err := h.deploy(t, h.Deployer, id); err != nil {
		t.Fatalf("Deploy(%q) = %v; want nil", id, err)
	}
}

func (h Harness) wantRollouts(t *testing.T, id string, want int) {
	t.Helper()
	if got := h.Rollouts(id); got != want {
		t.Errorf("rollouts of %q = %d; want %d", id, got, want)
	}
}

// checkError holds that an error is one line and shows no secret.
func (h Harness) checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v\n%+v\n%#v", err, err, err)
	for _, secret := range h.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("an error shows a secret: %s", strings.ReplaceAll(text, secret, "[SECRET]"))
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q; want one line", err)
	}
}

func sameReleaseTwice(t *testing.T, h Harness) {
	h.mustDeploy(t, "r1")
	h.mustDeploy(t, "r1")
	h.wantRollouts(t, "r1", 1)
}

// returnsEarly would run into the time limit with a deployer that waits: the
// harness's consumers never become ready.
func returnsEarly(t *testing.T, h Harness) {
	h.mustDeploy(t, "r1")
	h.wantRollouts(t, "r1", 1)
}

func anotherRelease(t *testing.T, h Harness) {
	h.mustDeploy(t, "r1")
	h.mustDeploy(t, "r2")
	h.mustDeploy(t, "r1")
	h.wantRollouts(t, "r1", 1)
	h.wantRollouts(t, "r2", 1)
}

func failedAgain(t *testing.T, h Harness) {
	h.FailNext()
	err := h.deploy(t, h.Deployer, "r1")
	if err == nil || rotator.IsPermanent(err) {
		t.Fatalf("Deploy at a target that fails = %v; want an error that is not permanent", err)
	}
	h.wantRollouts(t, "r1", 0)
	h.mustDeploy(t, "r1")
	h.wantRollouts(t, "r1", 1)
}

func unknownTarget(t *testing.T, h Harness) {
	if err := h.deploy(t, h.Unknown, "r1"); !rotator.IsPermanent(err) {
		t.Errorf("Deploy at an unknown target = %v; want a permanent error", err)
	}
}

func cancelled(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Deployer.Deploy(ctx, Release("r1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Deploy with a cancelled context = %v; want context.Canceled", err)
	}
	h.wantRollouts(t, "r1", 0)
	h.mustDeploy(t, "r1")
	h.wantRollouts(t, "r1", 1)
}

func concurrentSame(t *testing.T, h Harness) {
	h.many(t, func(int) string { return "r1" })
	h.wantRollouts(t, "r1", 1)
}

func concurrentOthers(t *testing.T, h Harness) {
	name := func(i int) string { return fmt.Sprintf("r%d", i) }
	h.many(t, name)
	for i := range 20 {
		h.wantRollouts(t, name(i), 1)
	}
}

func (h Harness) many(t *testing.T, name func(int) string) {
	t.Helper()
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if err := h.deploy(t, h.Deployer, name(i)); err != nil {
				t.Errorf("Deploy(%q) = %v; want nil", name(i), err)
			}
		})
	}
	group.Wait()
}

func asked(t *testing.T, h Harness) {
	asker, ok := h.Deployer.(rotator.DeployAsker)
	if !ok {
		t.Skip("the deployer declares that it can't tell: no rotator.DeployAsker")
	}
	want := func(id string, done bool) {
		t.Helper()
		got, err := asker.Deployed(t.Context(), Release(id))
		if h.checkError(t, err); err != nil || got != done {
			t.Errorf("Deployed(%q) = %v, %v; want %v", id, got, err, done)
		}
	}
	want("r1", false)
	h.wantRollouts(t, "r1", 0)
	h.mustDeploy(t, "r1")
	want("r1", true)
	want("r2", false)
	h.wantRollouts(t, "r1", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := asker.Deployed(ctx, Release("r1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Deployed with a cancelled context = %v; want context.Canceled", err)
	}
}

func service(t *testing.T, h Harness) {
	if h.Local {
		t.Skip("the harness declares Local: no service that could refuse")
	}
	err := h.deploy(t, h.Refused, "r1")
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) {
		t.Errorf("Deploy at a refused connection = %v; want an error without effect that is not permanent", err)
	}
	for _, status := range []int{401, 403} {
		if err := h.deploy(t, h.Denied(status), "r1"); !rotator.IsPermanent(err) {
			t.Errorf("Deploy answered with %d = %v; want a permanent error", status, err)
		}
	}
}

func ping(t *testing.T, h Harness) {
	pinger, ok := h.Deployer.(rotator.Pinger)
	if !ok {
		t.Skip("the deployer declares that it can't be pinged: no rotator.Pinger")
	}
	if err := pinger.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v; want nil", err)
	}
	h.wantRollouts(t, Release("r1").ID, 0)
	unknown, ok := h.Unknown.(rotator.Pinger)
	if !ok {
		t.Fatal("Unknown can't be pinged, but Deployer can")
	}
	if err := unknown.Ping(t.Context()); err == nil {
		t.Error("Ping() of an unknown target = nil; want an error")
	} else {
		h.checkError(t, err)
	}
}
