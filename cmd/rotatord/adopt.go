package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) adoptCommand() *cobra.Command {
	var id, issuedAt string
	cmd := &cobra.Command{
		Use: "adopt TOKEN", Short: "Take a credential that already exists as the current one",
		Long: `adopt takes the credential that the token's stores hold as its current one, so
that the next rotation can revoke it. --id is its ID at the issuer; without it,
rotatord looks for it there.`,
		Args: args(1, 1, "the name of a token"), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, args []string) error {
			at, err := parseDay(issuedAt)
			if err != nil {
				return err
			}
			return a.with(ctx, "adopt", toAct, func(s *session) error {
				adopted, err := s.Adopt(ctx, args[0], id, at)
				if err != nil {
					return err
				}
				if a.json() {
					return printJSON(a.out, adopted)
				}
				printf(a.out, "%s: adopted the credential with fingerprint %s, ID %s, issued %s\n", clean(args[0]),
					adopted.Fingerprint, dash(clean(adopted.ID)), dash(moment(adopted.IssuedAt)))
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&id, "id", "", "the credential's ID at the issuer")
	cmd.Flags().StringVar(&issuedAt, "issued-at", "", "when it was issued, as 2026-01-31 or 2026-01-31T10:00:00Z: its age counts from then")
	a.outputFlag(cmd)
	return cmd
}

// parseDay reads a day or a moment; an empty text is the zero time.
func parseDay(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usage(errors.New("adopt: --issued-at is no date"), "write it as 2026-01-31 or 2026-01-31T10:00:00Z")
}
