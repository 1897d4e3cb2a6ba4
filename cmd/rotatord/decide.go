package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

// decideCommands are resume, retry, abort and approve: four words for one act.
func (a *app) decideCommands() []*cobra.Command {
	return []*cobra.Command{
		a.decideCommand(rotator.Resume, "Let a held rotation look again and go on",
			"resume lets a held rotation look again and go on from the same step, once what held it is mended."),
		a.decideCommand(rotator.Retry, "Let a held rotation act again",
			"retry does once more what led to the hold: it writes the store, restarts the consumers or calls the issuer again."),
		a.decideCommand(rotator.Abort, "Undo a rotation, if nothing was revoked yet",
			"abort puts the old credential back and revokes the new one. After the old one was revoked it is refused, and so it is for a leak."),
		a.decideCommand(rotator.Approve, "Say yes to what a held rotation asks",
			"approve says yes to what a held rotation asks: to overwrite what somebody else wrote, or that a credential is gone.\nNo approval stands in for a probe's evidence."),
	}
}

func (a *app) decideCommand(d rotator.Decision, short, long string) *cobra.Command {
	var why string
	var wait bool
	cmd := &cobra.Command{
		Use: string(d) + " ROTATION", Short: short,
		Long: long + "\n\nROTATION is the ID of a rotation, or the name of a token whose open rotation is meant.",
		Args: args(1, 1, "the ID of a rotation, or the name of a token"), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, args []string) error {
			return a.with(ctx, string(d), toAct, func(s *session) error {
				id, err := rotationOf(ctx, s, args[0])
				if err != nil {
					return err
				}
				r, err := s.Decide(ctx, id, d, why)
				if err != nil {
					return err
				}
				wanted := []rotator.Status{rotator.Done}
				if d == rotator.Abort {
					wanted = append(wanted, rotator.Aborted)
				}
				return a.goOn(ctx, s, r, wait, wanted...)
			})
		}),
	}
	cmd.Flags().StringVar(&why, "why", "", "a sentence for the journal")
	cmd.Flags().BoolVar(&wait, "wait", false, "show the rotation until it has ended or needs a person")
	a.outputFlag(cmd)
	return cmd
}

// goOn follows a rotation about which a person just decided: in this process
// that is what makes it go, after the decision and not before; a daemon goes on
// by itself.
func (a *app) goOn(ctx context.Context, s *session, r server.Rotation, wait bool, wanted ...rotator.Status) error {
	if s.daemon && !wait {
		if a.json() {
			return printJSON(a.out, r)
		}
		printf(a.out, "%s: rotation %s goes on; `rotatord status %s` shows how\n", clean(r.Token), clean(r.ID), clean(r.Token))
		return nil
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	followed, err := a.follow(ctx, s, []server.Rotation{r})
	if err != nil {
		return err
	}
	return a.finish(followed, wanted...)
}

// rotationOf returns the rotation that is meant: the open one of a token of
// that name, else the name itself is taken for an ID.
func rotationOf(ctx context.Context, s *session, name string) (string, error) {
	open, err := openOf(ctx, s, name)
	switch {
	case err == nil && open != nil:
		return open.ID, nil
	case err == nil:
		return "", fmt.Errorf("find rotation: token %q has none that is open", name)
	case !errors.Is(err, rotator.ErrNotFound):
		return "", err
	}
	r, err := s.Rotation(ctx, name)
	if errors.Is(err, rotator.ErrNotFound) {
		return "", fmt.Errorf("find rotation: no token and no rotation is named %q", name)
	}
	return r.ID, err
}
