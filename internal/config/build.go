package config

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// Built is what a configuration stands for: the tokens with their plug-ins,
// and the settings of the program. File paths in it are as they were written:
// relative ones count from the working directory.
type Built struct {
	Tokens    []rotator.Token // by name
	Issuers   map[string]rotator.Issuer
	Stores    map[string]rotator.Store
	Notifiers map[string]rotator.Notifier
	Groups    map[string][]string
	State     State
	Server    Server
	Log       Log
	Engine    Engine
	Warnings  []string
}

// State says where the journal is and what seals its values: SealKeyFile or SealKeyKMS.
type State struct {
	DSN         string // sqlite:PATH
	SealKeyFile string
	SealKeyKMS  string // URL
}

// SQLitePath returns the path of the database file.
func (s State) SQLitePath() string { return strings.TrimPrefix(s.DSN, "sqlite:") }

// Server holds the daemon's address.
type Server struct{ Listen string } // HOST:PORT

// Log says how the daemon logs.
type Log struct {
	JSON  bool // else text
	Level slog.Level
}

// Engine holds the engine's limits.
type Engine struct {
	MaxConcurrent int
	ActTimeout    time.Duration
}

// Build makes everything that the file describes. It opens nothing over the
// network and reads no secret: plug-ins read theirs when they need them.
func (f *File) Build(ctx context.Context) (*Built, error) {
	built, problems := f.assemble(ctx)
	if len(problems) == 0 {
		return built, nil
	}
	d := &strictyaml.Decoder{}
	for _, problem := range problems {
		d.Errors(problem.place, problem.err)
	}
	d.Sort()
	return nil, &MistakesError{File: f.Path, Mistakes: d.Mistakes}
}

type problem struct {
	place strictyaml.Place
	err   error
}

// assembly makes plug-ins and keeps what goes wrong.
type assembly struct {
	ctx      context.Context //nolint:containedctx // lives as long as one call
	lookup   rotator.SecretLookup
	problems []problem
}

// assemble makes all plug-ins whose settings have no mistake.
func (f *File) assemble(ctx context.Context) (*Built, []problem) {
	built := &Built{
		Groups: maps.Clone(f.spec.Groups), State: f.spec.State.build(), Server: Server{Listen: "127.0.0.1:8790"},
		Log: f.spec.Log.build(), Engine: Engine{MaxConcurrent: 8, ActTimeout: time.Minute}, Warnings: slices.Clone(f.Warnings),
	}
	if f.spec.Server.Listen != "" {
		built.Server.Listen = f.spec.Server.Listen
	}
	if given := f.spec.Engine.MaxConcurrent; given != nil {
		built.Engine.MaxConcurrent = *given
	}
	set(&built.Engine.ActTimeout, f.spec.Engine.ActTimeout)

	a := &assembly{ctx: ctx}
	a.lookup = func(ctx context.Context, store, key string) (rotator.Secret, error) {
		from, ok := built.Stores[store]
		if !ok {
			return rotator.Secret{}, errors.New("no such store")
		}
		version, err := from.Get(ctx, key)
		if err == nil && version.Value.IsZero() {
			err = errors.New("the store can only be written")
		}
		return version.Value, err
	}
	built.Stores = makeSection(a, f.root.At("stores"), f.stores)
	built.Issuers = makeSection(a, f.root.At("issuers"), f.issuers)
	built.Notifiers = makeSection(a, f.root.At("notifiers"), f.notifiers)
	for _, plan := range f.tokens {
		built.Tokens = append(built.Tokens, a.token(plan, built))
	}
	return built, a.problems
}

func makeSection[P any](a *assembly, section strictyaml.Place, settings map[string]registry.Settings[P]) map[string]P {
	made := map[string]P{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if plugin, ok := makePlugin(a, section.At(name), settings[name]); ok {
			made[name] = plugin
		}
	}
	return made
}

func makePlugin[P any](a *assembly, p strictyaml.Place, settings registry.Settings[P]) (plugin P, ok bool) {
	if !settings.OK {
		return plugin, false
	}
	plugin, err := settings.Build(a.ctx, a.lookup)
	if err != nil {
		a.problems = append(a.problems, problem{place: p, err: err})
	}
	return plugin, err == nil
}

func (a *assembly) token(plan tokenPlan, built *Built) rotator.Token {
	token := plan.token
	token.Issuer = built.Issuers[token.IssuerName]
	token.Stores = slices.Clone(token.Stores)
	token.Policies = maps.Clone(token.Policies)
	for i, target := range token.Stores {
		token.Stores[i].Store = built.Stores[target.Name]
	}
	for _, one := range plan.deployers {
		if deployer, ok := makePlugin(a, one.place, one.settings); ok {
			token.Deployers = append(token.Deployers, rotator.DeployTarget{Name: one.name, Deployer: deployer})
		}
	}
	for _, one := range plan.probes {
		if probe, ok := makePlugin(a, one.place, one.settings); ok {
			token.Probes = append(token.Probes, rotator.ProbeTarget{Name: one.name, Probe: probe})
		}
	}
	for _, name := range plan.notify {
		token.Notifiers = append(token.Notifiers, rotator.NotifyTarget{Name: name, Notifier: built.Notifiers[name]})
	}
	return token
}

func (s stateSpec) build() State {
	state := State{DSN: s.DSN, SealKeyFile: "rotatord.key"}
	if state.DSN == "" {
		state.DSN = "sqlite:rotatord.db"
	}
	if s.SealKey != nil {
		state.SealKeyFile, state.SealKeyKMS = s.SealKey.File, s.SealKey.KMS
	}
	return state
}

func (s logSpec) build() Log {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}
	return Log{JSON: s.Format == "json", Level: levels[s.Level]} // the zero Level is info
}
