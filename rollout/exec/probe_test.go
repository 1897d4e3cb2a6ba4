package execrollout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rollout/deployertest"
	"github.com/rotatord/rotatord/rollout/probetest"
	"github.com/rotatord/rotatord/rotator"
)

// probeScript looks at the consumer that the file `state` describes.
const probeScript = `
echo look >>looks
echo "$SECRET" >&2
read -r state fingerprint <state
case $state in
well) echo "fingerprint=$fingerprint"; echo "works";;
broken) echo "refused"; exit 1;;
starting) exit 2;;
mute) echo "fingerprint=";;
garbled) echo "fingerprint=$SECRET";;
hanging) exec sleep 1000;;
esac
`

func TestProbeConformance(t *testing.T) {
	probetest.Run(t, func(t *testing.T) probetest.Harness {
		t.Setenv("SECRET", daemonSecret)
		dir := t.TempDir()
		write(t, filepath.Join(dir, "probe.sh"), probeScript)
		write(t, filepath.Join(dir, "looks"), "")
		state := ""
		return probetest.Harness{
			Probe:       newProbe(t, ProbeConfig{Command: []string{"sh", "probe.sh", argSecret}, Dir: dir, PassEnv: []string{"SECRET"}}),
			Unreachable: newProbe(t, ProbeConfig{Command: []string{"sh", "-c", "echo nobody there; exit 3", "sh", argSecret}}),
			Set: func(c probetest.Consumer) {
				state = fmt.Sprintf("%s %s\n", c.State, c.Fingerprint)
				write(t, filepath.Join(dir, "state"), state)
			},
			Looks: func() int { return len(lines(t, filepath.Join(dir, "looks"))) },
			Changes: func() []string {
				raw, err := os.ReadFile(filepath.Join(dir, "state"))
				if err == nil && string(raw) != state {
					return []string{string(raw)}
				}
				return nil
			},
			Secrets: []string{argSecret, daemonSecret},
		}
	})
}

func newProbe(t *testing.T, c ProbeConfig) rotator.Probe {
	t.Helper()
	p, err := NewProbe(t.Context(), c)
	if err != nil {
		t.Fatalf("NewProbe(%+v) = %v", c, err)
	}
	return p
}

func TestProbeAnswers(t *testing.T) {
	release := deployertest.Release("r1")
	asked, previous := string(release.Fingerprint), release.Previous
	long := strings.Repeat("é", 300)
	for name, test := range map[string]struct {
		script  string
		want    rotator.Finding
		wantErr string
	}{
		"healthy, silent":         {script: "exit 0", want: rotator.Finding{Health: rotator.Healthy}},
		"healthy, says it":        {script: "echo; echo ' 3 of 3 '; echo more", want: rotator.Finding{Health: rotator.Healthy, Detail: "3 of 3"}},
		"unhealthy, silent":       {script: "exit 1", want: rotator.Finding{Health: rotator.Unhealthy, Detail: "exit status 1"}},
		"not yet":                 {script: "echo 1 of 3; exit 2", want: rotator.Finding{Health: rotator.NotYet, Detail: "1 of 3"}},
		"unknown":                 {script: "exit 3", wantErr: `run command "sh": exit status 3, where 0, 1 and 2 are known`},
		"signal":                  {script: "kill -KILL $$", wantErr: `run command "sh": signal: killed`},
		"gets the fingerprint":    {script: `echo fingerprint=$ROTATORD_FINGERPRINT`, want: rotator.Finding{Health: rotator.Healthy, Seen: release.Fingerprint}},
		"upper case, CR":          {script: `printf 'fingerprint=%s\r\n' ` + strings.ToUpper(asked), want: rotator.Finding{Health: rotator.Healthy, Seen: release.Fingerprint}},
		"another fingerprint":     {script: `echo fingerprint=$ROTATORD_PREVIOUS_FINGERPRINT`, want: rotator.Finding{Health: rotator.NotYet, Seen: previous, Detail: "lives on " + string(previous)}},
		"one of a fleet is late":  {script: `echo fingerprint=` + asked + `; echo fingerprint=` + string(previous) + `; echo fingerprint=` + asked, want: rotator.Finding{Health: rotator.NotYet, Seen: previous, Detail: "lives on " + string(previous)}},
		"malformed fingerprint":   {script: `echo fingerprint=abc`, wantErr: `read output of command "sh": a fingerprint line does not hold 16 hex digits`},
		"malformed, but not yet":  {script: `echo fingerprint=abc; exit 2`, want: rotator.Finding{Health: rotator.NotYet, Detail: "exit status 2"}},
		"control characters":      {script: `printf 'a\033[31mb\tc\342\200\256d\377e\n'`, want: rotator.Finding{Health: rotator.Healthy, Detail: "a [31mb c d\ufffde"}},
		"long line":               {script: "echo " + long, want: rotator.Finding{Health: rotator.Healthy, Detail: strings.Repeat("é", 199) + "…"}},
		"endless, healthy":        {script: "head -c 1000000 /dev/zero", wantErr: `read output of command "sh": longer than 65536 bytes`},
		"endless, not yet":        {script: "echo slow; head -c 1000000 /dev/zero; exit 2", want: rotator.Finding{Health: rotator.NotYet, Detail: "slow"}},
		"a child holds on to out": {script: "sleep 1000 & echo $! >pid; echo fine", want: rotator.Finding{Health: rotator.Healthy, Detail: "fine"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := newProbe(t, ProbeConfig{Command: []string{"sh", "-c", test.script}, Target: "workers", Dir: dir})
			got, err := p.Probe(t.Context(), release)
			if _, statErr := os.Stat(filepath.Join(dir, "pid")); statErr == nil {
				killAll(t, lines(t, filepath.Join(dir, "pid")))
			}
			if test.wantErr != "" {
				if err == nil || err.Error() != test.wantErr {
					t.Errorf("Probe() = %+v, %v; want error %q", got, err, test.wantErr)
				}
				return
			}
			test.want.Target = "workers"
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Probe(): %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestProbeOutOfTime(t *testing.T) {
	b := newBlocked(t)
	p := newProbe(t, ProbeConfig{Command: b.argv})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		_, err := p.Probe(ctx, deployertest.Release("r1"))
		result <- err
	}()
	gone := b.started(t)
	if err := <-result; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Probe() = %v; want context.DeadlineExceeded", err)
	}
	wait(t, gone, "end of the process group")
}

func TestDefaultTargetIsTheProgram(t *testing.T) {
	got, err := newProbe(t, ProbeConfig{Command: []string{"true", argSecret}}).Probe(t.Context(), deployertest.Release("r1"))
	if want := (rotator.Finding{Health: rotator.Healthy, Target: "true"}); err != nil || got != want {
		t.Errorf("Probe() = %+v, %v; want %+v", got, err, want)
	}
}
