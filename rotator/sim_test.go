package rotator_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rotatord/rotatord/rotator"
)

type (
	faultKind  string
	probeKind  string
	issuerKind string
	eventKind  string
)

const (
	faultNone        faultKind = ""
	faultError       faultKind = "error"
	faultPermanent   faultKind = "permanent"
	faultUnsent      faultKind = "unsent"
	faultBusy        faultKind = "come back in an hour"
	faultHang        faultKind = "hang"
	faultLost        faultKind = "answer lost"
	faultSilent      faultKind = "no answer, but the effect"
	faultLate        faultKind = "effect delayed"
	faultTwice       faultKind = "delivered twice"
	faultPanic       faultKind = "panic"
	faultSpeak       faultKind = "speaks"
	faultForgets     faultKind = "answered without an effect"
	faultCrashBefore faultKind = "crash before"
	faultCrashAfter  faultKind = "crash after"
	faultFreeze      faultKind = "frozen before, and replaced"
	faultFreezeAfter faultKind = "frozen after, and replaced"

	probeNone        probeKind = "none"
	probePlain       probeKind = "plain"
	probeFingerprint probeKind = "fingerprint"

	issuerLists  issuerKind = "lists"
	issuerScopes issuerKind = "lists and tells scopes"
	issuerBlind  issuerKind = "blind"
	issuerManual issuerKind = "manual"

	eventForeign eventKind = "foreign value"
	eventRevert  eventKind = "first value put back"
	eventRestart eventKind = "consumer restarts"
	eventStuck   eventKind = "consumer hangs"
	eventFree    eventKind = "consumer wakes up"
	eventLeak    eventKind = "leak"
	eventRemove  eventKind = "token removed"
	eventReload  eventKind = "token put back"
	eventStop    eventKind = "stop"
	eventKill    eventKind = "crash"
	eventDecide  eventKind = "decide"
	eventHelp    eventKind = "person helps"
)

type (
	storeSpec    struct{ WriteOnly, Versions, Missing bool } // Versions: one that can only be written tells them
	consumerSpec struct {
		Store, Deployer int
		Probe           probeKind
		Sick            bool
	}
	faultSpec struct {
		Point    string
		N, Times int
		Kind     faultKind
	}
	eventSpec struct {
		At   time.Duration
		Kind eventKind
		N    int
	}
	simSpec struct {
		Reason        rotator.Reason
		LeakCourse    rotator.Course
		LeakUnhealthy rotator.OnUnhealthy
		Unhealthy     rotator.OnUnhealthy
		Issuer        issuerKind
		Hint, Asker   bool
		Stores        []storeSpec
		Deployers     int
		Consumers     []consumerSpec
		Faults        []faultSpec
		Journal       map[int]faultKind
		Events        []eventSpec
		Downtime      time.Duration
		ClockBack     time.Duration // how far the clock is set back at each restart
	}
)

func drawSpec(t *rapid.T) simSpec {
	s := simSpec{
		Reason:        rapid.SampledFrom(rotator.Reasons()).Draw(t, "reason"),
		LeakCourse:    rapid.SampledFrom([]rotator.Course{rotator.ReplaceFirst, rotator.RevokeFirst}).Draw(t, "leak course"),
		LeakUnhealthy: rapid.SampledFrom([]rotator.OnUnhealthy{rotator.UnhealthyContinue, rotator.UnhealthyHold}).Draw(t, "leak unhealthy"),
		Unhealthy:     rapid.SampledFrom([]rotator.OnUnhealthy{rotator.UnhealthyRollBack, rotator.UnhealthyHold, rotator.UnhealthyContinue}).Draw(t, "unhealthy"),
		Issuer:        rapid.SampledFrom([]issuerKind{issuerLists, issuerScopes, issuerBlind, issuerManual}).Draw(t, "issuer"),
		Hint:          rapid.IntRange(0, 3).Draw(t, "hint") > 0,
		Asker:         rapid.Bool().Draw(t, "asker"),
		Deployers:     rapid.IntRange(0, 2).Draw(t, "deployers"),
		ClockBack:     rapid.SampledFrom([]time.Duration{0, 0, 0, time.Minute, 2 * time.Hour, 30 * 24 * time.Hour}).Draw(t, "clock back"),
		Downtime:      rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Hour}).Draw(t, "downtime"),
	}
	points := []string{"issue", "revoke", "check", "check", "list", "scopes", "notify", "deploy0", "deploy1", "deployed0"}
	for i := range rapid.IntRange(1, 3).Draw(t, "stores") {
		odd := rapid.IntRange(0, 6).Draw(t, "store")
		s.Stores = append(s.Stores, storeSpec{WriteOnly: odd == 1 || odd == 6, Versions: odd == 6, Missing: odd == 2})
		points = append(points, fmt.Sprintf("store%d.get", i), fmt.Sprintf("store%d.put", i))
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "consumers") {
		s.Consumers = append(s.Consumers, consumerSpec{
			Store: rapid.IntRange(0, 2).Draw(t, "store of"), Deployer: rapid.IntRange(0, 1).Draw(t, "deployer of"),
			Probe: rapid.SampledFrom([]probeKind{probeFingerprint, probePlain, probeNone}).Draw(t, "probe"),
			Sick:  rapid.IntRange(0, 7).Draw(t, "sick") == 7,
		})
		points = append(points, fmt.Sprintf("worker%d", i))
	}
	faults := []faultKind{
		faultError, faultPermanent, faultUnsent, faultBusy, faultHang, faultLost, faultSilent, faultLate, faultTwice, faultPanic, faultSpeak, faultForgets, faultCrashBefore, faultCrashAfter,
		faultFreeze, faultFreezeAfter,
	}
	s.Faults = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) faultSpec {
		return faultSpec{
			Point: rapid.SampledFrom(points).Draw(t, "point"), Kind: rapid.SampledFrom(faults).Draw(t, "fault"),
			N: rapid.IntRange(1, 5).Draw(t, "n"), Times: rapid.SampledFrom([]int{1, 1, 2, 6, 40}).Draw(t, "times"),
		}
	}), 0, 6).Draw(t, "faults")
	s.Journal = rapid.MapOfN(rapid.IntRange(2, 40), rapid.SampledFrom([]faultKind{faultError, faultLost, faultCrashBefore, faultCrashAfter, faultFreeze, faultFreezeAfter}), 0, 3).Draw(t, "journal")
	kinds := []eventKind{
		eventForeign, eventRevert, eventRestart, eventStuck, eventFree, eventLeak, eventLeak, eventRemove, eventReload,
		eventStop, eventKill, eventDecide, eventDecide, eventHelp, eventHelp,
	}
	s.Events = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) eventSpec {
		return eventSpec{
			At:   time.Duration(rapid.SampledFrom([]int{1, 3, 7, 12, 20, 31, 45, 90, 600, 1000, 1810, 2000, 3700, 7300}).Draw(t, "at")) * time.Second,
			Kind: rapid.SampledFrom(kinds).Draw(t, "event"), N: rapid.IntRange(0, 11).Draw(t, "which"),
		}
	}), 0, 6).Draw(t, "events")
	slices.SortStableFunc(s.Events, func(a, b eventSpec) int { return cmp.Compare(a.At, b.At) })
	return s
}

var simVerbose = flag.Bool("sim.verbose", false, "print the whole story of a world that breaks a promise")

var simFresh = flag.Bool("sim.fresh", false, "draw worlds that nobody has seen, not those of every run")

// TestPromises draws worlds, breaks everything in them that can break, and
// holds P1 to P7. An ordinary run draws the same worlds each time, so that a
// change is judged by what it changes; -sim.fresh draws new ones, -rapid.checks=N
// more of them, and -rapid.seed=N one run again.
func TestPromises(t *testing.T) {
	seed := flag.Lookup("rapid.seed")
	given := seed.Value.String()
	defer func() { _ = seed.Value.Set(given) }()
	for part := range 4 {
		if given == "0" {
			next := strconv.Itoa(part + 1)
			if *simFresh {
				next = strconv.FormatUint(rand.Uint64()|1, 10)
			}
			if err := seed.Value.Set(next); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Logf("worlds of -rapid.seed=%s, as many as -rapid.checks=%s", seed.Value, flag.Lookup("rapid.checks").Value)
			rapid.Check(t, func(rt *rapid.T) { checkWorld(t, rt) })
		})
	}
}

func checkWorld(t *testing.T, rt *rapid.T) {
	spec := drawSpec(rt)
	var w *simWorld
	synctest.Test(t, func(*testing.T) {
		w = newSimWorld(spec)
		w.live()
	})
	if len(w.broken) > 0 {
		story := strings.Join(w.tells, "\n")
		if len(story) > 6000 && !*simVerbose {
			story = story[:3000] + "\n…\n" + story[len(story)-3000:]
		}
		rt.Fatalf("%s\n%+v\n%s", strings.Join(w.broken, "\n"), spec, story)
	}
}

// live runs the world to its end.
func (w *simWorld) live() {
	defer func() {
		w.process.Stop()
		for _, zombie := range w.zombies {
			zombie.Stop()
		}
	}()
	w.start()
	w.open(w.spec.Reason)
	begin := time.Now()
	for _, e := range w.spec.Events {
		w.pass(begin.Add(e.At))
		w.happen(e)
	}
	w.pass(time.Now().Add(40 * time.Minute))
	w.repair()
	for round := 0; ; round++ {
		w.pass(time.Now().Add(40 * time.Minute))
		open := w.opens()
		if len(open) == 0 {
			break
		}
		if round == 25 {
			w.fail("P3: rotation %s does not end: %s in %s/%s: %s", open[0].ID, open[0].Status, open[0].Course, open[0].Step, open[0].Detail)
			return
		}
		w.help(open[0].ID, round)
	}
	w.judgeEnd()
}

func (w *simWorld) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breaks(format, args...)
}

func (w *simWorld) start() {
	for range 20 {
		if w.boot() == nil {
			return
		}
		w.process.Stop()
		select {
		case <-w.crashed:
		default:
		}
		time.Sleep(time.Second)
	}
	w.fail("Start never works")
}

// open asks for a rotation until there is one.
func (w *simWorld) open(reason rotator.Reason) {
	for range 20 {
		_, err := w.process.Rotate(context.Background(), rotator.RotateRequest{Token: tokenName, Reason: reason, By: "ana"})
		w.hear(err)
		if err == nil || reason != rotator.Leak && errors.Is(err, rotator.ErrConflict) {
			return
		}
		w.pass(time.Now().Add(time.Second))
		if open := w.opens(); reason != rotator.Leak && len(open) > 0 {
			return
		}
	}
}

// hear reads an error as a person does.
func (w *simWorld) hear(err error) {
	if err != nil && strings.Contains(err.Error(), "yranac") {
		w.fail("P6: a value is in an error: %v", err)
	}
}

// pass lets time go by; consumers work, and a dead process is started again.
func (w *simWorld) pass(until time.Time) {
	for {
		w.mu.Lock()
		for _, c := range w.consumers {
			if w.spec.Deployers == 0 { // they look at the store by themselves
				c.load(false)
			}
		}
		w.work()
		w.judgeDeadline()
		w.mu.Unlock()
		left := time.Until(until)
		if left <= 0 {
			return
		}
		select {
		case <-w.crashed:
			w.restart(w.spec.Downtime)
		case <-w.frozen:
			w.mu.Lock()
			standsStill := w.process.thaw != nil // else it was replaced already
			w.mu.Unlock()
			if standsStill {
				w.start()
			}
		case <-time.After(min(left, 20*time.Second)):
		}
	}
}

func (w *simWorld) restart(downtime time.Duration) {
	old := w.process
	old.Stop()
	time.Sleep(downtime)
	w.mu.Lock()
	w.hungUntil = time.Now()
	w.mu.Unlock()
	w.start()
}

// judgeDeadline holds P7: past its deadline a leak's revoke has been tried.
func (w *simWorld) judgeDeadline() {
	s, open := w.state()
	if !open || s.Reason != rotator.Leak || s.Policy.Deadline == 0 || !s.OldRevokedAt.IsZero() || w.wasGone || w.process.dead {
		return
	}
	late := time.Since(s.OpenedAt.Add(s.Policy.Deadline))
	for _, jump := range w.jumps {
		late -= jump.lost
	}
	if late < 90*time.Second || time.Since(w.hungUntil) < 4*time.Minute || !s.Old.Known() {
		return
	}
	if !w.tried[s.Old.ID] && s.Old.ID != "" && !s.GivenUp && w.spec.Issuer != issuerManual {
		w.breaks("P7: %s after its deadline nobody tried to revoke the leaked credential: %s %s/%s", late, s.Status(), s.Course, s.Step)
		w.hungUntil = time.Now().Add(1000 * time.Hour)
	}
}
