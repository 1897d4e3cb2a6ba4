package execrollout

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/rotatord/rotatord/internal/childprocess"
	"github.com/rotatord/rotatord/rotator"
)

// DeployExample is one documented entry of `rollout.deploy`.
//
//go:embed example_deploy.yaml
var DeployExample string

const deployTimeout = 5 * time.Minute

// DeployConfig is the configuration of the deployer.
type DeployConfig struct {
	Command []string          `yaml:"command" jsonschema:"required,description=Program and arguments that start the rollout; no shell. Exit status 0 means that the rollout was accepted"`
	Already []string          `yaml:"already,omitempty" jsonschema:"description=Program and arguments that tell whether this release was already rolled out: exit status 0 is yes\\, 1 is no. Asked after a crash\\, before the command would run again"`
	Dir     string            `yaml:"dir,omitempty" jsonschema:"description=Folder the command runs in; default: that of the daemon"`
	Env     map[string]string `yaml:"env,omitempty" jsonschema:"description=More environment variables\\, for values that are not secret"`
	PassEnv []string          `yaml:"pass_env,omitempty" jsonschema:"description=Names of the daemon's own environment variables that the command may see\\, for example KUBECONFIG"`
	Timeout rotator.Duration  `yaml:"timeout,omitempty" jsonschema:"description=How long the command may run before it is killed; it should start a rollout rather than wait for it. Default 5m"`
}

// Validate reports every mistake that can be seen offline.
func (c DeployConfig) Validate() error {
	errs := []error{c.command(c.Command).Validate()}
	if c.Already != nil {
		errs = append(errs, rotator.Field("already", childprocess.CheckArgv(c.Already)))
	}
	return errors.Join(errs...)
}

func (c DeployConfig) command(argv []string) childprocess.Command {
	timeout := c.Timeout.Std()
	if timeout == 0 {
		timeout = deployTimeout
	}
	return childprocess.Command{Argv: argv, Dir: c.Dir, Env: c.Env, PassEnv: c.PassEnv, Timeout: timeout}
}

// NewDeployer makes a deployer. It is a rotator.DeployAsker only when `already`
// is configured. It starts nothing.
func NewDeployer(_ context.Context, c DeployConfig) (rotator.Deployer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &deployer{command: c.command(c.Command)}
	if c.Already == nil {
		return d, nil
	}
	return &askedDeployer{deployer: d, already: c.command(c.Already)}, nil
}

type deployer struct {
	command childprocess.Command
	once    once
}

// askedDeployer is a deployer that can also tell what was done before a crash.
type askedDeployer struct {
	*deployer
	already childprocess.Command
}

var (
	_ rotator.Pinger      = (*deployer)(nil)
	_ rotator.Pinger      = (*askedDeployer)(nil)
	_ rotator.DeployAsker = (*askedDeployer)(nil)
)

// Deploy runs the command and waits for its end. An exit status that is not 0
// is an error that leaves the effect in doubt; the release may be tried again.
// A program or folder that does not exist is Permanent.
func (d *deployer) Deploy(ctx context.Context, r rotator.Release) error {
	if err := ctx.Err(); err != nil {
		return rotator.Unsent(err)
	}
	if r.ID == "" {
		return rotator.Permanent(errors.New("run command: the release has no id"))
	}
	return d.once.do(ctx, r.ID, func() error {
		code, err := d.command.Run(ctx, childprocess.Call{Env: about(r)})
		if err == nil && code != 0 {
			err = fmt.Errorf("run command %q: exit status %d", d.command.Argv[0], code)
		}
		return err
	})
}

// Ping tells whether the program exists; it does not run it.
func (d *deployer) Ping(ctx context.Context) error { return d.command.Look(ctx) }

// Deployed asks the `already` command.
func (d *askedDeployer) Deployed(ctx context.Context, r rotator.Release) (bool, error) {
	code, err := d.already.Run(ctx, childprocess.Call{Env: about(r)})
	switch {
	case err != nil:
		return false, err
	case code == 0:
		return true, nil
	case code == 1:
		return false, nil
	}
	return false, fmt.Errorf("run command %q: exit status %d, where 0 is yes and 1 is no", d.already.Argv[0], code)
}

// Ping tells whether both programs exist; it does not run them.
func (d *askedDeployer) Ping(ctx context.Context) error {
	return errors.Join(d.command.Look(ctx), d.already.Look(ctx))
}
