package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Run the daemon: schedule, engine and API",
		Long: `serve rotates what is due, goes on with what is open, and answers the other
commands on a socket beside the database. server.listen has /healthz, /readyz
and /metrics.

SIGTERM and SIGINT stop it cleanly: what is under way is taken up at the next
start. SIGHUP reloads the configuration; one with mistakes is logged and the old
one stays.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(ctx context.Context, _ []string) error {
			err := a.serve(ctx)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // told to stop before it was up
			}
			return err
		}),
	}
}

// daemon is a running serve.
type daemon struct {
	app     *app
	built   *config.Built
	level   *slog.LevelVar
	log     *slog.Logger
	journal *journal.Journal
	engine  *rotator.Engine
	metrics *server.Metrics
	ready   atomic.Bool
}

func (a *app) serve(ctx context.Context) error {
	started := a.now()
	hangup := make(chan os.Signal, 1) // before all else: an early SIGHUP must not end the process
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	built, err := a.load(ctx)
	if err != nil {
		return err
	}
	if err := server.CheckSocketPath(socketPath(built.State)); err != nil {
		return err
	}
	d := &daemon{app: a, built: built, level: &slog.LevelVar{}}
	d.level.Set(built.Log.Level)
	d.log = newLogger(a.errOut, built.Log, d.level)
	for _, warning := range built.Warnings {
		d.log.Warn("configuration", "warning", warning)
	}
	d.journal, err = openJournal(ctx, built.State, "serve", d.log)
	if err != nil {
		return daemonRuns(err)
	}
	d.engine = newEngine(built, d.journal, d.log)
	err = d.run(ctx, started, hangup)
	d.engine.Stop()
	if closed := d.journal.Close(); err == nil { //nolint:contextcheck // closing is not cut short
		err = closed
	}
	d.log.Info("stopped")
	return err
}

// daemonRuns says of a lock that a second daemon is not needed.
func daemonRuns(err error) error {
	if _, locked := errors.AsType[*journal.LockedError](err); locked {
		return failed(err, "one rotatord works on a database at a time; `rotatord status` asks the one that runs")
	}
	return err
}

// run opens the doors, starts the engine and waits for the end.
func (d *daemon) run(ctx context.Context, started time.Time, hangup <-chan os.Signal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	path := socketPath(d.built.State)
	socket, err := server.ListenSocket(ctx, path)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	public, err := config.Listen(ctx, "tcp", d.built.Server.Listen)
	if err != nil {
		return failed(errors.Join(fmt.Errorf("serve: %w", err), socket.Close()), "server.listen names the address")
	}
	version := buildVersion().Version
	d.metrics = server.NewMetrics(d.engine, version, d.log)
	api := server.New(server.Options{
		Engine: d.engine, Logger: d.log,
		Self: server.Daemon{PID: os.Getpid(), Version: version, StartedAt: started.UTC()},
	})
	if err := d.engine.Start(ctx, true); err != nil {
		return errors.Join(fmt.Errorf("take up open rotations: %w", err), socket.Close(), public.Close())
	}
	debug.FreeOSMemory() // the start took several times of what the idling will
	d.ready.Store(true)
	ended := make(chan error, 2)
	go func() { ended <- api.Serve(ctx, socket) }()
	go func() { ended <- server.ServeHTTP(ctx, public, server.Public(d.isReady, d.metrics), d.log) }()
	d.log.Info("started", "version", version, "tokens", len(d.built.Tokens), "socket", path,
		"listen", public.Addr().String(), "took", time.Since(started).Round(time.Millisecond).String())

	err = d.wait(ctx, ended, hangup)
	d.ready.Store(false)
	stop()
	return errors.Join(err, <-ended)
}

// wait lasts until the context ends or one of the two servers does.
func (d *daemon) wait(ctx context.Context, ended <-chan error, hangup <-chan os.Signal) error {
	for {
		select {
		case <-hangup:
			d.reload(ctx)
		case <-ctx.Done():
			d.log.Info("stopping")
			return <-ended
		case err := <-ended:
			return err
		}
	}
}

func (d *daemon) isReady(context.Context) error {
	if !d.ready.Load() {
		return errors.New("stopping")
	}
	return nil
}

// reload takes up the configuration as it is now; a bad one changes nothing.
func (d *daemon) reload(ctx context.Context) {
	built, err := d.app.load(ctx)
	if err == nil {
		err = d.engine.Reload(ctx, built.Tokens)
	}
	d.metrics.Reloaded(d.app.now(), err == nil)
	if err != nil {
		d.logMistakes(err)
		return
	}
	d.level.Set(built.Log.Level)
	for _, fixed := range []struct {
		key  string
		same bool
	}{
		{"state", built.State == d.built.State},
		{"server.listen", built.Server == d.built.Server},
		{"log.format", built.Log.JSON == d.built.Log.JSON},
		{"engine", built.Engine == d.built.Engine},
	} {
		if !fixed.same {
			d.log.Warn("configuration changed where only a restart takes it up", "key", fixed.key)
		}
	}
	for _, warning := range built.Warnings {
		d.log.Warn("configuration", "warning", warning)
	}
	d.log.Info("configuration reloaded", "tokens", len(built.Tokens))
}

// logMistakes logs each mistake of a configuration by itself.
func (d *daemon) logMistakes(err error) {
	var mistakes *config.MistakesError
	if !errors.As(err, &mistakes) {
		d.log.Error("configuration not reloaded, the old one stays", "err", err)
		return
	}
	for _, m := range mistakes.Mistakes {
		d.log.Error("configuration not reloaded, the old one stays", "file", mistakes.File, "err", m.String())
	}
}
