package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"text/template"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

//go:embed config.yaml.tmpl
var configTemplate string

// stage is everything that runs: the made-up world, and rotatord in it.
type stage struct {
	dir, configPath  string
	tokenFile        string
	api, dashboard   string // URLs
	sim              *instasentsim.Sim
	firstID          string // of the credential that a person made before rotatord came
	first            rotator.Fingerprint
	fleet            *fleet
	journal          rotator.Journal
	engine           *rotator.Engine
	closers          []func() error // run last to first
	adminFile        string
	reloadFile, keys string
}

// openStage sets everything up in a temporary folder. What it opens, close closes.
func openStage(ctx context.Context, workers int) (*stage, error) {
	dir, err := os.MkdirTemp("", "rotatord-demo-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // commands look for the socket at the real path
		return nil, err
	}
	s := &stage{
		dir: dir, configPath: filepath.Join(dir, "rotatord.yaml"), adminFile: filepath.Join(dir, "admin-token"),
		reloadFile: filepath.Join(dir, "reload"), keys: filepath.Join(dir, "secrets"),
	}
	s.tokenFile = filepath.Join(s.keys, storeKey)
	for _, open := range []func(context.Context) error{
		s.openService,
		s.writeFirst,
		func(ctx context.Context) error { return s.openFleet(ctx, workers) },
		s.writeConfig,
		s.openRotatord,
	} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, s.close(false))
		}
	}
	return s, nil
}

// close ends everything and removes the folder, unless somebody should look into it.
func (s *stage) close(keepFolder bool) error {
	var errs []error
	for _, closer := range slices.Backward(s.closers) {
		errs = append(errs, closer())
	}
	s.closers = nil
	if keepFolder {
		errs = append(errs, fmt.Errorf("see %s", filepath.Join(s.dir, "rotatord.log")))
	} else {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func (s *stage) onClose(f func() error) { s.closers = append(s.closers, f) }

// openService serves both sides of the simulated Instasent.
func (s *stage) openService(ctx context.Context) error {
	s.sim = instasentsim.New(instasentsim.Options{
		Places: []instasentsim.Place{place()},
		Knobs: instasentsim.Knobs{
			RateLimit:       -1, // the fleet puts more load on it than a real account may
			ActivationDelay: rotator.Duration(300 * time.Millisecond),
			RevocationLag:   rotator.Duration(800 * time.Millisecond),
		},
	})
	api, err := s.serve(ctx, s.sim.API())
	if err != nil {
		return err
	}
	dashboard, err := s.serve(ctx, s.sim.Admin())
	s.api, s.dashboard = api+"/v1", dashboard
	return err
}

func place() instasentsim.Place {
	return instasentsim.Place{Project: project, Datasource: datasource}
}

func (s *stage) serve(ctx context.Context, handler http.Handler) (url string, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(listener) }() // ends with Close
	s.onClose(func() error { err := srv.Close(); <-ended; return err })
	return "http://" + listener.Addr().String(), nil
}

// writeFirst does what a person did before rotatord came: a token by hand, in a file.
func (s *stage) writeFirst(ctx context.Context) error {
	made, err := s.sim.Generate(place(), "made by hand")
	if err != nil {
		return fmt.Errorf("generate the first token: %w", err)
	}
	s.firstID, s.first = made.ID, rotator.FingerprintOf(made.Value)
	if err := os.Mkdir(s.keys, 0o700); err != nil {
		return err
	}
	for path, text := range map[string]string{s.tokenFile: made.Value, s.adminFile: s.sim.AdminToken(), s.reloadFile: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	// The simulated service needs a moment before it accepts a new token.
	return pause(ctx, s.sim.Knobs().ActivationDelay.Std())
}

func (s *stage) openFleet(ctx context.Context, workers int) error {
	stream := fmt.Sprintf("%s/project/%s/datasource/%s/stream", s.api, project, datasource)
	f, err := startFleet(ctx, fleetOptions{count: workers, stream: stream, tokenFile: s.tokenFile, reloadFile: s.reloadFile})
	if err != nil {
		return err
	}
	s.fleet = f
	s.onClose(func() error { f.stop(); return nil })
	return nil
}

func (s *stage) writeConfig(context.Context) error {
	quoted := func(text string) (string, error) { // a JSON string is a YAML string
		raw, err := json.Marshal(text)
		return string(raw), err
	}
	page, err := template.New("config").Funcs(template.FuncMap{"yaml": quoted}).Parse(configTemplate)
	if err != nil {
		return err
	}
	type probe struct{ Name, URL string }
	var probes []probe
	for _, w := range s.fleet.workers {
		probes = append(probes, probe{w.name, w.health})
	}
	file, err := os.OpenFile(s.configPath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = page.Execute(file, map[string]any{
		"Dir": s.dir, "API": s.api, "Dashboard": s.dashboard, "AdminFile": s.adminFile, "Secrets": s.keys,
		"Token": tokenName, "Project": project, "Datasource": datasource, "Key": storeKey,
		"Reload": s.reloadFile, "Probes": probes,
	})
	return errors.Join(err, file.Close())
}

// openRotatord does what `rotatord serve` does.
func (s *stage) openRotatord(ctx context.Context) error {
	file, err := config.Load(s.configPath) //nolint:contextcheck // it takes none: it reads one file
	if err != nil {
		return err
	}
	built, err := file.Build(ctx)
	if err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(s.dir, "rotatord.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.onClose(logFile.Close)
	logger := slog.New(slog.NewTextHandler(logFile, nil))
	j, err := journal.Open(ctx, journal.Options{
		DSN: built.State.DSN, SealKeyFile: built.State.SealKeyFile, Command: "rotatord demo",
	})
	if err != nil {
		return err
	}
	s.onClose(j.Close)
	s.journal = j
	s.engine = rotator.NewEngine(rotator.Options{
		Journal: j, Dispatcher: dispatch.New(), Tokens: built.Tokens, Logger: logger,
		MaxConcurrent: built.Engine.MaxConcurrent, ActTimeout: built.Engine.ActTimeout,
		NewID: func() string { return ulid.Make().String() },
	})
	s.onClose(func() error { s.engine.Stop(); return nil })
	if err := s.engine.Start(ctx, true); err != nil {
		return err
	}
	return s.openSocket(ctx, built.State.SQLitePath()+".sock", logger)
}

// openSocket lets the commands of another terminal reach the engine.
func (s *stage) openSocket(ctx context.Context, path string, logger *slog.Logger) error {
	listener, err := server.ListenSocket(ctx, path)
	if err != nil {
		return err
	}
	srv := server.New(server.Options{
		Engine: s.engine, Logger: logger,
		Self: server.Daemon{PID: os.Getpid(), Version: "demo", StartedAt: time.Now()},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx, listener) }()
	s.onClose(func() error { cancel(); return <-ended })
	return nil
}

// startDue opens the rotation that is due, or finds that the engine's own scan did.
func (s *stage) startDue(ctx context.Context) (string, error) {
	opened, err := s.engine.StartDue(ctx)
	if err != nil {
		return "", fmt.Errorf("start what is due: %w", err)
	}
	if len(opened) == 1 {
		return opened[0], nil
	}
	tokens, err := s.engine.Status(ctx, tokenName)
	if err != nil {
		return "", err
	}
	if len(tokens) != 1 || tokens[0].Open == nil {
		return "", errors.New("start what is due: nothing is")
	}
	return tokens[0].Open.ID, nil
}

// follow tells what happens to a rotation until it ended; another end than done is an error.
func (s *stage) follow(ctx context.Context, tell *narrator, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actLimit, fmt.Errorf("it did not end within %s", actLimit))
	defer cancel()
	tell.begin(len(s.fleet.workers))
	ended, err := s.engine.Wait(ctx, id, tell.see)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for rotation %s: %w", id, err)
	}
	tell.see(ended)
	if ended.Status != rotator.Done {
		why := ended.Detail
		if ended.Hold != nil {
			why = ended.Hold.Text
		}
		return fmt.Errorf("rotation %s is %s: %s", id, ended.Status, why)
	}
	tell.ended(ended, s.fleet.tally())
	return nil
}

// report reads the result: the workers' counts, the journal's rotations, the
// service's own word on what it accepts.
func (s *stage) report(ctx context.Context) (report, error) {
	r := report{tally: s.fleet.tally()}
	rotations, err := s.journal.Rotations(ctx, tokenName, 0)
	if err != nil {
		return r, err
	}
	for _, rotation := range slices.Backward(rotations) {
		if rotation.Status.Final() {
			r.rotations = append(r.rotations, rotation)
		}
	}
	for _, t := range s.sim.Stats().Tokens {
		if t.Accepted {
			r.live = append(r.live, t.Fingerprint)
		}
	}
	return r, nil
}
