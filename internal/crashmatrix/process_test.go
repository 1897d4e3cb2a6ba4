package crashmatrix

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that needs no person: a rotation whose
// issuer may have made a second credential looks for it again a minute later.
const patience = 3 * time.Minute

// built tells whether the binary was asked for.
var built atomic.Bool

// binary builds rotatord with its crash points, once a test run.
var binary = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "rotatord-crashpoints-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "rotatord")
	build := exec.Command("go", "build", "-tags", "crashpoints", "-o", path, "../../cmd/rotatord")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build rotatord: %w\n%s", err, output)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given { // a world mostly waits: the number of cores says little
		_ = flag.Set("test.parallel", "8") // the flag exists
	}
	code := m.Run()
	if built.Load() {
		if path, err := binary(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// A process is a rotatord.
type process struct {
	cmd    *exec.Cmd
	output string // file with all that it prints
	ended  chan struct{}
}

// start runs rotatord with arguments and more variables. It ends with the test.
func (w *world) start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	built.Store(true)
	return w.startProgram(t, env, append([]string{path}, args...)...)
}

func (w *world) startProgram(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	w.outputs++
	p := &process{output: filepath.Join(w.dir, fmt.Sprintf("output-%d.log", w.outputs)), ended: make(chan struct{})}
	file, err := os.OpenFile(p.output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(args[0], args[1:]...) //nolint:noctx // the test ends it
	if w.typed != "" {
		p.cmd.Stdin = strings.NewReader(w.typed)
	}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = w.dir, file, file
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + filepath.Join(w.dir, "tmp"),
		"ADMIN_TOKEN=" + w.sim.AdminToken(), "VAULT_TOKEN=" + w.login, "HOOK_SECRET=" + hookSecret,
	}, env...)
	if err := errors.Join(p.cmd.Start(), file.Close()); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells how it ended
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may be over
		<-p.ended
	})
	return p
}

func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait returns the exit code; -1: a signal ended it.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s does not end within %s:\n%s", strings.Join(p.cmd.Args[1:], " "), patience, p.text())
		return 0
	}
}

// killed tells whether SIGKILL ended it, or a SIGTERM before it could listen for one.
func (p *process) killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM)
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// text is what it printed so far.
func (p *process) text() string {
	raw, _ := os.ReadFile(p.output) // it exists since start
	return string(raw)
}

// command runs rotatord to its end and returns the exit code and what it printed.
func (w *world) command(t *testing.T, args ...string) (int, string) {
	t.Helper()
	p := w.start(t, nil, args...)
	return p.wait(t), p.text()
}

// until looks again and again for what a process brings about.
func until(t *testing.T, what string, look func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !look(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) || t.Context().Err() != nil {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
