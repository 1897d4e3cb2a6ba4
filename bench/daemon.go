package bench

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

// daemonOptions say what a daemon runs.
type daemonOptions struct {
	dir           string // of the journal, its key and the log
	tokens        []rotator.Token
	maxConcurrent int
	actTimeout    time.Duration
	schedule      bool
	// appended is told of what is on the disk. It must not block.
	appended func(a rotator.Append)
}

// A daemon is what `rotatord serve` runs, without its doors.
type daemon struct {
	*rotator.Engine
	journal *journal.Journal
	log     *os.File
}

// watchedJournal tells of every append that was written.
type watchedJournal struct {
	rotator.Journal
	appended func(a rotator.Append)
}

func (w watchedJournal) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	written, err := w.Journal.Append(ctx, a)
	if err == nil {
		w.appended(a)
	}
	return written, err
}

func openJournal(ctx context.Context, dir string) (*journal.Journal, error) {
	return journal.Open(ctx, journal.Options{
		DSN: "sqlite:" + filepath.Join(dir, "rotatord.db"), SealKeyFile: filepath.Join(dir, "rotatord.key"), Command: "bench",
	})
}

// startDaemon opens the journal and starts an engine over it; stop it after use.
func startDaemon(ctx context.Context, o daemonOptions) (*daemon, error) {
	log, err := os.OpenFile(filepath.Join(o.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	j, err := openJournal(ctx, o.dir)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	d := &daemon{journal: j, log: log}
	var watched rotator.Journal = j
	if o.appended != nil {
		watched = watchedJournal{j, o.appended}
	}
	d.Engine = rotator.NewEngine(rotator.Options{
		Journal: watched, Dispatcher: dispatch.New(), Tokens: o.tokens, MaxConcurrent: o.maxConcurrent, ActTimeout: o.actTimeout,
		Logger: slog.New(slog.NewJSONHandler(log, nil)), NewID: func() string { return ulid.Make().String() },
	})
	if err := d.Start(ctx, o.schedule); err != nil {
		return nil, errors.Join(err, d.stop()) //nolint:contextcheck // closing is not cut short
	}
	return d, nil
}

func (d *daemon) stop() error {
	d.Stop()
	return errors.Join(d.journal.Close(), d.log.Close())
}

// closings lets one wait until rotations are closed.
type closings struct {
	mu     sync.Mutex
	closed map[string]chan rotator.Status // by token
}

func newClosings(tokens []rotator.Token) *closings {
	c := &closings{closed: make(map[string]chan rotator.Status, len(tokens))}
	for _, t := range tokens {
		c.closed[t.Name] = make(chan rotator.Status, 1)
	}
	return c
}

func (c *closings) of(token string) chan rotator.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed[token]
}

// appended is for daemonOptions.
func (c *closings) appended(a rotator.Append) {
	if a.Summary != nil && !a.Summary.ClosedAt.IsZero() {
		c.of(a.Token) <- a.Summary.Status
	}
}
