package rotator_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/rotatord/rotatord/rotator"
)

func (w *simWorld) happen(e eventSpec) {
	ctx := context.Background()
	w.mu.Lock()
	store := w.stores[e.N%len(w.stores)]
	var consumer *simConsumer
	if len(w.consumers) > 0 {
		consumer = w.consumers[e.N%len(w.consumers)]
	}
	w.note("EVENT %s %d", e.Kind, e.N)
	switch e.Kind {
	case eventForeign:
		store.set("somebody's", true)
	case eventRevert:
		store.set(w.made[0].value, true)
	case eventRestart:
		if consumer != nil {
			consumer.load(store.foreign)
		}
	case eventStuck, eventFree:
		if consumer != nil {
			consumer.stuck = e.Kind == eventStuck
		}
	case eventRemove, eventReload:
		w.gone = e.Kind == eventRemove
		w.wasGone = w.wasGone || w.gone
	case eventKill:
		_ = w.process.crash()
	case eventLeak, eventStop, eventDecide, eventHelp:
	}
	w.mu.Unlock()
	switch e.Kind {
	case eventRemove, eventReload:
		w.hear(w.process.Reload(ctx, w.tokens(w.process)))
	case eventLeak:
		w.open(rotator.Leak)
	case eventStop:
		w.restart(w.spec.Downtime)
	case eventDecide:
		if open := w.opens(); len(open) > 0 {
			decision := []rotator.Decision{rotator.Resume, rotator.Retry, rotator.Abort, rotator.Approve}[e.N%4]
			if status, err := w.process.Rotation(ctx, open[0].ID); err == nil && status.Hold != nil && decision == rotator.Approve {
				w.mu.Lock()
				w.deleteNamed(status.Hold.Text) // nobody approves a lie
				w.mu.Unlock()
			}
			w.hear(w.process.Decide(ctx, open[0].ID, decision, "ana", "because"))
		}
	case eventHelp:
		if open := w.opens(); len(open) > 0 {
			w.help(open[0].ID, 0)
		}
	default:
	}
}

// repair ends all trouble.
func (w *simWorld) repair() {
	w.mu.Lock()
	w.note("REPAIR")
	w.calm, w.gone = true, false
	for _, c := range w.consumers {
		c.stuck = false
	}
	w.mu.Unlock()
	_ = w.process.Reload(context.Background(), w.tokens(w.process))
}

// help does what the rotation says that a person must do.
func (w *simWorld) help(id string, round int) {
	ctx := context.Background()
	status, err := w.process.Rotation(ctx, id)
	if err != nil || status.Hold == nil {
		return
	}
	text := status.Hold.Text
	w.mu.Lock()
	w.note("HELP %s: %s", status.Hold.Kind, text)
	switch status.Hold.Kind {
	case rotator.AskProvide:
		made := w.create("by hand " + rotator.Marker(tokenName, id))
		w.mu.Unlock()
		_, err := w.process.Provide(ctx, rotator.Provision{Token: tokenName, Value: rotator.NewSecret(made.value), By: "ana"})
		w.hear(err)
		return
	case rotator.AskDelete, rotator.HoldInDoubt, rotator.HoldUnconfirmed:
		w.deleteNamed(text)
	default:
	}
	if s, ok := w.state(); ok && w.calm && s.Course == rotator.RollBack { // they mend what somebody wrote
		if old := w.find(func(c *simCredential) bool { return rotator.FingerprintOf(c.value) == s.Old.Fingerprint }); old != nil {
			for _, store := range w.stores {
				if store.foreign || store.value == nil {
					store.set(old.value, false)
				}
			}
		}
	}
	for _, c := range w.consumers { // a person restarts what does not come up
		c.load(false)
	}
	w.mu.Unlock()
	offered := []rotator.Decision{}
	for _, d := range []rotator.Decision{rotator.Approve, rotator.Retry, rotator.Resume, rotator.Abort} {
		if strings.Contains(text, string(d)) && (d != rotator.Abort || !w.last) {
			offered = append(offered, d)
		}
	}
	if status.Status != rotator.Held {
		return
	}
	if len(offered) == 0 {
		w.fail("the hold does not say what releases it: %s", text)
		return
	}
	for _, d := range offered {
		if s, ok := w.locked(); ok && rotator.CanDecide(s, d) != nil {
			w.fail("the hold %s offers %s, which is refused: %v: %s (%s/%s)", status.Hold.Kind, d, rotator.CanDecide(s, d), text, s.Course, s.Step)
		}
	}
	if err := w.process.Decide(ctx, id, offered[round%len(offered)], "ana", "because"); err != nil {
		w.hear(err)
	}
}

// opens lists what is open.
func (w *simWorld) opens() []rotator.Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	open, err := w.disk.OpenRotations(context.Background())
	if err != nil {
		w.breaks("journal: %v", err)
	}
	return open
}

func (w *simWorld) locked() (rotator.State, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state()
}

// deleteNamed deletes at the service what a text names: by ID, fingerprint or marker.
func (w *simWorld) deleteNamed(text string) {
	_, keep, _ := strings.Cut(text, "end all but")
	for _, c := range w.made {
		if keep != "" && (strings.Contains(keep, fmt.Sprintf("%q", c.id)) || strings.Contains(keep, string(rotator.FingerprintOf(c.value)))) {
			continue
		}
		named := strings.Contains(text, "used before") && c == w.made[0] || strings.Contains(text, fmt.Sprintf("%q", c.id)) || strings.Contains(text, string(rotator.FingerprintOf(c.value))) ||
			strings.Contains(text, fmt.Sprintf("%q", c.name)) && strings.HasPrefix(c.name, rotator.MarkerPrefix(tokenName))
		if named && c.live {
			w.note("a person deletes %s", c.id)
			c.live, c.killed = false, true
		}
	}
}
