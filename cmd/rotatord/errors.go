package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/internal/server"
)

// The exit codes. Every help text names them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration
	exitHeld   = 3 // a person is needed
)

const exitCodes = "Exit codes: 0 done · 1 failed · 2 usage or configuration · 3 held, a person is needed"

// failure is an error with the exit code it leads to, and with what can be
// done about it. A silent one was told on standard output already.
type failure struct {
	err    error
	code   int
	hints  []string
	silent bool
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// usage marks a mistake in how the command was called.
func usage(err error, hints ...string) error {
	return &failure{err: err, code: exitUsage, hints: hints}
}

// failed marks an error that happened while the command ran.
func failed(err error, hints ...string) error {
	return &failure{err: err, code: exitFailed, hints: hints}
}

// classify gives an error that a command returned its exit code and hints.
func classify(err error) error {
	var known *failure
	var mistakes *config.MistakesError
	var locked *journal.LockedError
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.As(err, &mistakes):
		return usage(err)
	case errors.As(err, &locked):
		return failed(err, "no daemon answers beside it: another command is at work, or a daemon is just starting; wait for it and try again")
	case errors.Is(err, server.ErrInterrupted):
		return failed(err, "the rotation goes on when rotatord runs next: `rotatord serve`, or `rotatord run`")
	case errors.Is(err, server.ErrPathTooLong):
		return usage(err, "keep the database in a folder with a shorter path (state.dsn)")
	case errors.Is(err, syscall.EACCES), errors.Is(err, fs.ErrPermission):
		return failed(err, "run it as the user that rotatord runs as, for example with sudo -u rotatord")
	case errors.Is(err, context.Canceled):
		return failed(errors.New("interrupted"))
	}
	return failed(err)
}

// report writes an error and its hints, and returns the exit code. An error
// that no command returned is one of cobra's: a mistake in the call.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{err: err, code: exitUsage, hints: []string{"see `rotatord --help`"}}
	}
	if !f.silent {
		for line := range strings.SplitSeq(f.err.Error(), "\n") {
			printf(w, "rotatord: %s\n", clean(line))
		}
	}
	for _, hint := range f.hints {
		printf(w, "hint: %s\n", clean(hint))
	}
	return f.code
}
