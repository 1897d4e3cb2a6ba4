package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/server"
)

func (a *app) sweepCommand() *cobra.Command {
	var apply bool
	cmd := &cobra.Command{
		Use: "sweep TOKEN", Short: "Find credentials at the issuer that nobody owns",
		Long: `sweep lists the credentials at the issuer that no journal entry owns. With
--apply it ends those that carry the token's marker (rotatord/TOKEN/…), and no
others: rotatord never deletes what it did not make.`,
		Args: args(1, 1, "the name of a token"), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, args []string) error {
			return a.with(ctx, "sweep", toAct, func(s *session) error {
				orphans, err := s.Sweep(ctx, args[0], apply)
				if err != nil {
					return err
				}
				if a.json() {
					err = printJSON(a.out, struct {
						Orphans []server.Orphan `json:"orphans"`
					}{append([]server.Orphan{}, orphans...)})
				} else {
					a.printOrphans(args[0], orphans, apply)
				}
				if err == nil {
					err = sweepError(args[0], orphans)
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "end the credentials that carry the token's marker")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printOrphans(token string, orphans []server.Orphan, apply bool) {
	if len(orphans) == 0 {
		printf(a.out, "%s: nothing to sweep: every credential at the issuer has an owner\n", clean(token))
		return
	}
	list := table{}
	list.row("ID", "NAME", "ISSUED", "LAST USED", "STATE")
	ours := 0
	for _, o := range orphans {
		state := "not ours, left alone"
		switch {
		case o.Error != "":
			state = "not ended: " + o.Error
		case o.Ended:
			state = "ended"
		case o.Ours:
			state = "ours"
			ours++
		}
		list.row(o.Credential.ID, o.Credential.Name, moment(o.Credential.IssuedAt), moment(o.Credential.LastUsedAt), state)
	}
	list.print(a.out)
	if ours > 0 && !apply {
		a.note("hint: `rotatord sweep %s --apply` ends what is ours", token)
	}
}

func sweepError(token string, orphans []server.Orphan) error {
	left := 0
	for _, o := range orphans {
		if o.Error != "" {
			left++
		}
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("sweep token %q: %s could not be ended", token, counted(left, "credential"))
}
