package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) rotateCommand() *cobra.Command {
	var reason, why string
	var wait bool
	cmd := &cobra.Command{
		Use: "rotate TOKEN…", Short: "Rotate tokens now",
		Long: `rotate starts a rotation of each token, or goes on with the one that is open.
With reason leak, an open rotation becomes a leak.

If a daemon runs, it does the work, and --wait shows how it goes. Otherwise this
process does it under the journal's lock, until each rotation has ended or needs
a person; what an interrupted process left open is taken up as well.`,
		Args: args(1, -1, "the name of a token"), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, names []string) error {
			return a.with(ctx, "rotate", toRun, func(s *session) error {
				started, failures := a.startAll(ctx, s, names, rotator.Reason(reason), why)
				if wait || !s.daemon {
					followed, err := a.follow(ctx, s, started)
					if err != nil {
						return err
					}
					started = followed
				}
				return errorsFirst(failures, a.finish(started, rotator.Done))
			})
		}),
	}
	words := []string{string(rotator.Manual), string(rotator.Leak), string(rotator.Offboarding), string(rotator.Scheduled), string(rotator.Expiry)}
	cmd.Flags().Var(choice(&reason, words...), "reason", "why: "+string(rotator.Leak)+" never waits and revokes at its deadline")
	complete(cmd, "reason", words...)
	cmd.Flags().StringVar(&why, "why", "", "a sentence for the journal")
	cmd.Flags().BoolVar(&wait, "wait", false, "show the rotation until it has ended or needs a person")
	a.outputFlag(cmd)
	return cmd
}

// startAll opens the rotations; one that is open already is taken instead.
func (a *app) startAll(ctx context.Context, s *session, names []string, reason rotator.Reason, why string) ([]server.Rotation, error) {
	var started []server.Rotation
	var failures []error
	for _, name := range unique(names) {
		r, err := s.Rotate(ctx, name, reason, why)
		if errors.Is(err, rotator.ErrConflict) {
			var open *server.Rotation
			if open, err = openOf(ctx, s, name); err == nil && open == nil {
				err = fmt.Errorf("rotate token %q: another rotation ended just now: %w", name, rotator.ErrConflict)
			}
			if err == nil {
				r = *open
				a.note("%s: rotation %s (%s) is open already: going on with it", r.Token, r.ID, r.Reason)
			}
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		started = append(started, r)
	}
	return started, errors.Join(failures...)
}

// note tells a person something beside the data.
func (a *app) note(format string, args ...any) {
	printf(a.errOut, "%s\n", clean(fmt.Sprintf(format, args...)))
}

// openOf returns the open rotation of a token, or nil.
func openOf(ctx context.Context, s *session, token string) (*server.Rotation, error) {
	found, err := s.Tokens(ctx, token)
	if err != nil {
		return nil, err
	}
	for _, t := range found {
		if t.Name == token {
			return t.Open, nil
		}
	}
	return nil, nil
}

func unique(names []string) []string {
	seen := map[string]bool{}
	var kept []string
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			kept = append(kept, name)
		}
	}
	return kept
}

// errorsFirst joins what could not be started with how the others ended; the
// former makes it a failure.
func errorsFirst(start, end error) error {
	var f *failure
	switch {
	case start == nil:
		return end
	case errors.As(end, &f):
		return failed(errors.Join(start, end), f.hints...)
	case end != nil:
		return errors.Join(start, end)
	}
	return start
}
