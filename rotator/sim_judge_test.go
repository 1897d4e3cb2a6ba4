package rotator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// judgeEnd holds P3, P4 and P6 when nothing is open any more, and sees that a
// further rotation without any trouble works.
func (w *simWorld) judgeEnd() {
	w.judgeCredentials()
	if len(w.broken) > 0 {
		return
	}
	w.putRight()
	w.last = true
	w.open(rotator.Manual)
	for round := range 12 {
		w.pass(time.Now().Add(20 * time.Minute))
		open := w.opens()
		if len(open) == 0 {
			w.judgeCredentials()
			w.judgeCalm()
			return
		}
		w.help(open[0].ID, round)
	}
	w.fail("P3: a rotation without any trouble does not end")
}

// putRight does what people do before the next rotation: the stores hold a live
// credential, the journal knows it, and consumers live on it.
func (w *simWorld) putRight() {
	w.mu.Lock()
	defer w.mu.Unlock()
	current := w.current()
	record, _ := w.disk.Token(context.Background(), tokenName)
	if current == nil || !current.live {
		if current = w.made[0]; !current.live {
			current = w.create("made by hand again")
		}
	}
	adopt := record.Current.ID != current.id || record.Current.Fingerprint != rotator.FingerprintOf(current.value)
	for _, s := range w.stores {
		if s.value == nil || *s.value != current.value {
			s.set(current.value, false)
		}
	}
	for _, c := range w.consumers {
		c.load(false)
		c.Sick = false
	}
	if !adopt || !w.readable() {
		return
	}
	w.mu.Unlock()
	_, err := w.process.Adopt(context.Background(), rotator.Adoption{Token: tokenName, ID: current.id, By: "ana"})
	w.mu.Lock()
	if err != nil {
		w.breaks("adopt: %v", err)
	}
}

func (w *simWorld) readable() bool {
	return slices.ContainsFunc(w.stores, func(s *simStore) bool { return !s.WriteOnly })
}

func (w *simWorld) judgeCalm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	newest, _ := w.disk.Rotations(context.Background(), tokenName, 1)
	if len(newest) == 0 || newest[0].Status != rotator.Done {
		w.breaks("a rotation without any trouble ends otherwise: %+v", newest)
	}
}

// current is the credential that the journal takes for the token's own.
func (w *simWorld) current() *simCredential {
	record, err := w.disk.Token(context.Background(), tokenName)
	if err != nil {
		return nil
	}
	return w.find(func(c *simCredential) bool {
		return record.Current.ID != "" && c.id == record.Current.ID ||
			record.Current.Fingerprint != "" && rotator.FingerprintOf(c.value) == record.Current.Fingerprint
	})
}

func (w *simWorld) judgeCredentials() {
	w.mu.Lock()
	defer w.mu.Unlock()
	newest, err := w.disk.Rotations(context.Background(), tokenName, 1)
	if err != nil || len(newest) == 0 {
		return
	}
	last, current := newest[0], w.current()
	if current != nil && !current.live && !current.killed && !current.excused {
		w.breaks("P4: the current credential %s is dead after a rotation that ended %s", current.id, last.Status)
	}
	for _, c := range w.made {
		marked := strings.HasPrefix(c.name, rotator.MarkerPrefix(tokenName))
		if c.live && c != current && marked {
			w.breaks("P3: %s (%s) is live and nobody's after a rotation that ended %s", c.id, c.name, last.Status)
		}
	}
	if !w.made[1].live {
		w.breaks("P4: a credential of somebody else was ended")
	}
	if last.Status == rotator.Done {
		w.judgeDone(last, current)
	}
	for _, slot := range []rotator.Slot{rotator.SlotOld, rotator.SlotNew} {
		if _, err := w.disk.Unseal(context.Background(), last.ID, slot); !errors.Is(err, rotator.ErrNotFound) {
			w.breaks("P6: the %s value is in the journal after a rotation that ended %s", slot, last.Status)
		}
	}
	if strings.Contains(w.logs.String(), "yranac") {
		w.breaks("P6: a value is in the log")
	}
	if strings.Contains(w.logs.String(), "does not come to rest") {
		w.breaks("a rotation does not come to rest")
	}
	if entries, _ := w.disk.Entries(context.Background(), last.ID); len(entries) > 3000 {
		w.breaks("the journal grows: %d entries of one rotation", len(entries))
	}
}

func (w *simWorld) judgeDone(last rotator.Summary, current *simCredential) {
	if current == nil || rotator.FingerprintOf(current.value) != last.New {
		w.breaks("P4: the current credential is not the new one")
		return
	}
	if first := w.made[0]; first.live && w.known() {
		w.breaks("P4: the first credential is live after a rotation that ended done")
	}
	for _, s := range w.stores {
		if s.value == nil || *s.value != current.value && !s.foreign {
			w.breaks("P4: %s does not hold the current credential", s.name)
		}
	}
}

// known tells whether rotatord could know the first credential at all.
func (w *simWorld) known() bool {
	if slices.ContainsFunc(w.spec.Events, func(e eventSpec) bool { return e.Kind == eventForeign }) {
		return false // what somebody wrote may be taken for it
	}
	return w.spec.Hint || slices.ContainsFunc(w.stores, func(s *simStore) bool { return !s.WriteOnly && !s.Missing })
}
