package execrollout

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rotatord/rotatord/internal/childprocess"
	"github.com/rotatord/rotatord/rotator"
)

// ProbeExample is one documented entry of `rollout.probe`.
//
//go:embed example_probe.yaml
var ProbeExample string

const maxOutputBytes = 64 << 10

// ProbeConfig is the configuration of the probe.
type ProbeConfig struct {
	Command []string          `yaml:"command" jsonschema:"required,description=Program and arguments that look at the consumers and change nothing; no shell. Exit status 0 is healthy\\, 1 unhealthy\\, 2 not yet\\, anything else unknown"`
	Target  string            `yaml:"target,omitempty" jsonschema:"description=What people are shown as the consumer; default: the program's name"`
	Dir     string            `yaml:"dir,omitempty" jsonschema:"description=Folder the command runs in; default: that of the daemon"`
	Env     map[string]string `yaml:"env,omitempty" jsonschema:"description=More environment variables\\, for values that are not secret"`
	PassEnv []string          `yaml:"pass_env,omitempty" jsonschema:"description=Names of the daemon's own environment variables that the command may see\\, for example KUBECONFIG"`
}

// Validate reports every mistake that can be seen offline.
func (c ProbeConfig) Validate() error { return c.command().Validate() }

func (c ProbeConfig) command() childprocess.Command {
	return childprocess.Command{Argv: c.Command, Dir: c.Dir, Env: c.Env, PassEnv: c.PassEnv}
}

// NewProbe makes a probe. It starts nothing.
func NewProbe(_ context.Context, c ProbeConfig) (rotator.Probe, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &probe{command: c.command(), target: c.Target}
	if p.target == "" {
		p.target = c.Command[0]
	}
	return p, nil
}

type probe struct {
	command childprocess.Command
	target  string
}

var _ rotator.Pinger = (*probe)(nil)

// Ping tells whether the program exists; it does not run it.
func (p *probe) Ping(ctx context.Context) error { return p.command.Look(ctx) }

// Probe runs the command once, for as long as ctx allows.
//
// Each line `fingerprint=<16 hex digits>` on its standard output names what one
// consumer lives on: exit status 0 beside another fingerprint than the asked
// one is not yet, and beside one that can't be read, unknown. The first other
// line is the Finding's Detail, so the command must not print secrets.
func (p *probe) Probe(ctx context.Context, r rotator.Release) (rotator.Finding, error) {
	out := childprocess.Output{MaxBytes: maxOutputBytes}
	code, err := p.command.Run(ctx, childprocess.Call{Env: about(r), Stdout: &out})
	if err != nil {
		return rotator.Finding{}, err
	}
	finding := rotator.Finding{Target: p.target}
	switch code {
	case 0:
		finding.Health = rotator.Healthy
	case 1:
		finding.Health = rotator.Unhealthy
	case 2:
		finding.Health = rotator.NotYet
	default:
		return rotator.Finding{}, fmt.Errorf("run command %q: exit status %d, where 0, 1 and 2 are known", p.command.Argv[0], code)
	}
	rep := readReport(out.Bytes(), r.Fingerprint)
	if code == 0 {
		switch {
		case out.Cut():
			return rotator.Finding{}, fmt.Errorf("read output of command %q: longer than %d bytes", p.command.Argv[0], maxOutputBytes)
		case rep.err != nil:
			return rotator.Finding{}, fmt.Errorf("read output of command %q: %w", p.command.Argv[0], rep.err)
		}
	}
	finding.Seen, finding.Detail = rep.seen, rep.detail
	if finding.Health == rotator.Healthy && rep.seen != "" && rep.seen != r.Fingerprint {
		finding.Health = rotator.NotYet
	}
	if finding.Detail == "" && finding.Health != rotator.Healthy {
		finding.Detail = fmt.Sprintf("exit status %d", code)
		if code == 0 {
			finding.Detail = "lives on " + string(rep.seen)
		}
	}
	return finding, nil
}

// report is what a command printed.
type report struct {
	seen   rotator.Fingerprint // the first that is not the asked one, else the asked one; empty: none was printed
	detail string
	err    error // a fingerprint line could not be read
}

var fingerprintPattern = regexp.MustCompile(`^[0-9a-fA-F]{16}$`)

func readReport(output []byte, asked rotator.Fingerprint) report {
	var rep report
	for line := range strings.Lines(string(output)) {
		line = childprocess.OneLine(line)
		value, is := strings.CutPrefix(line, "fingerprint=")
		switch {
		case !is && rep.detail == "":
			rep.detail = line
		case !is:
		case !fingerprintPattern.MatchString(value):
			rep.err = errors.New("a fingerprint line does not hold 16 hex digits")
		default:
			seen := rotator.Fingerprint(strings.ToLower(value))
			if rep.seen == "" || rep.seen == asked {
				rep.seen = seen
			}
		}
	}
	return rep
}
