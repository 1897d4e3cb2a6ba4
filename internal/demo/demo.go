// Package demo shows the whole loop of rotatord on one machine, without any
// set-up: a simulated Instasent, a token in a file, a fleet of workers under
// load, a scheduled rotation and a leak.
//
// Only the service and the workers are made up. The configuration is a file
// that is loaded as any other; engine, journal, plug-ins and socket are those of
// the daemon. The package never leaves loopback and a temporary folder, and it
// is no part of the daemon: only the command and tests use it.
//
// To show one more thing, add an act to play and its words to narrator.go.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Options of the demo.
type Options struct {
	Workers  int       // 0: 8
	Keep     bool      // leave everything running until the context ends
	Out      io.Writer // where the demo tells what happens
	Terminal bool      // Out is a terminal: use colour
	Program  string    // how a person calls rotatord; empty: rotatord
}

// The made-up world.
const (
	tokenName  = "crm-sync"
	project    = "proj_demo"
	datasource = "ds_crm"
	storeKey   = "crm-token"
	oldAge     = 400 * 24 * time.Hour // of the credential that is there at the start
	firstLoad  = time.Second          // of calls before the first rotation
	actLimit   = time.Minute          // for one rotation: beyond it something is wrong
)

// ErrRefused means that workers were refused, which no rotation may cause.
var ErrRefused = errors.New("calls of the workers were refused")

// A report is what the demo's last table shows.
type report struct {
	tally
	rotations []rotator.Summary     // the closed ones, oldest first
	live      []rotator.Fingerprint // what the service accepts in the end
}

// Run plays the demo and prints it to o.Out. It is an error if a rotation did
// not end well, or if one call of a worker was refused.
func Run(ctx context.Context, o Options) error {
	_, err := run(ctx, o)
	return err
}

func run(ctx context.Context, o Options) (report, error) {
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Program == "" {
		o.Program = "rotatord"
	}
	tell := newNarrator(o.Out, o.Terminal)
	s, err := openStage(ctx, o.Workers)
	if err != nil {
		return report{}, fmt.Errorf("set up the demo: %w", err)
	}
	r, err := play(ctx, s, tell)
	if err == nil {
		err = r.verdict()
	}
	if err == nil && o.Keep {
		tell.keep(o.Program, s.configPath)
		<-ctx.Done()
		if r, err = s.report(context.WithoutCancel(ctx)); err == nil {
			tell.table(r)
			err = r.tally.verdict()
		}
	}
	return r, errors.Join(err, s.close(err != nil && ctx.Err() == nil))
}

// play is the plot: look around, adopt, a rotation that is due, a leak.
func play(ctx context.Context, s *stage, tell *narrator) (report, error) {
	tell.opening(s)
	if err := pause(ctx, firstLoad); err != nil {
		return report{}, err
	}
	adopted, err := s.engine.Adopt(ctx, rotator.Adoption{
		Token: tokenName, ID: s.firstID, IssuedAt: time.Now().Add(-oldAge), By: "demo",
	})
	if err != nil {
		return report{}, fmt.Errorf("adopt %s: %w", tokenName, err)
	}
	tell.adopted(adopted)

	tell.scene("A scheduled rotation: the token is 400 days old, and its max_age is 365 days")
	due, err := s.startDue(ctx)
	if err != nil {
		return report{}, err
	}
	if err := s.follow(ctx, tell, due); err != nil {
		return report{}, err
	}
	tell.scene("A leak: somebody has found the new token in a log file")
	id, err := s.engine.Rotate(ctx, rotator.RotateRequest{
		Token: tokenName, Reason: rotator.Leak, By: "demo", Why: "found in a log file",
	})
	if err != nil {
		return report{}, fmt.Errorf("rotate %s: %w", tokenName, err)
	}
	if err := s.follow(ctx, tell, id); err != nil {
		return report{}, err
	}
	r, err := s.report(ctx)
	if err != nil {
		return report{}, err
	}
	tell.table(r)
	return r, nil
}

// verdict is nil if the demo kept what rotatord promises.
func (r report) verdict() error {
	switch {
	case r.tally.verdict() != nil:
		return r.tally.verdict()
	case len(r.live) != 1 || r.live[0] != r.rotations[len(r.rotations)-1].New:
		return fmt.Errorf("the service accepts %d credentials in the end; want the last one alone", len(r.live))
	}
	return nil
}

func (t tally) verdict() error {
	switch {
	case t.refused > 0:
		return fmt.Errorf("%w: %d of %d", ErrRefused, t.refused, t.calls)
	case t.failed > 0:
		return fmt.Errorf("%d of %d calls of the workers failed otherwise", t.failed, t.calls)
	case t.calls == 0:
		return errors.New("the workers made no call")
	}
	return nil
}

// pause waits, or returns why the context ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
