package rotator_test

import (
	"context"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// endingJournal has one rotation, which ends after the reads-th read.
type endingJournal struct {
	rotator.Journal
	reads int
}

func (j *endingJournal) ended() bool {
	j.reads--
	return j.reads < 0
}

func (j *endingJournal) Tokens(context.Context) (map[string]rotator.TokenRecord, error) {
	record := rotator.TokenRecord{Name: "crm"}
	if j.ended() {
		record.Last = &rotator.Summary{ID: "R1", Token: "crm", Status: rotator.Done}
	}
	return map[string]rotator.TokenRecord{"crm": record}, nil
}

func (j *endingJournal) OpenRotations(context.Context) ([]rotator.Summary, error) {
	if j.ended() {
		return nil, nil
	}
	return []rotator.Summary{{ID: "R1", Token: "crm", Status: rotator.Running}}, nil
}

func (j *endingJournal) Entries(context.Context, string) ([]rotator.Entry, error) {
	policy := rotator.DefaultPolicies()[rotator.Manual]
	now := time.Now()
	entries := []rotator.Entry{
		{Seq: 1, At: now, Kind: rotator.EntryOpened, Token: "crm", Rotation: "R1", Reason: rotator.Manual, Policy: &policy, Course: policy.Course},
	}
	if j.ended() {
		entries = append(entries, rotator.Entry{Seq: 2, At: now, Kind: rotator.EntryClosed, Token: "crm", Rotation: "R1", Status: rotator.Failed})
	}
	return entries, nil
}

// A rotation that ends while the status is read is either open or the last one:
// who asks must never be told that there was none.
func TestStatusWhileARotationEnds(t *testing.T) {
	for reads := range 4 {
		engine := rotator.NewEngine(rotator.Options{Journal: &endingJournal{reads: reads}, Tokens: []rotator.Token{{Name: "crm"}}})
		found, err := engine.Status(t.Context(), "crm")
		if err != nil || len(found) != 1 {
			t.Fatalf("Status, ended after %d reads = %v, %v", reads, found, err)
		}
		if (found[0].Open == nil) == (found[0].Last == nil) {
			t.Errorf("Status, ended after %d reads: open %v, last %v; want one of them", reads, found[0].Open, found[0].Last)
		}
	}
}
