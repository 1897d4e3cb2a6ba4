package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/term"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

// app is what the commands share: the streams, the flags of every command, and
// how configuration, journal and engine are opened.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	now         func() time.Time
	configPath  string
	output      string
	program     string // how a person calls this program
}

func newApp(in io.Reader, out, errOut io.Writer) *app {
	return &app{in: in, out: out, errOut: errOut, now: time.Now, program: os.Args[0]}
}

// load reads the configuration and makes its plug-ins. It opens nothing.
func (a *app) load(ctx context.Context) (*config.Built, error) {
	file, err := config.Load(a.configPath) //nolint:contextcheck // it opens nothing that could last
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage(err, "write one (config.example.yaml has every key), or name it with --config or $ROTATORD_CONFIG")
	}
	if err != nil {
		return nil, usage(err)
	}
	built, err := file.Build(ctx)
	if err != nil {
		return nil, usage(err)
	}
	return built, nil
}

// socketPath is where the daemon of a database listens: beside it, whatever
// name of the database is used.
func socketPath(state config.State) string {
	path := state.SQLitePath()
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	return path + ".sock"
}

// openJournal opens the journal under its lock, and logs which sealed values
// its keys do not open.
func openJournal(ctx context.Context, state config.State, command string, log *slog.Logger) (*journal.Journal, error) {
	j, err := journal.Open(ctx, journal.Options{DSN: state.DSN, SealKeyFile: state.SealKeyFile, Command: "rotatord " + command})
	if err != nil {
		return nil, err
	}
	seals, err := j.Seals(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at sealed values: %w", err), j.Close()) //nolint:contextcheck // closing is not cut short
	}
	if len(seals.Lost) > 0 {
		log.Error("the seal key is missing or is another one: it does not open the values of these rotations; "+
			"put the right one beside it, with .old at the end of its name, and restart; other rotations go on",
			"key", seals.KeyFile, "rotations", few(seals.Lost))
	}
	switch {
	case len(seals.NeedOld) > 0:
		log.Info("the old seal key is still needed", "key", seals.OldFile, "rotations", few(seals.NeedOld))
	case seals.OldFile != "" && len(seals.Lost) == 0:
		log.Info("the old seal key is no longer needed: delete it", "key", seals.OldFile)
	}
	return j, nil
}

// few names the first of many.
func few(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// readJournal opens the journal beside whoever owns it, to read. found is
// false while nothing was ever written.
func readJournal(ctx context.Context, state config.State) (j *journal.Journal, found bool, err error) {
	if _, err := os.Stat(state.SQLitePath()); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	j, err = journal.Open(ctx, journal.Options{DSN: state.DSN, ReadOnly: true})
	return j, err == nil, err
}

func newEngine(built *config.Built, j rotator.Journal, log *slog.Logger) *rotator.Engine {
	return rotator.NewEngine(rotator.Options{
		Journal: j, Dispatcher: dispatch.New(), Tokens: built.Tokens, Logger: log,
		MaxConcurrent: built.Engine.MaxConcurrent, ActTimeout: built.Engine.ActTimeout,
		NewID: func() string { return ulid.Make().String() },
	})
}

// session is the way to the tokens: through a daemon, or in this process.
type session struct {
	server.API
	daemon bool
	start  func(context.Context) error // takes up open rotations; a daemon has them already
	close  func() error
}

// access says what a command needs when no daemon runs.
type access int

const (
	toRead access = iota // the journal, to read: nobody is kept away
	toAct                // the journal's lock; rotations stand still until start is called
	toRun                // the lock, and open rotations taken up
)

// reach opens a session: with the daemon if one answers, else in this process.
// The caller closes it.
func (a *app) reach(ctx context.Context, command string, need access) (*session, error) {
	built, err := a.load(ctx)
	if err != nil {
		return nil, err
	}
	client := server.NewClient(socketPath(built.State))
	_, err = client.Hello(ctx)
	if err == nil {
		return &session{
			API: client, daemon: true,
			start: func(context.Context) error { return nil },
			close: func() error { client.Close(); return nil },
		}, nil
	}
	client.Close()
	if !errors.Is(err, server.ErrNoDaemon) {
		return nil, err
	}
	if need == toRead {
		return a.reachToRead(ctx, built)
	}
	return a.reachAlone(ctx, built, command, need)
}

func (a *app) reachToRead(ctx context.Context, built *config.Built) (*session, error) {
	s := &session{close: func() error { return nil }}
	var source rotator.Journal = noJournal{}
	j, found, err := readJournal(ctx, built.State)
	if err != nil {
		return nil, err
	}
	if found {
		source, s.close = j, j.Close
	}
	s.API = &server.Local{Engine: newEngine(built, source, slog.New(slog.DiscardHandler))}
	return s, nil
}

func (a *app) reachAlone(ctx context.Context, built *config.Built, command string, need access) (*session, error) {
	log := a.quietLogger(built.Log)
	j, err := openJournal(ctx, built.State, command, log)
	if err != nil {
		return nil, err
	}
	engine := newEngine(built, j, log)
	s := &session{
		API: &server.Local{Engine: engine, By: server.UserName(os.Getuid())},
		start: func(ctx context.Context) error {
			if err := engine.Start(ctx, false); err != nil {
				return fmt.Errorf("take up open rotations: %w", err)
			}
			return nil
		},
		close: func() error { //nolint:contextcheck // closing is not cut short
			engine.Stop()
			return j.Close()
		},
	}
	if need != toRun {
		return s, nil
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// with runs f in a session and closes it.
func (a *app) with(ctx context.Context, command string, need access, f func(*session) error) error {
	s, err := a.reach(ctx, command, need)
	if err != nil {
		return err
	}
	err = f(s)
	if closed := s.close(); err == nil {
		err = closed
	}
	return err
}

// terminal tells whether a stream is one, and how many columns and lines it has.
func terminal(stream any) (width, height int, ok bool) {
	fd, ok := streamOf(stream, term.IsTerminal)
	if !ok {
		return 0, 0, false
	}
	width, height, err := term.GetSize(fd)
	if err != nil || width < 20 || height < 4 {
		width, height = 80, 24
	}
	return width, height, true
}
