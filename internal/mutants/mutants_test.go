package mutants_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

var (
	run    = flag.Bool("mutants", false, "switch off every defence in turn (some minutes)")
	checks = flag.String("checks", "2500", "worlds that a mutant has to survive, four times")
)

// A suite is the tests that have to see a mutant.
type suite struct {
	dir  string
	args []string
}

var (
	worlds   = suite{"rotator", []string{"-test.run=^TestPromises$", "-rapid.shrinktime=0s", "-rapid.nofailfile"}}
	journals = suite{"internal/journal", []string{"-test.run=^TestSQLite$"}}
)

// promises are those whose names a failure may give, one of them at least.
var defences = []struct {
	name     string
	suite    suite
	promises []string
}{
	{"reconcile", worlds, []string{"P3"}},
	{"marker", worlds, []string{"P3"}},
	{"evidence gate", worlds, []string{"P1", "P2"}},
	{"put-back", worlds, []string{"P1", "P3", "P4"}},
	{"read-back", worlds, []string{"P1", "P3", "P4"}},
	{"seal wipe", worlds, []string{"P6"}},
	{"fence", journals, []string{"P3"}},
}

func TestMutants(t *testing.T) {
	if !*run {
		t.Skip("slow; run it with -mutants")
	}
	binaries := map[string]string{}
	for _, s := range []suite{worlds, journals} {
		binaries[s.dir] = filepath.Join(t.TempDir(), "suite.test")
		build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "mutants", "-o", binaries[s.dir], "./"+s.dir)
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the tests of %s: %v\n%s", s.dir, err, out)
		}
		if out, err := attempt(t, s, binaries[s.dir], "nothing", "100"); err != nil {
			t.Fatalf("the tests of %s fail with every defence on: %v\n%s", s.dir, err, out)
		}
	}
	for _, d := range defences {
		t.Run(d.name, func(t *testing.T) {
			out, err := attempt(t, d.suite, binaries[d.suite.dir], d.name, *checks)
			if err == nil {
				t.Fatalf("nobody sees that %q is switched off", d.name)
			}
			named := regexp.MustCompile(`\bP[1-7]: .*`).FindString(out)
			if named == "" || !slices.Contains(d.promises, named[:2]) {
				t.Fatalf("without %q the tests fail and name %q; want one of %v\n%s", d.name, named, d.promises, out)
			}
			t.Logf("without %s: %s", d.name, named)
		})
	}
}

// attempt runs a suite without a defence and returns what it prints.
func attempt(t *testing.T, s suite, binary, without, checks string) (string, error) {
	t.Helper()
	args := s.args
	if s.dir == worlds.dir {
		args = append(slices.Clone(args), "-rapid.checks="+checks, "-test.failfast")
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = filepath.Join("../..", s.dir)
	cmd.Env = append(os.Environ(), "ROTATORD_WITHOUT="+without)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
