// Package admit says which appends make sense at all, whatever a journal
// holds: what every rotator.Journal refuses before it looks at its data.
//
// It never compares with what is stored; heads, fences and open rotations are
// the journal's own. To add a demand, add a case to Check and to the
// conformance suite.
package admit

import (
	"errors"
	"fmt"

	"github.com/rotatord/rotatord/rotator"
)

// Check returns a Permanent error for an Append that no journal takes.
func Check(a rotator.Append) error { return rotator.Permanent(check(a)) }

func check(a rotator.Append) error {
	s := a.Summary
	switch {
	case a.Token == "":
		return errors.New("no token is named")
	case a.Rotation == "" && (s != nil || len(a.Seal) > 0 || a.Wipe):
		return errors.New("a summary and sealed values belong to a rotation, and none is named")
	case s != nil && (s.ID != a.Rotation || s.Token != a.Token):
		return fmt.Errorf("the summary is of rotation %q of %q", s.ID, s.Token)
	case a.Rotation != "" && a.Head == 0 && (s == nil || len(a.Entries) == 0):
		return errors.New("a new rotation needs a summary and an entry")
	case a.Record != nil && a.Record.Name != a.Token:
		return fmt.Errorf("the record is of token %q", a.Record.Name)
	}
	for _, e := range a.Entries {
		if e.Kind == "" {
			return errors.New("an entry has no kind")
		}
	}
	for slot, value := range a.Seal {
		if value.IsZero() {
			return fmt.Errorf("there is no value to seal as %q", slot)
		}
	}
	return nil
}
