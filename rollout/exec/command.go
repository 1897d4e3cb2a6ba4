// Package execrollout starts rollouts and looks at consumers by running a
// command of the operator: systemctl, kubectl, a script.
//
// A command is a list of arguments, never a line for a shell. It runs in its
// own process group, with standard input closed, and learns from its
// environment which release it is about: the token's name, the rotation and
// fingerprints. It never gets a credential's value, and none of the daemon's
// own variables but a few harmless ones and those that pass_env names. What it
// prints on standard error is thrown away, because it may hold the operator's
// secrets; an error carries the exit status only.
//
// The deployer is in deploy.go, the probe in probe.go, what both share here. A
// new variable for commands belongs into environ and into both examples.
package execrollout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// waitDelay is how long an ended command's children may keep its output open.
const waitDelay = 2 * time.Second

// ownPrefix starts the names of the variables that tell a command its release.
const ownPrefix = "ROTATORD_"

// passedOn lists the daemon's variables that every command gets: where programs
// and the home folder are, language and time zone. None may hold a secret.
func passedOn() []string {
	return []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
}

// command is one configured command. It can be run many times at once.
type command struct {
	argv    []string
	dir     string
	env     map[string]string
	passEnv []string
	timeout time.Duration // 0: the context's alone
}

// run runs the command to its end and returns its exit status; stdout may be
// nil. An error means that it has none: it was not started (rotator.HadNoEffect),
// was killed by a signal, or did not end in time, in which case its whole
// process group is killed.
func (c command) run(ctx context.Context, r rotator.Release, stdout io.Writer) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, rotator.Unsent(err)
	}
	if err := c.checkDir(); err != nil {
		return 0, err
	}
	callCtx := ctx
	if c.timeout > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(callCtx, c.argv[0], c.argv[1:]...) //nolint:gosec // running the operator's command is the purpose
	cmd.Dir = c.dir
	cmd.Env = c.environ(r)
	cmd.Stdout = stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = waitDelay
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return 0, rotator.Unsent(ctx.Err())
		}
		return 0, c.startError(err)
	}
	// Wait's error is not asked: the process state says more exactly how it
	// ended, also when a child still held the output (exec.ErrWaitDelay).
	waitErr := cmd.Wait()
	state := cmd.ProcessState
	switch {
	case state != nil && state.Exited():
		return state.ExitCode(), nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case callCtx.Err() != nil:
		return 0, fmt.Errorf("run command %q: not ended after %s", c.argv[0], c.timeout)
	case state == nil:
		return 0, fmt.Errorf("run command %q: %w", c.argv[0], waitErr)
	}
	return 0, fmt.Errorf("run command %q: %s", c.argv[0], state)
}

func killGroup(leader int) error {
	err := syscall.Kill(-leader, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// environ is the whole environment of the command; later entries win.
func (c command) environ(r rotator.Release) []string {
	var env []string
	for _, name := range append(passedOn(), c.passEnv...) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range c.env {
		env = append(env, name+"="+value)
	}
	return append(env,
		ownPrefix+"TOKEN="+r.Token,
		ownPrefix+"ROTATION="+r.Rotation,
		ownPrefix+"RELEASE="+r.ID,
		ownPrefix+"FINGERPRINT="+string(r.Fingerprint),
		ownPrefix+"PREVIOUS_FINGERPRINT="+string(r.Previous),
	)
}

// startError tells what can't be mended by trying again from the rest, such as
// too many processes. The arguments stay out of it.
func (c command) startError(err error) error {
	var lookup *exec.Error
	var path *fs.PathError
	switch {
	case errors.As(err, &lookup):
		err = lookup.Err
	case errors.As(err, &path):
		err = path.Err
	}
	wrapped := fmt.Errorf("start command %q: %w", c.argv[0], err)
	for _, final := range []error{exec.ErrNotFound, exec.ErrDot, fs.ErrNotExist, fs.ErrPermission, syscall.ENOTDIR, syscall.ENOEXEC} {
		if errors.Is(err, final) {
			return rotator.Permanent(wrapped)
		}
	}
	return rotator.Unsent(wrapped)
}

// checkDir exists because a missing folder and a missing program give the same
// error when the process is started.
func (c command) checkDir() error {
	if c.dir == "" {
		return nil
	}
	info, err := os.Stat(c.dir)
	switch {
	case err != nil:
		return rotator.Permanent(fmt.Errorf("start command %q: open dir: %w", c.argv[0], err))
	case !info.IsDir():
		return rotator.Permanent(fmt.Errorf("start command %q: %q is not a directory", c.argv[0], c.dir))
	}
	return nil
}

// look tells, without running it, whether the command could be started.
func (c command) look(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.checkDir(); err != nil {
		return err
	}
	name := c.argv[0]
	if c.dir != "" && strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		name = filepath.Join(c.dir, name)
	}
	if _, err := exec.LookPath(name); err != nil {
		return c.startError(err)
	}
	return nil
}

// validate reports the mistakes of the fields that deployer and probe share.
func (c command) validate() error {
	return errors.Join(
		rotator.Field("command", checkArgv(c.argv)),
		checkEnv(c.env),
		checkPassEnv(c.passEnv),
	)
}

func checkArgv(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("a program is required, for example [systemctl, restart, crm-worker]")
	}
	for _, arg := range argv {
		if strings.ContainsRune(arg, 0) {
			return errors.New("an argument can't hold a NUL character")
		}
	}
	return nil
}

func checkEnv(env map[string]string) error {
	var errs []error
	for name, value := range env {
		err := checkName(name)
		if err == nil && strings.ContainsRune(value, 0) {
			err = errors.New("a value can't hold a NUL character")
		}
		errs = append(errs, rotator.Field("env."+name, err))
	}
	return errors.Join(errs...)
}

func checkPassEnv(names []string) error {
	var errs []error
	for i, name := range names {
		errs = append(errs, rotator.Field(fmt.Sprintf("pass_env[%d]", i), checkName(name)))
	}
	return errors.Join(errs...)
}

func checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00"):
		return errors.New("not a name of an environment variable")
	case strings.HasPrefix(name, ownPrefix):
		return errors.New("names that start with ROTATORD_ are set by rotatord itself")
	}
	return nil
}
