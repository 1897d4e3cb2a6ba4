// Package config reads the configuration file, finds every mistake in it and
// builds from it what the engine works with.
//
// It never opens anything over the network, never prints a value of the file
// (messages hold keys, names and short words), and never stops at the first
// mistake: a MistakesError has all of them, sorted by line.
//
// To add a key, add a field with its tags to spec.go, use it in tokens.go or
// build.go, and describe it in docs/configuration.md: a test asks for it. A
// plug-in's keys are those of its own Config type.
package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// Plugins are the types that a configuration may name.
type Plugins struct {
	Issuers   registry.Kind[rotator.Issuer]
	Stores    registry.Kind[rotator.Store]
	Deployers registry.Kind[rotator.Deployer]
	Probes    registry.Kind[rotator.Probe]
	Notifiers registry.Kind[rotator.Notifier]
}

// A File is a configuration without mistakes.
type File struct {
	Path string
	// Warnings are about things that work but that somebody should look at, one line each.
	Warnings []string

	root      strictyaml.Place
	spec      spec
	issuers   map[string]registry.Settings[rotator.Issuer]
	stores    map[string]registry.Settings[rotator.Store]
	notifiers map[string]registry.Settings[rotator.Notifier]
	tokens    []tokenPlan // by name
	secrets   []strictyaml.SecretRef
}

// maxMistakes is the most that is said at once.
const maxMistakes = 500

// MistakesError is every mistake of a file. No message holds a value of the file.
type MistakesError struct {
	File     string
	Mistakes []strictyaml.Mistake // sorted by line
}

// Error prints a line a mistake: FILE:LINE:COLUMN: PATH: TEXT.
func (e *MistakesError) Error() string {
	var b strings.Builder
	for i, mistake := range e.Mistakes {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.File + ":")
		if mistake.Line == 0 {
			b.WriteByte(' ')
		}
		b.WriteString(mistake.String())
	}
	return b.String()
}

// Load reads and checks a file with the types of plug-ins that rotatord has.
// Mistakes are a *MistakesError. It reads no secret and opens nothing over the network.
func Load(path string) (*File, error) { return BuiltIn().Load(path) }

// Load is the same for other types of plug-ins.
func (p Plugins) Load(path string) (*File, error) {
	file, err := os.Open(path) //nolint:gosec // the path is what the user asks for
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = file.Close() }()
	raw, err := io.ReadAll(io.LimitReader(file, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	loaded, err := p.Parse(path, raw)
	if err != nil {
		return nil, err
	}
	loaded.Warnings = append(loaded.Warnings, fileWarnings(loaded)...)
	return loaded, nil
}

// Parse checks the text of a configuration; name stands before its mistakes.
func (p Plugins) Parse(name string, raw []byte) (*File, error) {
	f, mistakes := p.parse(name, raw)
	if more := len(mistakes) - maxMistakes; more > 0 {
		mistakes = append(mistakes[:maxMistakes:maxMistakes], strictyaml.Mistake{Text: fmt.Sprintf("and %d more mistakes", more)})
	}
	if len(mistakes) > 0 {
		return nil, &MistakesError{File: name, Mistakes: mistakes}
	}
	return f, nil
}

func (p Plugins) parse(name string, raw []byte) (*File, []strictyaml.Mistake) {
	root, mistakes := strictyaml.Parse(raw)
	if root == nil {
		return nil, mistakes
	}
	d := strictyaml.NewDecoder(mistakes)
	f := &File{Path: name, root: strictyaml.Place{Node: root}}
	d.Decode(f.root, &f.spec)
	c := checker{Decoder: d, plugins: p, file: f}
	c.sections()
	c.globals()
	c.allTokens()
	c.secrets()
	c.built()
	d.Sort()
	f.Warnings = c.warnings
	return f, d.Mistakes
}
