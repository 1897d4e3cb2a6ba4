package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/journal"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Check or export the journal",
		Long: `audit works on the journal, which is the audit log: append-only, each entry
chained to the one before by its hash. It reads, also beside a running daemon.`,
		Args: func(*cobra.Command, []string) error {
			return usage(errors.New("audit: say what to do: verify or export"), "see `rotatord audit --help`")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(a.verifyCommand(), a.exportCommand())
	return cmd
}

func (a *app) verifyCommand() *cobra.Command {
	var noted string
	cmd := &cobra.Command{
		Use: "verify", Short: "Find a changed, missing or reordered entry",
		Long: `verify reads the whole journal and finds the first entry that was changed,
removed, added or moved. It prints the head: note it elsewhere and give it to a
later verify with --head, which then also finds a journal that was written anew
as a whole.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(ctx context.Context, _ []string) error {
			var head journal.Head
			if noted != "" {
				var err error
				if head, err = journal.ParseHead(noted); err != nil {
					return usage(err)
				}
			}
			return a.withJournal(ctx, func(j *journal.Journal) error {
				report, err := j.Verify(ctx, head)
				if err != nil {
					return err
				}
				if a.json() {
					return printJSON(a.out, struct {
						OK      bool   `json:"ok"`
						Entries int64  `json:"entries"`
						Head    string `json:"head"`
					}{true, report.Entries, report.Head.String()})
				}
				entries := "1 entry"
				if report.Entries != 1 {
					entries = counted(int(report.Entries), "entrie")
				}
				printf(a.out, "ok: %s\nhead: %s\n", entries, report.Head)
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&noted, "head", "", "the head that an earlier verify printed")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) exportCommand() *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the journal as JSON, an entry a line",
		Long: `export writes the journal's entries in order, one JSON object a line, with
their hashes. No entry ever holds a credential's value.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(ctx context.Context, _ []string) error {
			return a.withJournal(ctx, func(j *journal.Journal) error { return j.Export(ctx, a.out, token) })
		}),
	}
	cmd.Flags().StringVar(&token, "token", "", "only the entries of this token")
	return cmd
}
