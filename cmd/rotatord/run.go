package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Rotate all that is due, then exit (for CronJobs and CI)",
		Long: `run starts a rotation of every token that is due, goes on with what is open,
and exits when each has ended or needs a person. It uses the daemon if one runs.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(ctx context.Context, _ []string) error {
			return a.with(ctx, "run", toRun, func(s *session) error { return a.runDue(ctx, s) })
		}),
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) runDue(ctx context.Context, s *session) error {
	_, failure := s.StartDue(ctx)
	tokens, err := s.Tokens(ctx)
	if err != nil {
		return err
	}
	var open []server.Rotation
	for _, t := range tokens {
		if t.Open != nil {
			open = append(open, *t.Open)
		}
	}
	if len(open) == 0 && !a.json() && failure == nil {
		printf(a.out, "nothing is due%s\n", nextDue(a, tokens))
		return nil
	}
	followed, err := a.follow(ctx, s, open)
	if err != nil {
		return err
	}
	return errorsFirst(failure, a.finish(followed, rotator.Done))
}

// nextDue names the token that is due first.
func nextDue(a *app, tokens []server.Token) string {
	var first *server.Token
	for i, t := range tokens {
		if t.Due != nil && (first == nil || t.Due.At.Before(first.Due.At)) {
			first = &tokens[i]
		}
	}
	if first == nil {
		return ""
	}
	return "; next is " + clean(first.Name) + ", " + dueText(*first, a.now())
}
