package rotator

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// logEntry logs what was written to the journal: fixed messages, attributes
// with fingerprints, never values.
func (e *Engine) logEntry(ctx context.Context, s *State, entry Entry) {
	level, message := slog.LevelDebug, "entry"
	attrs := []slog.Attr{slog.String("token", s.Token), slog.String("rotation", s.ID)}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("step", string(entry.Step))
	add("target", entry.Target)
	switch entry.Kind {
	case EntryStarted:
		level, message = slog.LevelInfo, "rotation started"
		add("reason", string(s.Reason))
	case EntryOutcome, EntryRead, EntryChecked:
		message = "act " + string(entry.Kind)
		add("verdict", string(entry.Verdict))
		add("fingerprint", string(entry.Fingerprint))
		if entry.Kind == EntryOutcome {
			level = slog.LevelInfo
			if entry.Credential != nil {
				add("fingerprint", string(entry.Credential.Fingerprint))
			}
		}
		if entry.Err != "" {
			level = slog.LevelWarn
		}
	case EntryMoved:
		level, message = slog.LevelInfo, "rotation moved"
		add("trigger", string(entry.Trigger))
		add("why", entry.Why)
		add("to", string(s.Course)+"/"+string(s.Step))
	case EntryHeld, EntryAsked, EntryReminded:
		level, message = slog.LevelWarn, "rotation "+string(entry.Kind)
		if hold := s.waitsFor(); hold != nil {
			add("hold", string(hold.Kind))
			add("text", hold.Text)
		}
	case EntryDecided, EntryProvided, EntryEscalated:
		level, message = slog.LevelInfo, "rotation "+string(entry.Kind)
		add("decision", string(entry.Decision))
		add("by", entry.By)
		add("why", entry.Why)
	case EntryClosed:
		level, message = slog.LevelInfo, "rotation closed"
		add("status", string(entry.Status))
		add("why", entry.Why)
	case EntryOpened, EntryIntent, EntryObserved, EntryAdopted, EntrySeen, EntryReset, EntryRevoked:
		message = "entry " + string(entry.Kind)
	}
	add("err", entry.Err)
	e.Logger.LogAttrs(ctx, level, message, attrs...) //nolint:sloglint // one of the fixed messages above
}

// tellPeople sends the token's notifiers what they must know. It does not wait:
// no rotation depends on a chat.
func (e *Engine) tellPeople(s *State, entry Entry) {
	event, ok := eventOf(s, entry)
	if !ok {
		return
	}
	if s.Step == StepProbe || event.Kind == EventHeld {
		u, _ := e.setup(s.Token)
		event.Awaited = statusOf(s.clone(), u, entry.At).Awaited
	}
	e.notify(s.Token, event)
}

// notify sends an event to every notifier of a token, each with its own retries.
func (e *Engine) notify(token string, event Event) {
	t, err := e.token(token)
	if err != nil {
		return
	}
	for _, n := range t.Notifiers {
		e.tells.Go(func() { e.deliver(n, event) })
	}
}

const notifyTries = 8

func (e *Engine) deliver(n NotifyTarget, event Event) {
	a := act{engine: e, run: &run{}}
	for try := range notifyTries {
		err := a.call(e.tellCtx, e.ActTimeout, func(ctx context.Context) error { return n.Notifier.Notify(ctx, event) })
		if err == nil {
			return
		}
		last := try == notifyTries-1 || IsPermanent(err) || e.ctx.Err() != nil
		e.Logger.Warn("notification not delivered", "notifier", n.Name, "token", event.Token, "rotation", event.Rotation,
			"event", string(event.Kind), "final", last, "err", a.clean("", err))
		if last {
			return
		}
		pause := backOff(time.Second, try, maxPause)
		if at := RetryTime(err); time.Until(at) > pause {
			pause = time.Until(at)
		}
		select {
		case <-e.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// eventOf says what an entry means to people; ok false: nothing.
func eventOf(s *State, entry Entry) (Event, bool) {
	event := Event{
		ID: fmt.Sprintf("%s-%s-%d", s.ID, entry.Kind, entry.At.UnixNano()), At: entry.At, Token: s.Token, Rotation: s.ID,
		Reason: s.Reason, Step: s.Step, Status: s.Status(), Old: s.Old.Fingerprint, New: s.New.Fingerprint, Urgent: s.Policy.Loud,
	}
	say := func(kind EventKind, format string, args ...any) (Event, bool) {
		event.Kind, event.Summary = kind, fmt.Sprintf(format, args...)
		return event, true
	}
	if hold := s.waitsFor(); hold != nil {
		event.Detail, event.Awaited = hold.Text, hold.Awaited
	}
	switch entry.Kind {
	case EntryStarted:
		return say(EventStarted, "%s: rotation started (%s)", s.Token, s.Reason)
	case EntryAsked:
		return say(EventWaiting, "%s: rotation waits for a person", s.Token)
	case EntryHeld:
		return say(EventHeld, "%s: rotation held in step %s", s.Token, s.Step)
	case EntryReminded:
		return say(EventReminder, "%s: rotation still waits for a person in step %s", s.Token, s.Step)
	case EntryEscalated:
		return say(EventStarted, "%s: the open rotation is now a leak", s.Token)
	case EntryMoved:
		if entry.Trigger == TriggerDeadline {
			event.Urgent, event.Detail = true, lateAtDeadline(s)
			return say(EventHeld, "%s: %s; the old credential is revoked now", s.Token, entry.Why)
		}
	case EntryClosed:
		event.Detail = s.EndWhy
		kinds := map[Status]EventKind{Done: EventDone, RolledBack: EventRolledBack, Failed: EventFailed, Aborted: EventAborted}
		return say(kinds[s.Ending], "%s: rotation %s", s.Token, strings.ReplaceAll(string(s.Ending), "_", " "))
	default:
	}
	return Event{}, false
}

// lateAtDeadline says who was not ready when a leak's deadline passed.
func lateAtDeadline(s *State) string {
	var late []string
	for _, a := range awaitedStores(*s) {
		late = append(late, a.Target+": "+a.Detail)
	}
	for name, p := range s.Probes {
		if p.Last.Finding.Health != Healthy {
			a := awaitedOf(p.Last, name)
			late = append(late, orElse(a.Target, name)+": "+a.Detail)
		}
	}
	if len(late) == 0 {
		return ""
	}
	return "not ready: " + strings.Join(late, "; ")
}

// afterClose opens the leak that must follow at once, sets the next due date,
// and says when the schedule is paused.
func (e *Engine) afterClose(s State) {
	ctx := context.WithoutCancel(e.ctx) // a stop waits for it
	if s.FollowUp {
		req := RotateRequest{Token: s.Token, Reason: Leak, By: s.By, Why: "a leak was reported during rotation " + s.ID}
		if _, err := e.Rotate(ctx, req); err != nil {
			e.Logger.Error("leak not followed up yet; the due scan does it", "token", s.Token, "err", err)
		}
	}
	e.tasks.Go(func() { e.recordClosed(ctx, s) })
}

func (e *Engine) recordClosed(ctx context.Context, s State) {
	record, err := e.record(ctx, s.Token)
	t, tokenErr := e.token(s.Token)
	if tokenErr != nil {
		return // no longer configured
	}
	if err == nil {
		err = e.Journal.SetDue(ctx, map[string]time.Time{s.Token: dueTime(t.Schedule, record)})
	}
	if err != nil {
		e.Logger.Error("due date not recorded; the next start does it", "token", s.Token, "err", err)
	}
	if record.Failures == MaxFailures && s.Ending != Done {
		e.notify(s.Token, Event{
			ID: s.ID + "-paused", Kind: EventPaused, At: s.ClosedAt, Token: s.Token, Urgent: true,
			Summary: fmt.Sprintf("%s: no more scheduled rotations after %d failures", s.Token, MaxFailures), Detail: s.EndWhy,
		})
	}
}
