package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status [TOKEN…]", Short: "Show tokens, their age, when they are due, and open rotations",
		Long: `status shows the tokens with the age of their credential, when they are due,
and the rotation that is open, if one is: its step, and who is awaited.
It asks the daemon, or reads the journal when none runs.`,
		Args: args(0, -1, ""), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, names []string) error {
			return a.with(ctx, "status", toRead, func(s *session) error {
				tokens, err := s.Tokens(ctx, names...)
				if err != nil {
					return err
				}
				if a.json() {
					return printJSON(a.out, statusOf(tokens))
				}
				printStatus(a.out, tokens, a.now())
				return nil
			})
		}),
	}
	a.outputFlag(cmd)
	return cmd
}

// The shape of `status -o json` is a contract: scripts read it. Times are
// RFC 3339 in UTC; what is not known is null.
type (
	statusList struct {
		Tokens []statusToken `json:"tokens"`
	}
	statusToken struct {
		Name         string          `json:"name"`
		Issuer       string          `json:"issuer"`
		Fingerprint  *string         `json:"fingerprint"`
		IssuedAt     *time.Time      `json:"issued_at"`
		DueAt        *time.Time      `json:"due_at"`
		LastRotation *statusLast     `json:"last_rotation"`
		Rotation     *statusRotation `json:"rotation"`
		WriteOnly    []string        `json:"write_only_stores"` // they can't be read back
	}
	statusLast struct {
		ID               string         `json:"id"`
		Reason           rotator.Reason `json:"reason"`
		Status           rotator.Status `json:"status"`
		OpenedAt         *time.Time     `json:"opened_at"`
		ClosedAt         *time.Time     `json:"closed_at"`
		OldFingerprint   *string        `json:"old_fingerprint"`
		NewFingerprint   *string        `json:"new_fingerprint"`
		DeadAfterSeconds *float64       `json:"dead_after_seconds"`
		Detail           *string        `json:"detail"`
	}
	statusRotation struct {
		ID         string           `json:"id"`
		Reason     rotator.Reason   `json:"reason"`
		Step       *string          `json:"step"`
		Status     rotator.Status   `json:"status"`
		StartedAt  *time.Time       `json:"started_at"`
		DeadlineAt *time.Time       `json:"deadline_at"`
		Awaited    []server.Awaited `json:"awaited"`
		Hold       *string          `json:"hold"`
	}
)

func statusOf(tokens []server.Token) statusList {
	list := statusList{Tokens: make([]statusToken, 0, len(tokens))}
	for _, t := range tokens {
		shown := statusToken{Name: t.Name, Issuer: t.Issuer, WriteOnly: append([]string{}, t.Blind...)}
		if t.Current != nil {
			shown.Fingerprint, shown.IssuedAt = known(t.Current.Fingerprint), toSecond(t.Current.IssuedAt)
		}
		if t.Due != nil {
			shown.DueAt = toSecond(&t.Due.At)
		}
		if last := t.Last; last != nil {
			shown.LastRotation = &statusLast{
				ID: last.ID, Reason: last.Reason, Status: last.Status,
				OpenedAt: toSecond(last.OpenedAt), ClosedAt: toSecond(last.ClosedAt),
				OldFingerprint: known(last.Old), NewFingerprint: known(last.New),
				DeadAfterSeconds: last.DeadSeconds, Detail: known(last.Detail),
			}
		}
		if open := t.Open; open != nil {
			shown.Rotation = &statusRotation{
				ID: open.ID, Reason: open.Reason, Step: known(open.Step), Status: open.Status,
				StartedAt: toSecond(open.StartedAt), DeadlineAt: toSecond(open.DeadlineAt),
				Awaited: append([]server.Awaited{}, open.Awaited...),
			}
			if open.Hold != nil {
				shown.Rotation.Hold = &open.Hold.Text
			}
		}
		list.Tokens = append(list.Tokens, shown)
	}
	return list
}

// known is nil for an empty text.
func known[T ~string](text T) *string {
	if text == "" {
		return nil
	}
	plain := string(text)
	return &plain
}

func printStatus(w io.Writer, tokens []server.Token, now time.Time) {
	if len(tokens) == 0 {
		printf(w, "no tokens are configured\n")
		return
	}
	list := table{}
	list.row("TOKEN", "ISSUER", "FINGERPRINT", "AGE", "DUE", "ROTATION")
	for _, t := range tokens {
		fingerprint, age := "", ""
		if t.Current != nil {
			fingerprint = string(t.Current.Fingerprint)
			if t.Current.IssuedAt != nil {
				age = length(now.Sub(*t.Current.IssuedAt))
			}
		}
		list.row(t.Name, t.Issuer, fingerprint, age, dueText(t, now), openText(t.Open))
	}
	list.print(w)
	for _, t := range tokens {
		if t.Paused {
			printf(w, "\n%s: %s in a row failed; none is started by the schedule until one succeeds\n",
				clean(t.Name), counted(t.Failures, "scheduled rotation"))
		}
		for _, store := range t.Blind {
			printf(w, "\n%s: store %s can't be read back; the evidence of a write is its version and time\n", clean(t.Name), clean(store))
		}
		if t.Open != nil {
			printf(w, "\n")
			printOpen(w, *t.Open, now)
		}
	}
}

func dueText(t server.Token, now time.Time) string {
	switch {
	case t.Due == nil:
		return ""
	case t.Due.At.After(now):
		return "in " + length(t.Due.At.Sub(now))
	}
	return length(now.Sub(t.Due.At)) + " ago"
}

func openText(r *server.Rotation) string {
	if r == nil {
		return ""
	}
	return strings.TrimSpace(string(r.Step) + " " + string(r.Status))
}

// printOpen tells of an open rotation what a person wants to know.
func printOpen(w io.Writer, r server.Rotation, now time.Time) {
	printf(w, "%s: rotation %s (%s)%s is %s%s%s\n", clean(r.Token), clean(r.ID), r.Reason,
		courseText(r.Course), r.Status, atStep(r), leftText(r, now))
	for _, awaited := range stragglers(r) {
		printf(w, "  awaits   %s\n", awaitedText(awaited))
	}
	if r.LastError != "" {
		printf(w, "  error    %s\n", clean(r.LastError))
	}
	if r.Hold != nil {
		printf(w, "  %-7s  %s\n", r.Status, clean(r.Hold.Text))
		for _, hint := range nextSteps(r) {
			printf(w, "  next     %s\n", clean(hint))
		}
	}
}

func atStep(r server.Rotation) string {
	if r.Step == "" {
		return ""
	}
	return " at " + string(r.Step)
}

func courseText(c rotator.Course) string {
	switch c {
	case rotator.RollBack:
		return ", rolling back,"
	case rotator.RevokeFirst:
		return ", revoke first,"
	case rotator.ReplaceFirst:
	}
	return ""
}

func leftText(r server.Rotation, now time.Time) string {
	switch {
	case r.DeadlineAt == nil || r.Status.Final():
		return ""
	case r.DeadlineAt.After(now):
		return ", " + length(r.DeadlineAt.Sub(now)) + " left"
	}
	return ", deadline passed " + length(now.Sub(*r.DeadlineAt)) + " ago"
}

func awaitedText(a server.Awaited) string {
	text := clean(strings.TrimSpace(a.Probe + " " + a.Target))
	if a.Detail != "" {
		text += ": " + clean(a.Detail)
	}
	return text
}
