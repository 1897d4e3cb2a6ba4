// Package childprocess is how plug-ins run a program of the operator: a list of
// arguments, never a line for a shell, in a process group of its own that is
// killed as a whole when the time is up.
//
// The program gets none of the daemon's variables but a few harmless ones and
// those that pass_env names. What it prints on standard error is thrown away,
// because it may hold the operator's secrets; errors name the program and never
// its arguments. Nothing is retried or logged here: the engine does both.
//
// What only one plug-in tells its program (variables, standard input) belongs
// into that plug-in, as a Call.
package childprocess

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

// waitDelay is how long an ended program's children may keep its output open.
const waitDelay = 2 * time.Second

// OwnPrefix starts the names of the variables that only rotatord itself sets.
const OwnPrefix = "ROTATORD_"

// passedOn lists the daemon's variables that every program gets: where programs
// and the home folder are, language and time zone. None may hold a secret.
func passedOn() []string {
	return []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
}

// A Command is one configured command. It can be run many times at once.
type Command struct {
	Argv    []string
	Dir     string            // empty: that of the daemon
	Env     map[string]string // for values that are not secret
	PassEnv []string
	Timeout time.Duration // 0: the context's alone
}

// A Call is what one run gets besides.
type Call struct {
	Env    []string  // NAME=value; they win over the command's own
	Stdin  io.Reader // nil: nothing
	Stdout io.Writer // nil: thrown away
}

// Run runs the command to its end and returns its exit status. An error means
// that it has none: it was not started (rotator.HadNoEffect), was killed by a
// signal, or did not end in time, in which case its whole process group is killed.
func (c Command) Run(ctx context.Context, call Call) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, rotator.Unsent(err)
	}
	if err := c.checkDir(); err != nil {
		return 0, err
	}
	callCtx := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(callCtx, c.Argv[0], c.Argv[1:]...) //nolint:gosec // running the operator's command is the purpose
	cmd.Dir = c.Dir
	cmd.Env = append(c.environ(), call.Env...)
	cmd.Stdin, cmd.Stdout = call.Stdin, call.Stdout
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
	// ended, also when a child still held the output (exec.ErrWaitDelay), or
	// when it did not read all of its input.
	waitErr := cmd.Wait()
	state := cmd.ProcessState
	switch {
	case state != nil && state.Exited():
		return state.ExitCode(), nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case callCtx.Err() != nil:
		return 0, fmt.Errorf("run command %q: not ended after %s", c.Argv[0], c.Timeout)
	case state == nil:
		return 0, fmt.Errorf("run command %q: %w", c.Argv[0], waitErr)
	}
	return 0, fmt.Errorf("run command %q: %s", c.Argv[0], state)
}

func killGroup(leader int) error {
	err := syscall.Kill(-leader, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// environ is the environment of the command without what a call adds; later
// entries win.
func (c Command) environ() []string {
	var env []string
	for _, name := range append(passedOn(), c.PassEnv...) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range c.Env {
		env = append(env, name+"="+value)
	}
	return env
}

// startError tells what can't be mended by trying again from the rest, such as
// too many processes. The arguments stay out of it.
func (c Command) startError(err error) error {
	var lookup *exec.Error
	var path *fs.PathError
	switch {
	case errors.As(err, &lookup):
		err = lookup.Err
	case errors.As(err, &path):
		err = path.Err
	}
	wrapped := fmt.Errorf("start command %q: %w", c.Argv[0], err)
	for _, final := range []error{exec.ErrNotFound, exec.ErrDot, fs.ErrNotExist, fs.ErrPermission, syscall.ENOTDIR, syscall.ENOEXEC} {
		if errors.Is(err, final) {
			return rotator.Permanent(wrapped)
		}
	}
	return rotator.Unsent(wrapped)
}

// checkDir exists because a missing folder and a missing program give the same
// error when the process is started.
func (c Command) checkDir() error {
	if c.Dir == "" {
		return nil
	}
	info, err := os.Stat(c.Dir)
	switch {
	case err != nil:
		return rotator.Permanent(fmt.Errorf("start command %q: open dir: %w", c.Argv[0], err))
	case !info.IsDir():
		return rotator.Permanent(fmt.Errorf("start command %q: %q is not a directory", c.Argv[0], c.Dir))
	}
	return nil
}

// Look tells, without running it, whether the command could be started.
func (c Command) Look(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.checkDir(); err != nil {
		return err
	}
	name := c.Argv[0]
	if c.Dir != "" && strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		name = filepath.Join(c.Dir, name)
	}
	if _, err := exec.LookPath(name); err != nil {
		return c.startError(err)
	}
	return nil
}
