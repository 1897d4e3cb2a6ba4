package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) historyCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "history [TOKEN|ROTATION]", Short: "Show past and open rotations, or each entry of one",
		Long: `history lists the rotations of a token, or of all, the newest last. With the ID
of a rotation it lists what the journal has of it, entry by entry: what was
about to be done, what came of it, and the evidence. It reads the journal beside
a running daemon.`,
		Args: args(0, 1, ""), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, args []string) error {
			if limit < 0 {
				return usage(errors.New("history: --limit can't be negative"))
			}
			name := strings.Join(args, "")
			return a.withJournal(ctx, func(j *journal.Journal) error { return a.history(ctx, j, name, limit) })
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many of the newest rotations; 0: all")
	a.outputFlag(cmd)
	return cmd
}

// withJournal runs f on the journal, open to read beside whoever owns it.
func (a *app) withJournal(ctx context.Context, f func(*journal.Journal) error) error {
	built, err := a.load(ctx)
	if err != nil {
		return err
	}
	j, found, err := readJournal(ctx, built.State)
	if err != nil {
		return err
	}
	if !found {
		return failed(fmt.Errorf("read journal: there is none yet at %q", built.State.SQLitePath()),
			"it is made by the first `rotatord serve`, `rotatord rotate` or `rotatord run`")
	}
	err = f(j)
	if closed := j.Close(); err == nil { //nolint:contextcheck // closing is not cut short
		err = closed
	}
	return err
}

func (a *app) history(ctx context.Context, j *journal.Journal, name string, limit int) error {
	if name != "" {
		entries, err := j.Entries(ctx, name)
		if err == nil {
			return a.printEntries(entries)
		}
		if !errors.Is(err, rotator.ErrNotFound) {
			return err
		}
	}
	found, err := j.Rotations(ctx, name, limit)
	if err != nil {
		return err
	}
	rotations := make([]server.Rotation, len(found))
	for i, r := range found {
		rotations[len(found)-1-i] = server.SummaryOf(r)
	}
	if name != "" && len(rotations) == 0 {
		if _, err := j.Token(ctx, name); errors.Is(err, rotator.ErrNotFound) {
			return fmt.Errorf("read history: no token and no rotation is named %q", name)
		}
	}
	if a.json() {
		return printJSON(a.out, struct {
			Rotations []server.Rotation `json:"rotations"`
		}{rotations})
	}
	a.printHistory(rotations)
	return nil
}

func (a *app) printHistory(rotations []server.Rotation) {
	if len(rotations) == 0 {
		printf(a.out, "no rotations yet\n")
		return
	}
	list := table{}
	list.row("OPENED", "TOKEN", "ROTATION", "REASON", "STATUS", "TOOK", "DEAD AFTER", "DETAIL")
	for _, r := range rotations {
		list.row(moment(r.OpenedAt), r.Token, r.ID, string(r.Reason), string(r.Status), took(r), deadText(r), r.Detail)
	}
	list.print(a.out)
}

func took(r server.Rotation) string {
	if r.OpenedAt == nil || r.ClosedAt == nil {
		return ""
	}
	return length(r.ClosedAt.Sub(*r.OpenedAt))
}

// entryLine is an entry of `history ROTATION -o json`; `audit export` has
// everything, with the hashes.
type entryLine struct {
	Seq  int64             `json:"seq"`
	At   time.Time         `json:"at"`
	Kind rotator.EntryKind `json:"kind"`
	Step rotator.Step      `json:"step"`
	What string            `json:"what"`
}

func (a *app) printEntries(entries []rotator.Entry) error {
	lines := make([]entryLine, 0, len(entries))
	for _, e := range entries {
		lines = append(lines, entryLine{Seq: e.Seq, At: e.At.UTC(), Kind: e.Kind, Step: e.Step, What: entryText(e)})
	}
	if a.json() {
		return printJSON(a.out, struct {
			Entries []entryLine `json:"entries"`
		}{lines})
	}
	list := table{}
	list.row("SEQ", "AT", "KIND", "STEP", "WHAT")
	for _, l := range lines {
		list.row(fmt.Sprint(l.Seq), moment(&l.At), string(l.Kind), string(l.Step), l.What)
	}
	list.print(a.out)
	return nil
}

// entryText is what an entry says, in a line.
func entryText(e rotator.Entry) string {
	var parts []string
	add := func(label, text string) {
		if text != "" {
			parts = append(parts, strings.TrimSpace(label+" "+text))
		}
	}
	add("", e.Target)
	if e.Attempt > 1 {
		add("attempt", fmt.Sprint(e.Attempt))
	}
	add("", string(e.Reason))
	add("", string(e.Trigger))
	add("", string(e.Decision))
	add("", string(e.Status))
	if c := e.Credential; c != nil && c.Known() {
		add("credential", strings.TrimSpace(string(c.Fingerprint)+" "+c.ID))
	}
	add("fingerprint", string(e.Fingerprint))
	add("version", e.Version)
	add("", string(e.Verdict))
	for _, o := range e.Observations {
		add("", observationText(o))
	}
	if e.Hold != nil {
		add("", e.Hold.Text)
	}
	add("by", e.By)
	add("", e.Why)
	add("error:", e.Err)
	return strings.Join(parts, "; ")
}

func observationText(o rotator.Observation) string {
	if o.Err != "" {
		return o.Probe + " can't tell: " + o.Err
	}
	parts := []string{o.Probe, string(o.Finding.Health), o.Finding.Target, string(o.Finding.Seen), o.Finding.Detail}
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), " ")
}
