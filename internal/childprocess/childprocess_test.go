package childprocess

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEnvironment holds the whole environment of a program: nothing of the
// daemon's but what is listed.
func TestEnvironment(t *testing.T) {
	for _, name := range append(passedOn(), "ADMIN_TOKEN", "KUBECONFIG") {
		t.Setenv(name, "of the daemon")
	}
	t.Setenv("PATH", "/usr/bin:/bin")
	t.Setenv("ROTATORD_CONFIG", "rotatord.yaml")
	out := Output{MaxBytes: 1 << 16}
	c := Command{
		Argv: []string{"env"},
		Env:  map[string]string{"TZ": "Europe/Madrid", "CRM": "a=b c"}, PassEnv: []string{"KUBECONFIG", "UNSET_HERE"},
	}
	code, err := c.Run(t.Context(), Call{Env: []string{"ROTATORD_TOKEN=crm-sync", "CRM=of the call"}, Stdout: &out})
	if code != 0 || err != nil {
		t.Fatalf("Run() = %d, %v", code, err)
	}
	got := strings.Split(strings.TrimSpace(string(out.Bytes())), "\n")
	want := []string{
		"CRM=of the call", "HOME=of the daemon", "KUBECONFIG=of the daemon", "LANG=of the daemon", "LC_ALL=of the daemon",
		"LC_CTYPE=of the daemon", "LOGNAME=of the daemon", "PATH=/usr/bin:/bin", "ROTATORD_TOKEN=crm-sync",
		"TMPDIR=of the daemon", "TZ=Europe/Madrid", "USER=of the daemon",
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestArgumentsAreNotReadByAShell(t *testing.T) {
	dir := t.TempDir()
	c := Command{Argv: []string{"touch", "a b; touch c $(id)"}, Dir: dir}
	if code, err := c.Run(t.Context(), Call{}); code != 0 || err != nil {
		t.Fatalf("Run() = %d, %v", code, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a b; touch c $(id)")); err != nil {
		t.Error(err)
	}
}

func TestPermanentStartErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	write(t, plain, "not a program")
	for name, test := range map[string]struct {
		command Command
		want    string
	}{
		"not in PATH":     {Command{Argv: []string{"no-such-program-anywhere"}}, `start command "no-such-program-anywhere": executable file not found in $PATH`},
		"no such file":    {Command{Argv: []string{"/no/such/program"}}, `start command "/no/such/program": no such file or directory`},
		"not executable":  {Command{Argv: []string{plain}}, `start command "` + plain + `": permission denied`},
		"no dir":          {Command{Argv: []string{"true"}, Dir: "/no/such/dir"}, `start command "true": open dir: stat /no/such/dir: no such file or directory`},
		"dir is no dir":   {Command{Argv: []string{"true"}, Dir: plain}, `start command "true": "` + plain + `" is not a directory`},
		"relative to dir": {Command{Argv: []string{"./plain"}, Dir: dir}, `start command "./plain": permission denied`},
	} {
		t.Run(name, func(t *testing.T) {
			test.command.Argv = append(test.command.Argv, "argument-secret")
			_, err := test.command.Run(t.Context(), Call{})
			if !rotator.IsPermanent(err) || err.Error() != test.want {
				t.Errorf("Run() = %v (permanent %v); want permanent %q", err, rotator.IsPermanent(err), test.want)
			}
			if err := test.command.Look(t.Context()); !rotator.IsPermanent(err) {
				t.Errorf("Look() = %v; want a permanent error", err)
			}
		})
	}
	if err := (Command{Argv: []string{"true"}, Dir: dir}).Look(t.Context()); err != nil {
		t.Errorf("Look() of a program that is there = %v", err)
	}
}

func TestEnds(t *testing.T) {
	for script, want := range map[string]string{
		"echo out; echo err >&2; exit 3": "",
		"kill -TERM $$":                  `run command "sh": signal: terminated`,
	} {
		code, err := Command{Argv: []string{"sh", "-c", script}}.Run(t.Context(), Call{})
		if want == "" && (code != 3 || err != nil) || want != "" && (err == nil || err.Error() != want || rotator.HadNoEffect(err)) {
			t.Errorf("Run(%q) = %d, %v (no effect: %v); want %q", script, code, err, rotator.HadNoEffect(err), want)
		}
	}
}

// Input that a program does not read, or not to its end, is no failure of its own.
func TestInput(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for script, want := range map[string]string{"wc -c": "1048576", "head -c 3": "xxx", "true": ""} {
		out := Output{MaxBytes: 100}
		code, err := Command{Argv: []string{"sh", "-c", script}}.Run(t.Context(), Call{Stdin: strings.NewReader(long), Stdout: &out})
		if got := strings.TrimSpace(string(out.Bytes())); code != 0 || err != nil || got != want {
			t.Errorf("Run(%q) = %d, %v, prints %q; want %q", script, code, err, got, want)
		}
	}
}

// started runs a command with a child and returns once both run: both hold a
// pipe open for as long as they live, and gone is closed when they are gone.
func started(ctx context.Context, t *testing.T, timeout time.Duration) (result <-chan error, gone <-chan struct{}) {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	script := `exec 3>"$1"; sleep 1000 & echo ready >&3; wait`
	ended := make(chan error, 1)
	go func() {
		_, err := Command{Argv: []string{"sh", "-c", script, "sh", pipe}, Timeout: timeout}.Run(ctx, Call{})
		ended <- err
	}()
	file, err := os.Open(pipe) // waits for a writer
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(file)
	if line, err := reader.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("pipe said %q, %v", line, err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, reader)
		_ = file.Close()
	}()
	return ended, closed
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the process group lives on after 30 seconds")
	}
}

func TestCancelKillsTheProcessGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, gone := started(ctx, t, 0)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || rotator.HadNoEffect(err) {
		t.Errorf("Run() = %v (no effect: %v); want context.Canceled, its effect in doubt", err, rotator.HadNoEffect(err))
	}
	wait(t, gone)
	if _, err := (Command{Argv: []string{"true"}}).Run(ctx, Call{}); !errors.Is(err, context.Canceled) || !rotator.HadNoEffect(err) {
		t.Errorf("Run() with a cancelled ctx = %v; want context.Canceled without effect", err)
	}
}

func TestTimeoutKillsTheProcessGroup(t *testing.T) {
	result, gone := started(t.Context(), t, time.Second)
	want := `run command "sh": not ended after 1s`
	if err := <-result; err == nil || err.Error() != want || rotator.HadNoEffect(err) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run() = %v; want %q, its effect in doubt", err, want)
	}
	wait(t, gone)
}

func TestOutput(t *testing.T) {
	out := Output{MaxBytes: 5}
	for _, text := range []string{"abc", "de", "", "fg"} {
		if n, err := out.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write(%q) = %d, %v", text, n, err)
		}
		if cut := text == "fg"; out.Cut() != cut {
			t.Errorf("after %q Cut() = %v; want %v", text, out.Cut(), cut)
		}
	}
	if got := string(out.Bytes()); got != "abcde" {
		t.Errorf("Bytes() = %q; want abcde", got)
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		" 3 of 3\r\n":                     "3 of 3",
		"a\033[31mb\tc\u202ed\xffe":       "a [31mb c d\ufffde",
		"two\nlines\u2028or three":        "two lines or three",
		strings.Repeat("é", 201):          strings.Repeat("é", 199) + "…",
		strings.Repeat("é", 200) + "\n\n": strings.Repeat("é", 200),
	} {
		if got := OneLine(text); got != want {
			t.Errorf("OneLine(%q) = %q; want %q", text, got, want)
		}
	}
}
