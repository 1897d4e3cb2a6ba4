package rotator_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// TestOldEvidenceIsNoEvidence: a process that was down between the last look
// and the revoke looks again.
func TestOldEvidenceIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d, j := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Scheduled)
		w.check(d, d.wait(id), rotator.Done)
		entries, err := j.Entries(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			if e.Kind == rotator.EntryMoved && e.Step == rotator.StepProbe {
				entries = entries[:i+1]
				break
			}
		}
		state, err := rotator.Fold(entries)
		if err != nil {
			t.Fatal(err)
		}
		token := w.token()
		setup := rotator.Setup{Configured: true, Rollout: token.Rollout, ActTimeout: time.Minute, CanList: true, Deployers: []string{"restart"}}
		for _, s := range token.Stores {
			setup.Stores = append(setup.Stores, s.Ref())
		}
		for _, p := range token.Probes {
			setup.Probes = append(setup.Probes, p.Name)
		}
		if a := rotator.Next(state, setup, state.LastAt.Add(time.Minute)); a.Kind != rotator.DoRevoke {
			t.Errorf("Next a minute later = %+v; want revoke", a)
		}
		if a := rotator.Next(state, setup, state.LastAt.Add(24*time.Hour)); a.Kind != rotator.DoMove || a.Trigger != rotator.TriggerAgain {
			t.Errorf("P2: Next a day later = %+v; want to look again", a)
		}
	})
}
