package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) planCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "plan [TOKEN…]", Short: "Show what a rotation would do, call by call",
		Long: `plan shows what a rotation would do, call by call, and from where on it can no
longer be undone. It reads, and changes nothing.`,
		Args: args(0, -1, ""), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, names []string) error {
			return a.with(ctx, "plan", toRead, func(s *session) error {
				plans, err := plansOf(ctx, s, unique(names), rotator.Reason(reason))
				if err != nil {
					return err
				}
				if a.json() {
					return printJSON(a.out, struct {
						Plans []server.Plan `json:"plans"`
					}{plans})
				}
				for i, p := range plans {
					if i > 0 {
						printf(a.out, "\n")
					}
					a.printPlan(p)
				}
				return nil
			})
		}),
	}
	words := []string{string(rotator.Manual), string(rotator.Scheduled), string(rotator.Expiry), string(rotator.Offboarding), string(rotator.Leak)}
	cmd.Flags().Var(choice(&reason, words...), "reason", "plan a rotation for this reason")
	complete(cmd, "reason", words...)
	a.outputFlag(cmd)
	return cmd
}

func plansOf(ctx context.Context, s *session, names []string, reason rotator.Reason) ([]server.Plan, error) {
	if len(names) == 0 {
		tokens, err := s.Tokens(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range tokens {
			names = append(names, t.Name)
		}
	}
	plans := make([]server.Plan, 0, len(names))
	for _, name := range names {
		plan, err := s.Plan(ctx, name, reason)
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

func (a *app) printPlan(p server.Plan) {
	printf(a.out, "%s: a rotation with reason %s\n", clean(p.Token), p.Reason)
	current := "not known yet"
	if c := p.Current; c != nil {
		current = "fingerprint " + dash(string(c.Fingerprint)) + ", ID " + dash(clean(c.ID)) + ", issued " + dash(moment(c.IssuedAt))
	}
	printf(a.out, "current credential: %s\n", current)
	deadline := ""
	if p.Policy.Deadline != "" {
		deadline = " after " + p.Policy.Deadline
	}
	printf(a.out, "policy: %s; deadline%s: %s; unhealthy: %s\n\n", p.Policy.Course, deadline, p.Policy.OnDeadline, p.Policy.OnUnhealthy)
	list := table{}
	list.row(" ", "STEP", "TARGET", "CALL")
	for _, line := range p.Lines {
		mark := " "
		switch {
		case line.NoReturn:
			mark = "!"
		case line.Effect:
			mark = "*"
		}
		list.row(mark, string(line.Step), line.Target, line.Text)
	}
	list.print(a.out)
	printf(a.out, "\n* changes something outside   ! and from here on it can't be undone\n")
	for _, unknown := range p.Unknowns {
		printf(a.out, "not known beforehand: %s\n", clean(unknown))
	}
}
