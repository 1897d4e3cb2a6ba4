package config_test

import (
	"context"
	"errors"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/rotator"
)

// The plug-ins below are the least that shows how a configuration is built.

type memoryConfig struct {
	Login rotator.SecretSource `yaml:"login,omitempty" jsonschema:"description=its log-in"`
	Fail  bool                 `yaml:"fail,omitempty" jsonschema:"description=New fails"`
}

func (memoryConfig) Validate() error { return nil }

// memory answers every Get with its key, after it has read its log-in.
type memory struct{ config memoryConfig }

func (m memory) Get(ctx context.Context, key string) (rotator.Version, error) {
	if !m.config.Login.IsZero() {
		login, err := m.config.Login.Get(ctx)
		if err != nil {
			return rotator.Version{}, err
		}
		key += " by " + login.Reveal()
	}
	return rotator.Version{ID: "1", Value: rotator.NewSecret("value of " + key)}, nil
}

func (memory) Put(context.Context, string, rotator.Write) (rotator.Version, error) {
	return rotator.Version{}, errors.ErrUnsupported
}

func newMemory(_ context.Context, c memoryConfig) (rotator.Store, error) {
	if c.Fail {
		return nil, errors.New("read CA: no such file")
	}
	return memory{c}, nil
}

type nobodyConfig struct {
	Secrets map[string]rotator.SecretSource `yaml:"secrets,omitempty" jsonschema:"description=by name"`
}

func (nobodyConfig) Validate() error { return nil }

// nobody is an issuer, a deployer, a probe and a notifier that does nothing.
type nobody struct{ config nobodyConfig }

func (nobody) Issue(context.Context, rotator.IssueRequest) (rotator.Credential, error) {
	return rotator.Credential{}, errors.ErrUnsupported
}
func (nobody) Revoke(context.Context, rotator.RevokeRequest) error { return nil }
func (nobody) Check(context.Context, rotator.CheckRequest) (rotator.Verdict, error) {
	return rotator.Unknown, errors.ErrUnsupported
}
func (nobody) Deploy(context.Context, rotator.Release) error { return nil }
func (nobody) Probe(context.Context, rotator.Release) (rotator.Finding, error) {
	return rotator.Finding{}, errors.ErrUnsupported
}
func (nobody) Notify(context.Context, rotator.Event) error { return nil }

func testPlugins() config.Plugins {
	return config.Plugins{
		Stores: registry.Kind[rotator.Store]{"memory": registry.Of(newMemory, "type: memory")},
		Issuers: registry.Kind[rotator.Issuer]{"nobody": registry.Of(
			func(_ context.Context, c nobodyConfig) (rotator.Issuer, error) { return nobody{c}, nil }, "type: nobody")},
		Deployers: registry.Kind[rotator.Deployer]{"nobody": registry.Of(
			func(_ context.Context, c nobodyConfig) (rotator.Deployer, error) { return nobody{c}, nil }, "type: nobody")},
		Probes: registry.Kind[rotator.Probe]{"nobody": registry.Of(
			func(_ context.Context, c nobodyConfig) (rotator.Probe, error) { return nobody{c}, nil }, "type: nobody")},
		Notifiers: registry.Kind[rotator.Notifier]{"nobody": registry.Of(
			func(_ context.Context, c nobodyConfig) (rotator.Notifier, error) { return nobody{c}, nil }, "type: nobody")},
	}
}
