package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

// The stories (testdata/stories/*.txtar) play whole rotations: rotatord, the
// workers and Vault are processes, and what a story claims is asked of the
// service, the stores and the workers, not of rotatord. Besides testscript's own
// commands and some of script_test.go (exits, eventually, waitfile, json, knob,
// generate, delete, accepts) there are
//
//	sim                            start the service: $API, $DASHBOARD, $ADMIN_TOKEN
//	vault                          a Vault: $VAULT_ADDR, $VAULT_TOKEN, folder $STORY; [vault] tells whether there is one
//	vault-may read|write           what $VAULT_TOKEN may do from now on; write includes read
//	keep PLACE FILE                put a file's text into the place file:NAME or vault:NAME
//	hire NAME PLACE                start a worker that lives on what is kept there; $NAME is its address
//	configure FILE                 make rotatord.yaml of base.yaml and the file; both know ${VAR}
//	start JOB PROGRAM ARG…         run it in the background, as process $PID; what it prints goes to JOB.log
//	signal NAME JOB                send TERM, HUP or KILL to a job
//	ended JOB [CODE]               wait for its end; the exit code must be CODE
//	seen JOB REGEXP                wait until a line of JOB.log matches
//	trap NAME WHEN REGEXP          hold the next call to the service or to Vault whose "METHOD /path" matches:
//	                               before it has its effect; after, so that the answer is missing; or late, when
//	                               it has its effect on release though the caller may be gone
//	trapped NAME                   wait until a call is held
//	release NAME                   let it go on
//	cut NAME                       cut its connection: nobody gets the answer
//	types FILE PROGRAM ARG…        run it on a terminal; once it hides what is typed, type the file's text
//
// and, to look from outside,
//
//	fingerprint VAR FILE           as anyone computes it
//	only VAR                       the service accepts one credential: its fingerprint
//	holds PLACE FINGERPRINT        what is kept there
//	versions vault:NAME N          how many values it has held
//	lives WORKER FINGERPRINT       wait until a worker says that it lives on it
//	unrefused WORKER…              workers made calls, and none was refused; with !: some were
//	calls N                        calls that the service and Vault got so far
//	keys PATH KEY…                 the last output is JSON; the object at PATH has exactly these keys
//	secretless                     no value and no log-in in anything that was printed or written in this folder
func TestStories(t *testing.T) {
	vault := sync.OnceValues(func() (*testservers.VaultServer, error) {
		server, err := testservers.StartVault(t.Context())
		if err == nil {
			t.Cleanup(server.Stop)
		}
		return server, err
	})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/stories", RequireExplicitExec: true, RequireUniqueNames: true, Deadline: time.Now().Add(5 * time.Minute),
		Setup: func(env *testscript.Env) error {
			today := time.Now().UTC()
			env.Vars = append(env.Vars, "WORK="+env.WorkDir, "ROTATORD_CONFIG=", "VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=",
				"TODAY="+today.Format(time.DateOnly), "LONG_AGO="+today.AddDate(0, 0, -400).Format(time.DateOnly),
				"GORACE=atexit_sleep_ms=10") // else a second for each process
			env.Values[simKey{}] = new(*instasentsim.Sim)
			env.Values[worldKey{}] = &world{vault: vault, jobs: map[string]*job{}}
			return os.Chmod(env.WorkDir, 0o700)
		},
		Condition: haveVault(vault),
		Cmds:      storyCommands(),
	})
}

// world is what a story has beside the service.
type world struct {
	vault func() (*testservers.VaultServer, error) // the same for all stories
	gate  gate
	jobs  map[string]*job
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world {
	w, ok := ts.Value(worldKey{}).(*world)
	if !ok {
		ts.Fatalf("there is no world")
	}
	return w
}

func storyCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"exits": recorded(exits), "eventually": recorded(eventually), "waitfile": waitFile, "json": lookJSON,
		"sim": startService, "knob": knob, "generate": generate, "delete": remove, "accepts": accepts,
		"vault": startVault, "vault-may": vaultMay, "keep": keep, "hire": startWorker, "configure": configure,
		"start": start, "signal": signalJob, "ended": ended, "seen": seen, "types": recorded(types),
		"trap": setTrap, "trapped": trapped, "release": release, "cut": cut,
		"fingerprint": fingerprint, "only": only, "holds": holds, "versions": versions, "lives": lives, "unrefused": unrefused,
		"calls": calls, "keys": keys, "secretless": secretless,
	}
}

// transcript is where the output of every command goes, for secretless.
const transcript = "transcript.log"

func recorded(command func(*testscript.TestScript, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		command(ts, neg, args)
		file, err := os.OpenFile(ts.MkAbs(transcript), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		ts.Check(err)
		_, err = fmt.Fprintln(file, args, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		ts.Check(errors.Join(err, file.Close()))
	}
}

// startService is the simulated Instasent behind the gate, without a rate limit.
func startService(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 0, "sim")
	sim := instasentsim.New(instasentsim.Options{
		AdminToken: "story-admin-log-in", Places: []instasentsim.Place{place}, Knobs: instasentsim.Knobs{RateLimit: -1},
	})
	gate := &worldOf(ts).gate
	api, dashboard := httptest.NewServer(gate.around(sim.API())), httptest.NewServer(gate.around(sim.Admin()))
	ts.Defer(api.Close)
	ts.Defer(dashboard.Close)
	ts.Setenv("API", api.URL+"/v1")
	ts.Setenv("DASHBOARD", dashboard.URL)
	ts.Setenv("ADMIN_TOKEN", sim.AdminToken())
	*simOf(ts, false) = sim
}

func configure(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "configure FILE")
	freePort(ts, false, []string{"PORT"})
	ts.Check(os.MkdirAll(ts.MkAbs("secrets"), 0o700))
	base, err := os.ReadFile("testdata/stories/base.yaml")
	ts.Check(err)
	text := os.Expand(string(base)+ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs("rotatord.yaml"), []byte(text), 0o600))
}

// A job is a program in the background.
type job struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// jobVariables are the variables of the script that a job gets.
func jobVariables() []string {
	return []string{"PATH", "HOME", "TMPDIR", "ADMIN_TOKEN", "VAULT_ADDR", "VAULT_TOKEN", "GORACE"}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "start JOB PROGRAM ARG…")
	jobs := worldOf(ts).jobs
	if old := jobs[args[0]]; old != nil && !old.isOver() {
		ts.Fatalf("job %s runs", args[0])
	}
	log, err := os.OpenFile(ts.MkAbs(args[0]+".log"), os.O_TRUNC|os.O_CREATE|os.O_WRONLY, 0o600)
	ts.Check(err)
	j := &job{cmd: exec.Command(args[1], args[2:]...), ended: make(chan struct{})} //nolint:noctx // a script's program; it ends with the script
	j.cmd.Dir, j.cmd.Stdout, j.cmd.Stderr = ts.MkAbs("."), log, log
	for _, name := range jobVariables() {
		j.cmd.Env = append(j.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(j.cmd.Start())
	ts.Check(log.Close())
	go func() {
		_ = j.cmd.Wait() // ended tells how
		close(j.ended)
	}()
	ts.Setenv("PID", strconv.Itoa(j.cmd.Process.Pid))
	ts.Defer(func() {
		_ = j.cmd.Process.Kill() // it may be over
		<-j.ended
	})
	jobs[args[0]] = j
}

func (j *job) isOver() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

func jobOf(ts *testscript.TestScript, name string) *job {
	j := worldOf(ts).jobs[name]
	if j == nil {
		ts.Fatalf("there is no job %s", name)
	}
	return j
}

func signalJob(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "signal NAME JOB")
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	ts.Check(jobOf(ts, args[1]).cmd.Process.Signal(signals[args[0]]))
}

func ended(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "ended JOB [CODE]")
	j := jobOf(ts, args[0])
	until(ts, "end of "+args[0], j.isOver)
	if code := j.cmd.ProcessState.ExitCode(); len(args) > 1 && strconv.Itoa(code) != args[1] {
		ts.Fatalf("%s ended with %d; want %s:\n%s", args[0], code, args[1], ts.ReadFile(args[0]+".log"))
	}
}

func seen(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "seen JOB REGEXP")
	wanted, found := regexp.MustCompile(`(?m)`+args[1]), false
	defer func() {
		if !found {
			ts.Logf("[%s.log]\n%s", args[0], ts.ReadFile(args[0]+".log"))
		}
	}()
	until(ts, args[1]+" in "+args[0]+".log", func() bool {
		over := jobOf(ts, args[0]).isOver() // asked first: what it wrote at its end counts
		if found = wanted.MatchString(ts.ReadFile(args[0] + ".log")); !found && over {
			ts.Fatalf("%s ended without %s", args[0], args[1])
		}
		return found
	})
}

func fingerprint(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "fingerprint VAR FILE")
	ts.Setenv(args[0], string(rotator.FingerprintOf(ts.ReadFile(args[1]))))
}

func only(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "only VAR")
	accepted := map[string]string{}
	for _, t := range (*simOf(ts, true)).Stats().Tokens {
		if t.Accepted {
			accepted[t.ID] = string(t.Fingerprint)
		}
	}
	if len(accepted) != 1 {
		ts.Fatalf("the service accepts %d credentials: %v; want one", len(accepted), accepted)
	}
	for _, found := range accepted {
		ts.Setenv(args[0], found)
	}
}

// secretless looks for every value that the service ever made and for all
// log-ins in every file below the story's folder: the journal, the logs, what
// commands printed. Files named *.token are a person's, secrets/ is the store.
func secretless(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 0, "secretless")
	secrets := append((*simOf(ts, true)).Values(), ts.Getenv("ADMIN_TOKEN"), ts.Getenv("VAULT_TOKEN"))
	secrets = slices.DeleteFunc(secrets, func(secret string) bool { return secret == "" })
	looked := 0
	ts.Check(filepath.WalkDir(ts.MkAbs("."), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "secrets":
			return fs.SkipDir
		case !entry.Type().IsRegular() || strings.HasSuffix(path, ".token"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		looked++
		for _, secret := range secrets {
			if strings.Contains(string(text), secret) {
				return fmt.Errorf("%s holds a secret (fingerprint %s)", entry.Name(), rotator.FingerprintOf(secret))
			}
		}
		if strings.Contains(string(text), "DATA RACE") || strings.Contains(string(text), "goroutine ") {
			return fmt.Errorf("%s tells of a race or a panic:\n%s", entry.Name(), text)
		}
		return nil
	}))
	if looked < 3 {
		ts.Fatalf("there are only %d files to look into", looked)
	}
}

// keys: the last output is JSON and has an object with exactly these keys at a path.
func keys(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "keys PATH KEY…")
	object, ok := jsonAt(ts, args[0]).(map[string]any)
	if got, want := slices.Sorted(maps.Keys(object)), slices.Sorted(slices.Values(args[1:])); !ok || !slices.Equal(got, want) {
		ts.Fatalf("keys of %s: %v; want %v", args[0], got, want)
	}
}

func jsonAt(ts *testscript.TestScript, path string) any {
	var found any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &found))
	for part := range strings.SplitSeq(path, ".") {
		switch inner := found.(type) {
		case map[string]any:
			found = inner[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(inner) {
				ts.Fatalf("json %s: there is no %s", path, part)
			}
			found = inner[i]
		default:
			ts.Fatalf("json %s: there is no %s", path, part)
		}
	}
	return found
}
