package rotator_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// numbered is a store that can't be read, but tells its version.
type numbered struct{ *memStore }

func (numbered) WriteOnly() {}

func (s numbered) Get(context.Context, string) (rotator.Version, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return rotator.Version{ID: s.current().ID}, errors.ErrUnsupported
}

// overwrite is what somebody else does.
func (s numbered) overwrite() {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.value = "foreign"
	s.version++
}

// What somebody else wrote into a store that can't be read is not written over
// unseen, and does not count as the new credential.
func TestVersionOfAStoreThatCantBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		early, late bool // when somebody else writes: before rotatord does, or after
		hold        rotator.HoldKind
		decide      rotator.Decision
	}{
		"nobody":       {},
		"before we do": {early: true, hold: rotator.HoldConflict, decide: rotator.Approve},
		"after we did": {late: true, hold: rotator.HoldReverted, decide: rotator.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				token := w.token()
				blind := numbered{w.stores[1]}
				token.Stores[1].Store = blind
				token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
					if c.early {
						blind.overwrite()
					}
					return nil
				}}
				d := w.start(newJournal(), token, false, &ids{})
				defer d.Stop()
				id := d.rotate(rotator.Manual)
				time.Sleep(3 * time.Second)
				if c.late {
					blind.overwrite()
				}
				status := d.wait(id)
				if c.hold == "" {
					w.check(d, status, rotator.Done)
					return
				}
				if status.Hold == nil || status.Hold.Kind != c.hold || !strings.Contains(status.Hold.Awaited[0].Detail, "its version is") {
					t.Fatalf("status = %s, hold %+v; want held as %s with the version\n%s", status.Status, status.Hold, c.hold, d.logs)
				}
				d.decide(id, c.decide)
				w.check(d, d.wait(id), rotator.Done)
			})
		})
	}
}

func TestPlanSaysWhatCantBeReadBack(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	token.Stores[1].Store = numbered{w.stores[1]}
	d := w.start(newJournal(), token, false, &ids{})
	defer d.Stop()
	plan, err := d.Plan(t.Context(), tokenName, rotator.Manual)
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(plan.Unknowns, "\n")
	for _, line := range plan.Lines {
		said += "\n" + line.Target + ": " + line.Text
	}
	for _, want := range []string{
		"what store file crm holds: it can't be read back", "file crm: write the new credential if nobody else wrote; it can't be read back",
		"file crm: ask for its version again", "vault crm: read again: it must still hold the new credential",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the plan does not say %q:\n%s", want, said)
		}
	}
	status, err := d.Status(t.Context())
	if err != nil || len(status) != 1 || len(status[0].Blind) != 1 || status[0].Blind[0].String() != "file crm" {
		t.Errorf("Status = %+v, %v; want file crm among what can't be read back", status, err)
	}
}
