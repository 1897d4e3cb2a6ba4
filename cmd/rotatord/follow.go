package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

// follow shows rotations until each is final or needs a person, and returns
// them as they are then, in the same order.
func (a *app) follow(ctx context.Context, s *session, rotations []server.Rotation) ([]server.Rotation, error) {
	shown := a.newView(ctx)
	last := make([]server.Rotation, len(rotations))
	errs := make([]error, len(rotations))
	var all sync.WaitGroup
	for i, r := range rotations {
		shown.see(r)
		all.Go(func() {
			last[i], errs[i] = a.watch(ctx, s, r, shown.see)
		})
	}
	all.Wait()
	shown.end()
	return last, errors.Join(errs...)
}

// watch follows one rotation, and the leak that follows it, if one does.
func (a *app) watch(ctx context.Context, s *session, r server.Rotation, see func(server.Rotation)) (server.Rotation, error) {
	for {
		last, err := s.Watch(ctx, r.ID, see)
		if err != nil {
			return r, watchError(ctx, s, r, err)
		}
		see(last)
		if !last.FollowUp || !last.Status.Final() {
			return last, nil
		}
		next, err := openOf(ctx, s, r.Token)
		if err != nil || next == nil {
			return last, err
		}
		r = *next
	}
}

// watchError says how a rotation goes on whose watch ended before it did.
func watchError(ctx context.Context, s *session, r server.Rotation, err error) error {
	switch {
	case ctx.Err() == nil:
		return fmt.Errorf("watch rotation %s of token %q: %w", r.ID, r.Token, err)
	case s.daemon:
		return failed(fmt.Errorf("watch rotation %s of token %q: interrupted", r.ID, r.Token),
			"the daemon goes on with it; `rotatord status "+r.Token+"` shows how")
	}
	return failed(fmt.Errorf("rotate token %q: interrupted; what was done is in the journal", r.Token),
		"`rotatord run` goes on with rotation "+r.ID+", and so does `rotatord serve`")
}

// finish prints how rotations stand and turns that into the exit code: any
// that failed makes 1, else any that needs a person makes 3. wanted are the
// ends that are no failure.
func (a *app) finish(rotations []server.Rotation, wanted ...rotator.Status) error {
	if a.json() {
		list := struct {
			Rotations []server.Rotation `json:"rotations"`
		}{append([]server.Rotation{}, rotations...)}
		if err := printJSON(a.out, list); err != nil {
			return err
		}
	} else {
		printRotations(a, rotations)
	}
	var bad, held []error
	var hints []string
	for _, r := range rotations {
		switch {
		case slices.Contains(wanted, r.Status):
		case r.Status.Final():
			bad = append(bad, outcome(r, r.Detail))
		case r.NeedsPerson():
			held = append(held, outcome(r, r.Hold.Text))
			hints = append(hints, nextSteps(r)...)
		}
	}
	switch {
	case len(bad) > 0:
		return failed(errors.Join(append(bad, held...)...), hints...)
	case len(held) > 0:
		return &failure{err: errors.Join(held...), code: exitHeld, hints: hints}
	}
	return nil
}

func outcome(r server.Rotation, why string) error {
	text := fmt.Sprintf("rotate token %q: %s%s", r.Token, strings.ReplaceAll(string(r.Status), "_", " "), atStep(r))
	if why != "" {
		text += ": " + why
	}
	return errors.New(text)
}

func printRotations(a *app, rotations []server.Rotation) {
	if len(rotations) == 0 {
		return
	}
	list := table{}
	list.row("TOKEN", "ROTATION", "REASON", "STATUS", "STEP", "OLD", "NEW", "DEAD AFTER")
	for _, r := range rotations {
		step := string(r.Step)
		if r.Status.Final() {
			step = ""
		}
		list.row(r.Token, r.ID, string(r.Reason), string(r.Status), step, string(r.Old), string(r.New), deadText(r))
	}
	list.print(a.out)
}

// deadText is how long the old credential was accepted after its revoke.
func deadText(r server.Rotation) string {
	if r.DeadSeconds == nil {
		return ""
	}
	if dead := time.Duration(*r.DeadSeconds * float64(time.Second)); dead < time.Second {
		return dead.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.1fs", *r.DeadSeconds)
}
