package demo

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

// number reads the number that stands behind a label of the table.
func number(t *testing.T, table, label string) int {
	t.Helper()
	match := regexp.MustCompile(`(?m)^  ` + label + ` +(\d+)$`).FindStringSubmatch(table)
	if match == nil {
		t.Fatalf("the table has no line %q:\n%s", label, table)
	}
	value, err := strconv.Atoi(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTheWholeDemo(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	r, err := run(t.Context(), Options{Out: &out, Workers: 4})
	if err != nil {
		t.Fatalf("run: %v\n%s", err, out.String())
	}
	_, table, found := strings.Cut(out.String(), "\nResult\n")
	if !found {
		t.Fatalf("no table:\n%s", out.String())
	}
	if got := number(t, table, "calls made by the workers"); got < 100 || got > int(r.calls) {
		t.Errorf("calls made = %d; want at least 100, and no more than the %d that were counted in the end", got, r.calls)
	}
	for label, want := range map[string]int{"calls refused": 0, "calls failed otherwise": 0, "credentials accepted in the end": 1} {
		if got := number(t, table, label); got != want {
			t.Errorf("%s = %d; want %d", label, got, want)
		}
	}
	for _, reason := range []rotator.Reason{rotator.Scheduled, rotator.Leak} {
		line := regexp.MustCompile(`(?m)^  \w{26}  ` + string(reason) + ` +done +\d+\.\d s +(\d+\.\d) s$`).FindStringSubmatch(table)
		if line == nil {
			t.Errorf("the table has no line of a %s rotation that is done:\n%s", reason, table)
		} else if line[1] == "0.0" {
			t.Errorf("%s: revoke to dead = 0.0 s; the simulated service needs 0.8 s", reason)
		}
	}
	if strings.Contains(out.String(), "eyJhbGci") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the output shows a value, or colours without a terminal:\n%s", out.String())
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the temporary folder: %v (%v)", left, err)
	}
}

func TestKeepRunsUntilTheContextEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watched{look: "Ctrl-C ends it", seen: cancel}
	if err := Run(ctx, Options{Out: out, Workers: 1, Keep: true, Terminal: true, Program: "./rotatord"}); err != nil {
		t.Fatalf("Run: %v\n%s", err, out.String())
	}
	if got := strings.Count(out.String(), "calls refused"); got != 2 {
		t.Errorf("%d tables; want one before and one after it was kept:\n%s", got, out.String())
	}
	if !strings.Contains(out.String(), "\x1b[") || !regexp.MustCompile(`\./rotatord -c \S+/rotatord.yaml status`).MatchString(out.String()) {
		t.Errorf("no colour, or no command to try:\n%s", out.String())
	}
}

// watched calls seen once look was written.
type watched struct {
	bytes.Buffer
	look string
	seen func()
}

func (w *watched) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.look) {
		w.seen()
	}
	return w.Buffer.Write(p)
}

func TestVerdict(t *testing.T) {
	good := report{
		tally:     tally{calls: 10},
		rotations: []rotator.Summary{{New: "aa"}, {New: "bb"}},
		live:      []rotator.Fingerprint{"bb"},
	}
	if err := good.verdict(); err != nil {
		t.Errorf("verdict of a good report = %v; want nil", err)
	}
	for name, spoil := range map[string]func(*report){
		"refused":        func(r *report) { r.refused = 1 },
		"failed":         func(r *report) { r.failed = 1 },
		"no load":        func(r *report) { r.calls = 0 },
		"two live":       func(r *report) { r.live = append(r.live, "aa") },
		"the wrong one":  func(r *report) { r.live = []rotator.Fingerprint{"aa"} },
		"none is living": func(r *report) { r.live = nil },
	} {
		bad := good
		spoil(&bad)
		err := bad.verdict()
		if err == nil {
			t.Errorf("%s: verdict = nil; want an error", name)
		}
		if got, want := errors.Is(err, ErrRefused), name == "refused"; got != want {
			t.Errorf("%s: errors.Is(%v, ErrRefused) = %v; want %v", name, err, got, want)
		}
	}
}

// A worker must notice and tell when its token is revoked under it: else the
// demo's zero would mean nothing.
func TestAWorkerCountsWhatIsRefused(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	s := &stage{
		dir: dir, adminFile: filepath.Join(dir, "admin-token"),
		reloadFile: filepath.Join(dir, "reload"), keys: filepath.Join(dir, "secrets"),
	}
	s.tokenFile = filepath.Join(s.keys, storeKey)
	defer func() {
		if err := s.close(false); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := errors.Join(s.openService(ctx), s.writeFirst(ctx), s.openFleet(ctx, 2)); err != nil {
		t.Fatal(err)
	}
	waitHealth(ctx, t, s, http.StatusOK, string(s.first))
	if err := s.sim.Delete(s.firstID); err != nil {
		t.Fatal(err)
	}
	waitHealth(ctx, t, s, http.StatusServiceUnavailable, "")
	if got := s.fleet.tally(); got.refused == 0 || got.failed != 0 {
		t.Errorf("tally = %+v; want refused calls, and none that failed otherwise", got)
	}
	if got := int64(s.sim.Stats().Refused); got < s.fleet.tally().refused {
		t.Errorf("the service counted %d refused calls, the workers %d", got, s.fleet.tally().refused)
	}

	made, err := s.sim.Generate(place(), "another")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.tokenFile, []byte(made.Value), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(s.reloadFile, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	waitHealth(ctx, t, s, http.StatusOK, string(rotator.FingerprintOf(made.Value)))
}

// waitHealth waits until every worker answers with a status and a fingerprint.
func waitHealth(ctx context.Context, t *testing.T, s *stage, status int, fingerprint string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, w := range s.fleet.workers {
		for {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.health, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s never answered %d with %q: %v", w.name, status, fingerprint, err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode == status && resp.Header.Get("X-Token-Fingerprint") == fingerprint {
				break
			}
		}
	}
}
