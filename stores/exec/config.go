// Package execstore keeps credentials wherever a program of the operator puts
// them. The program is started once a call, gets one JSON request on its standard
// input, and gives one JSON answer on its standard output; docs/stores/exec.md is
// the contract.
//
// A value is never in the program's arguments or environment. The program is not
// trusted to be careful: an answer that is not whole is never a success, what it
// says of a failure is cleaned before it is shown, and what it prints on standard
// error is thrown away. Nothing is retried here, and nothing is kept between calls.
//
// A new operation is a constant in protocol.go, its rules in answer.check, and a
// row on the page.
package execstore

import (
	"context"
	_ "embed"
	"time"

	"github.com/rotatord/rotatord/internal/childprocess"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

const defaultTimeout = 30 * time.Second

// Config is an entry of type exec.
type Config struct {
	Command   []string         `yaml:"command" json:"command" jsonschema:"required,description=Program and arguments; no shell. It gets a JSON request on standard input and answers JSON on standard output: see docs/stores/exec.md"`
	WriteOnly bool             `yaml:"write_only,omitempty" json:"write_only,omitempty" jsonschema:"description=The program can't read values back"`
	Dir       string           `yaml:"dir,omitempty" json:"dir,omitempty" jsonschema:"description=Folder the program runs in; default: that of the daemon"`
	PassEnv   []string         `yaml:"pass_env,omitempty" json:"pass_env,omitempty" jsonschema:"description=Names of the daemon's own environment variables that the program may see\\, for example those with its log-in"`
	Timeout   rotator.Duration `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"description=How long one call may take before the program is killed; default 30s"`
}

// Validate implements the contract of every plug-in's Config; it runs nothing.
func (c Config) Validate() error { return c.command().Validate() }

func (c Config) command() childprocess.Command {
	timeout := c.Timeout.Std()
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return childprocess.Command{Argv: c.Command, Dir: c.Dir, PassEnv: c.PassEnv, Timeout: timeout}
}

// New makes a store. It is a rotator.WriteOnly only when the configuration says
// so. It starts nothing.
func New(_ context.Context, c Config) (rotator.Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	store := &Store{command: c.command(), writeOnly: c.WriteOnly}
	if c.WriteOnly {
		return &blindStore{store}, nil
	}
	return store, nil
}
