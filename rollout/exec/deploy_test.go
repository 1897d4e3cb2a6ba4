package execrollout

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rollout/deployertest"
	"github.com/rotatord/rotatord/rotator"
)

const (
	argSecret    = "argument-secret"
	daemonSecret = "daemon-secret"
)

// deployScript starts a consumer that outlives it and never becomes ready.
const deployScript = `
if [ -e fail ]; then rm fail; echo "$1 $SECRET"; echo "$1 $SECRET" >&2; exit 7; fi
sleep 1000 &
echo $! >>pids
echo "$ROTATORD_RELEASE" >>rollouts
`

func TestDeployerConformance(t *testing.T) {
	deployertest.Run(t, func(t *testing.T) deployertest.Harness { return openHarness(t, nil) })
}

func TestAskedDeployerConformance(t *testing.T) {
	already := []string{"sh", "-c", `grep -qx "$ROTATORD_RELEASE" rollouts`}
	deployertest.Run(t, func(t *testing.T) deployertest.Harness { return openHarness(t, already) })
}

func openHarness(t *testing.T, already []string) deployertest.Harness {
	t.Helper()
	t.Setenv("SECRET", daemonSecret)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "deploy.sh"), deployScript)
	write(t, filepath.Join(dir, "rollouts"), "")
	write(t, filepath.Join(dir, "pids"), "")
	t.Cleanup(func() {
		for _, text := range lines(t, filepath.Join(dir, "pids")) {
			if pid, err := strconv.Atoi(text); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	config := DeployConfig{Command: []string{"sh", "deploy.sh", argSecret}, Dir: dir, PassEnv: []string{"SECRET"}, Already: already}
	unknown := config
	unknown.Command = []string{"./no-such-program", argSecret}
	return deployertest.Harness{
		Deployer: newDeployer(t, config),
		Unknown:  newDeployer(t, unknown),
		FailNext: func() { write(t, filepath.Join(dir, "fail"), "") },
		Rollouts: func(release string) int {
			count := 0
			for _, line := range lines(t, filepath.Join(dir, "rollouts")) {
				if line == release {
					count++
				}
			}
			return count
		},
		Local:   true,
		Secrets: []string{argSecret, daemonSecret},
	}
}

func newDeployer(t *testing.T, c DeployConfig) rotator.Deployer {
	t.Helper()
	d, err := NewDeployer(t.Context(), c)
	if err != nil {
		t.Fatalf("NewDeployer(%+v) = %v", c, err)
	}
	return d
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

func TestOnlyAConfiguredAlreadyMakesADeployAsker(t *testing.T) {
	if _, ok := newDeployer(t, DeployConfig{Command: []string{"true"}}).(rotator.DeployAsker); ok {
		t.Error("a deployer without already is a DeployAsker")
	}
	d, ok := newDeployer(t, DeployConfig{Command: []string{"true"}, Already: []string{"sh", "-c", "exit 4"}}).(rotator.DeployAsker)
	if !ok {
		t.Fatal("a deployer with already is no DeployAsker")
	}
	if done, err := d.Deployed(t.Context(), deployertest.Release("r1")); err == nil {
		t.Errorf("Deployed() of exit status 4 = %v, nil; want an error", done)
	}
}

// TestEnvironment holds what a command learns of its release, and that its own
// settings reach it.
func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUBECONFIG", "of the daemon")
	t.Setenv("ROTATORD_CONFIG", "rotatord.yaml")
	d := newDeployer(t, DeployConfig{
		Command: []string{"sh", "-c", "env >env"}, Dir: dir,
		Env: map[string]string{"CRM": "a=b c"}, PassEnv: []string{"KUBECONFIG"},
	})
	r := deployertest.Release("r1")
	if err := d.Deploy(t.Context(), r); err != nil {
		t.Fatalf("Deploy() = %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(strings.Split(string(raw), "\n"), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return !strings.HasPrefix(name, "ROTATORD_") && name != "CRM" && name != "KUBECONFIG"
	})
	want := []string{
		"CRM=a=b c", "KUBECONFIG=of the daemon",
		"ROTATORD_FINGERPRINT=" + string(r.Fingerprint), "ROTATORD_PREVIOUS_FINGERPRINT=" + string(r.Previous),
		"ROTATORD_RELEASE=r1", "ROTATORD_ROTATION=" + r.Rotation, "ROTATORD_TOKEN=crm-sync",
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestUnknownProgramIsPermanent(t *testing.T) {
	d := newDeployer(t, DeployConfig{Command: []string{"no-such-program-anywhere", argSecret}})
	want := `start command "no-such-program-anywhere": executable file not found in $PATH`
	if err := d.Deploy(t.Context(), deployertest.Release("r1")); !rotator.IsPermanent(err) || err.Error() != want {
		t.Errorf("Deploy() = %v (permanent %v); want permanent %q", err, rotator.IsPermanent(err), want)
	}
	pinger, ok := d.(rotator.Pinger)
	if !ok {
		t.Fatal("no Pinger")
	}
	if err := pinger.Ping(t.Context()); !rotator.IsPermanent(err) {
		t.Errorf("Ping() = %v; want a permanent error", err)
	}
}

func TestEndsThatAreNotZero(t *testing.T) {
	for script, want := range map[string]string{
		"echo out; echo err >&2; exit 3": `run command "sh": exit status 3`,
		"kill -TERM $$":                  `run command "sh": signal: terminated`,
		"exit 127":                       `run command "sh": exit status 127`,
	} {
		err := newDeployer(t, DeployConfig{Command: []string{"sh", "-c", script}}).Deploy(t.Context(), deployertest.Release("r1"))
		if err == nil || err.Error() != want || rotator.HadNoEffect(err) {
			t.Errorf("Deploy with %q = %v (no effect: %v); want %q, its effect in doubt", script, err, rotator.HadNoEffect(err), want)
		}
	}
}

func TestReleaseWithoutID(t *testing.T) {
	if err := newDeployer(t, DeployConfig{Command: []string{"true"}}).Deploy(t.Context(), rotator.Release{}); !rotator.IsPermanent(err) {
		t.Errorf("Deploy() of a release without id = %v; want a permanent error", err)
	}
}

// blocked is a command with a child; both hold a pipe open for as long as they
// live. Each of its two runs has a pipe of its own.
type blocked struct {
	pipe string
	argv []string
}

func newBlocked(t *testing.T) blocked {
	t.Helper()
	pipe := filepath.Join(t.TempDir(), "pipe")
	for _, path := range []string{pipe, pipe + ".again"} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `pipe=$1; if ! mkdir "$1.run"; then pipe=$1.again; fi; exec 3>"$pipe"; echo ready >&3; sleep 1000 & wait`
	return blocked{pipe, []string{"sh", "-c", script, "sh", pipe}}
}

// again is the second run.
func (b blocked) again() blocked { return blocked{pipe: b.pipe + ".again"} }

// started returns once the command runs; ended is closed when it and its child are gone.
func (b blocked) started(t *testing.T) (ended chan struct{}) {
	t.Helper()
	file, err := os.Open(b.pipe) // waits for a writer
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(file)
	if line, err := reader.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("pipe said %q, %v", line, err)
	}
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, reader)
		_ = file.Close()
	}()
	return ended
}

func wait(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: not within 30 seconds", what)
	}
}

func TestCancelKillsTheProcessGroup(t *testing.T) {
	b := newBlocked(t)
	d := newDeployer(t, DeployConfig{Command: b.argv})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- d.Deploy(ctx, deployertest.Release("r1")) }()
	gone := b.started(t)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || rotator.HadNoEffect(err) {
		t.Errorf("Deploy() = %v (no effect: %v); want context.Canceled, its effect in doubt", err, rotator.HadNoEffect(err))
	}
	wait(t, gone, "end of the process group")
}

func TestTimeoutKillsTheProcessGroup(t *testing.T) {
	b := newBlocked(t)
	d := newDeployer(t, DeployConfig{Command: b.argv, Timeout: rotator.Duration(time.Second)})
	result := make(chan error, 1)
	go func() { result <- d.Deploy(t.Context(), deployertest.Release("r1")) }()
	gone := b.started(t)
	want := `run command "sh": not ended after 1s`
	if err := <-result; err == nil || err.Error() != want || rotator.HadNoEffect(err) || errors.Is(err, context.Canceled) {
		t.Errorf("Deploy() = %v; want %q, its effect in doubt", err, want)
	}
	wait(t, gone, "end of the process group")
}

// TestWaitingCallTakesOver: a run that its own caller cancelled is no result
// for the call that waits for it, and that one's own context counts.
func TestWaitingCallTakesOver(t *testing.T) {
	b := newBlocked(t)
	d := newDeployer(t, DeployConfig{Command: b.argv})
	release := deployertest.Release("r1")
	first, cancelFirst := context.WithCancel(t.Context())
	defer cancelFirst()
	second, cancelSecond := context.WithCancel(t.Context())
	defer cancelSecond()
	firstResult, secondResult := make(chan error, 1), make(chan error, 1)
	go func() { firstResult <- d.Deploy(first, release) }()
	gone := b.started(t)

	impatient, cancelImpatient := context.WithCancel(t.Context())
	impatientResult := make(chan error, 1)
	go func() { impatientResult <- d.Deploy(impatient, release) }()
	cancelImpatient()
	if err := <-impatientResult; !errors.Is(err, context.Canceled) || !rotator.HadNoEffect(err) {
		t.Errorf("Deploy() that only waited = %v; want context.Canceled without effect", err)
	}

	go func() { secondResult <- d.Deploy(second, release) }()
	cancelFirst()
	if err := <-firstResult; !errors.Is(err, context.Canceled) {
		t.Errorf("first Deploy() = %v; want context.Canceled", err)
	}
	wait(t, gone, "end of the first run")
	gone = b.again().started(t) // the second call's run
	cancelSecond()
	if err := <-secondResult; !errors.Is(err, context.Canceled) {
		t.Errorf("second Deploy() = %v; want context.Canceled", err)
	}
	wait(t, gone, "end of the second run")
}

func TestRecordIsBounded(t *testing.T) {
	var o once
	count := 0
	act := func() error { count++; return nil }
	for i := range maxRemembered + 10 {
		for range 2 {
			if err := o.do(t.Context(), fmt.Sprint("r", i), act); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := maxRemembered + 10; count != want {
		t.Errorf("acts = %d; want %d", count, want)
	}
	if len(o.done) != maxRemembered || len(o.order) != maxRemembered || len(o.running) != 0 {
		t.Errorf("record holds %d, %d, %d; want %d, %d, 0", len(o.done), len(o.order), len(o.running), maxRemembered, maxRemembered)
	}
}
