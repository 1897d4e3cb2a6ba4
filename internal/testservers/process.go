package testservers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// buildCommand is what a person runs when a test was skipped for want of a server.
const buildCommand = "go run ./internal/testservers/cmd/build"

type buildError struct{ error }

func (e *buildError) Unwrap() error { return e.error }

// process is a server that runs until it is stopped, or until this process ends.
type process struct {
	input io.Closer
	ended chan struct{}
}

// Stop ends the server and waits for it. Further calls do nothing.
func (p *process) Stop() {
	_ = p.input.Close()
	<-p.ended
}

// start builds a server if need be, starts it, and reads the line of JSON with
// which it says that it answers. ctx is only for the start.
func start(ctx context.Context, s Server, ready any) (*process, error) {
	binary, err := Build(ctx, s, func(message string) { _, _ = fmt.Fprintln(os.Stderr, message) })
	if err != nil {
		return nil, &buildError{err}
	}
	command := exec.Command(binary) //nolint:gosec,noctx // our own binary; it outlives ctx and ends with its standard input
	var complaints bytes.Buffer
	command.Stderr = &complaints
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	giveUp := context.AfterFunc(ctx, func() { _ = input.Close() })
	err = json.NewDecoder(output).Decode(ready)
	giveUp()
	p := &process{input: input, ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("wait for %s: %w\n%s", s.Name, errors.Join(err, ctx.Err()), complaints.String())
	}
	return p, nil
}

// needed ends a test that has no server: where it can't be built the test is
// skipped with the way to build it, in CI (the variable CI is set) it fails.
func needed(t testing.TB, s Server, err error) {
	t.Helper()
	var unbuilt *buildError
	switch {
	case errors.As(err, &unbuilt) && os.Getenv("CI") == "":
		t.Skipf("no %s to test against; build it with `%s`: %v", s.Name, buildCommand, err)
	case err != nil:
		t.Fatalf("start %s: %v", s.Name, err)
	}
}
