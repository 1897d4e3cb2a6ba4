package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const serveConfig = `state: {dsn: "sqlite:rotatord.db", seal_key: {file: rotatord.key}}
server: {listen: "127.0.0.1:%d"}
log: {format: json}
issuers:
  s:
    type: http
    base_url: http://127.0.0.1:1
    create: {method: POST, path: /tokens, body: '{"name": {{ json .marker }}}', id: body.id, value: body.secret}
    revoke: {method: DELETE, path: "/tokens/{{ .id }}"}
    check: {path: /whoami, headers: {Authorization: "Bearer {{ .value }}"}, live: status == 200, dead: status == 401}
stores:
  f: {type: file, dir: values}
tokens:
`

// Serve builds the real rotatord, lets `rotatord serve` idle for p.For with
// p.Tokens tokens, or half of them where a configuration can't hold so many,
// and reports Count tokens: Took until it was up, then memory and CPU of the
// idling. Nothing is due and nobody asks it anything.
func Serve(ctx context.Context, p Params) (Sample, error) {
	binary := filepath.Join(p.Dir, "rotatord")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "github.com/rotatord/rotatord/cmd/rotatord") //nolint:gosec // our own
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return Sample{}, fmt.Errorf("build rotatord: %w: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(p.Dir, "values"), 0o700); err != nil {
		return Sample{}, err
	}
	for tokens := p.Tokens; ; tokens /= 2 {
		sample, err := serve(ctx, p, binary, tokens)
		if failed, ok := errors.AsType[*exec.ExitError](err); !ok || failed.ExitCode() != 2 || tokens < p.Tokens {
			return sample, err
		}
	}
}

func writeServeConfig(path string, tokens int) error {
	free, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		return err
	}
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, serveConfig, port)
	for i := range tokens {
		_, _ = fmt.Fprintf(&b, "  t%06d: {issuer: s, stores: [{store: f, key: t%06d}], schedule: {cron: '@yearly'}}\n", i, i)
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

func serve(ctx context.Context, p Params, binary string, tokens int) (Sample, error) {
	if err := writeServeConfig(filepath.Join(p.Dir, "rotatord.yaml"), tokens); err != nil {
		return Sample{}, err
	}
	cmd := exec.CommandContext(ctx, binary, "serve")
	cmd.Dir = p.Dir
	log, err := cmd.StderrPipe()
	if err != nil {
		return Sample{}, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Sample{}, err
	}
	if last := waitForLog(log, "started"); last != "" {
		return Sample{}, fmt.Errorf("serve with %d tokens: %s: %w", tokens, last, cmd.Wait())
	}
	sample := Sample{Count: tokens, Took: time.Since(start)}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, log)
	}()
	err = sample.watch(ctx, cmd.Process.Pid, p.For)
	err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
	<-drained
	return sample, errors.Join(err, cmd.Wait())
}

// watch lets a process settle and then looks what its idling takes.
func (s *Sample) watch(ctx context.Context, pid int, during time.Duration) error {
	const settle = 5 * time.Second
	var before time.Duration
	for i, pause := range []time.Duration{settle, during} {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		used, err := cpuTimeOf(pid)
		if err != nil {
			return err
		}
		if i == 0 {
			before = used
		}
		s.CPU = used - before
	}
	var err error
	s.MemoryMB, s.PeakMB, err = memory(strconv.Itoa(pid))
	return err
}

// waitForLog reads a log of JSON lines up to a message; where the log ends
// before, it returns its last line.
func waitForLog(log io.Reader, message string) (last string) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct {
			Msg string `json:"msg"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == message {
			return ""
		}
		last = lines.Text()
	}
	return "ended: " + last
}
