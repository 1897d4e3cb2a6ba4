package rotator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rotatord/rotatord/rotator"
)

func TestEveryPositionIsReachedAndLeft(t *testing.T) {
	reached := map[rotator.Position]bool{
		{Course: rotator.ReplaceFirst, Step: rotator.StepIssue}: true,
		{Course: rotator.RevokeFirst, Step: rotator.StepRevoke}: true,
	}
	left := map[rotator.Position]bool{}
	seen := map[string]bool{}
	for _, row := range rotator.Transitions() {
		reached[row.To], left[row.From] = true, true
		key := string(row.From.Course) + "/" + string(row.From.Step) + "/" + string(row.On)
		if seen[key] {
			t.Errorf("two rows for %s", key)
		}
		seen[key] = true
		if row.To.Course == rotator.RollBack && row.On != rotator.TriggerOK && row.From.Step == rotator.StepRevoke {
			t.Errorf("%s rolls back after the revoke may have happened", key)
		}
	}
	for _, course := range []rotator.Course{rotator.ReplaceFirst, rotator.RevokeFirst, rotator.RollBack} {
		for _, step := range rotator.Steps() {
			p := rotator.Position{Course: course, Step: step}
			if course == rotator.RollBack && step == rotator.StepIssue {
				continue // nothing is issued on the way back
			}
			if !reached[p] || !left[p] {
				t.Errorf("%s/%s: reached %t, left %t", course, step, reached[p], left[p])
			}
		}
	}
	if d := rotator.StatesDiagram(); !strings.HasPrefix(d, "stateDiagram-v2\n") {
		t.Errorf("StatesDiagram begins with %q", strings.SplitN(d, "\n", 2)[0])
	}
}

// TestFoldSurvivesAnyOrder feeds entries in any order: whatever the table does
// not allow is an error, never a panic, and never a revoke without evidence.
func TestFoldSurvivesAnyOrder(t *testing.T) {
	kinds := []rotator.EntryKind{
		rotator.EntryOpened, rotator.EntryStarted, rotator.EntryIntent, rotator.EntryOutcome, rotator.EntryRead, rotator.EntryChecked,
		rotator.EntryObserved, rotator.EntryMoved, rotator.EntryHeld, rotator.EntryAsked, rotator.EntryDecided, rotator.EntryProvided,
		rotator.EntryEscalated, rotator.EntryClosed, "nonsense",
	}
	policy := rotator.DefaultPolicies()[rotator.Manual]
	setup := rotator.Setup{
		Configured: true, Stores: []rotator.StoreRef{{Store: "s", Key: "k"}}, Deployers: []string{"d"}, Probes: []string{"p"},
		Rollout: rotator.DefaultRollout(), CanList: true,
	}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		entries := []rotator.Entry{{
			Seq: 1, At: now, Kind: rotator.EntryOpened, Rotation: "R", Token: "t", Course: rotator.ReplaceFirst, Policy: &policy,
			Stores: setup.Stores, Credential: &rotator.Credential{ID: "old", Fingerprint: "old"},
		}, {Seq: 2, At: now, Kind: rotator.EntryStarted}}
		for range rapid.IntRange(0, 30).Draw(t, "entries") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			e := rotator.Entry{
				Seq: int64(len(entries) + 1), At: now, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
				Step:    rapid.SampledFrom(rotator.Steps()).Draw(t, "step"),
				Target:  rapid.SampledFrom([]string{"", "s k", "d", "preflight", "capture", "elsewhere"}).Draw(t, "target"),
				Trigger: rapid.SampledFrom([]rotator.Trigger{rotator.TriggerOK, rotator.TriggerFailed, rotator.TriggerAgain, "x"}).Draw(t, "trigger"),
				Verdict: rapid.SampledFrom([]rotator.Verdict{rotator.Live, rotator.Dead, rotator.Unknown}).Draw(t, "verdict"),
				Err:     rapid.SampledFrom([]string{"", "broken"}).Draw(t, "err"),
				Final:   rapid.Bool().Draw(t, "final"), NoEffect: rapid.Bool().Draw(t, "no effect"),
				Credential:  rapid.SampledFrom([]*rotator.Credential{nil, {ID: "new", Fingerprint: "new"}}).Draw(t, "credential"),
				Fingerprint: "new",
				Hold:        &rotator.Hold{Kind: rotator.HoldDeadline}, Policy: &policy, Decision: rotator.Resume, Status: rotator.Done,
			}
			next, err := rotator.Fold(append(slices.Clip(entries), e))
			if err != nil {
				continue
			}
			entries = append(entries, e)
			if a := rotator.Next(next, setup, now); a.Kind == rotator.DoRevoke && next.Course == rotator.ReplaceFirst {
				if missing := rotator.MissingEvidence(next, setup); len(missing) > 0 {
					t.Fatalf("P2: Next revokes while %v is missing", missing)
				}
			}
			if again := rotator.Next(next, setup, now); again.Kind != rotator.Next(next, setup, now).Kind {
				t.Fatalf("Next is not pure")
			}
		}
	})
}
