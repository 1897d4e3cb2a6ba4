package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rotatord/rotatord/internal/instasentsim"
)

// Scripts are testdata/*.txtar, one a user story. rotatord and the workers run
// as processes of their own; the simulated Instasent lives in this one, so that
// a script can turn its knobs. Besides testscript's own commands there are
//
//	exits CODE PROGRAM ARG…        run it to its end; the exit code must be CODE
//	eventually REGEXP PROGRAM ARG… run it until its standard output matches
//	waitfile FILE [VAR]            wait for a file with text, or a socket; the text becomes VAR
//	sim                            start the service: $API, $DASHBOARD, $ADMIN_TOKEN
//	freeport VAR                   a port that is free now
//	knob NAME VALUE                turn one of its knobs (names as in JSON)
//	generate FILE ID               a person makes a token: its value to FILE, its ID to $ID
//	delete ID                      a person deletes a token
//	accepts N [ID]                 the service accepts N tokens, ID among them
//	refused WORKER-NAME N          how many calls of workers of that name were refused
//	expand FILE…                   replace ${VAR} in a file
//	absent VALUE-FILE FILE…        no file holds the value; one that does not exist is fine
//	json PATH WANT                 the last output is JSON and has WANT at PATH (a.0.b)
//	signal NAME COMMAND            send HUP or TERM to the background program with COMMAND in its arguments

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rotatord": main, "worker": workerMain, "consumer": consumerMain})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "WORK="+env.WorkDir, "ROTATORD_CONFIG=", "GORACE=atexit_sleep_ms=10") // else each process takes a second to end
			env.Values[simKey{}] = new(*instasentsim.Sim)
			return os.Chmod(env.WorkDir, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "eventually": eventually, "waitfile": waitFile, "expand": expand, "json": lookJSON, "absent": absent, "freeport": freePort, "signal": send,
			"sim": startSim, "knob": knob, "generate": generate, "delete": remove, "accepts": accepts, "refused": refused,
		},
	})
}

type simKey struct{}

const patience = 20 * time.Second

var place = instasentsim.Place{Project: "proj_x", Datasource: "ds_y"}

func need(ts *testscript.TestScript, neg bool, args []string, least int, use string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", use)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "exits CODE PROGRAM ARG…")
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s exits with %d; want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// until looks again and again, for what another process brings about.
func until(ts *testscript.TestScript, what string, look func() bool) {
	for end := time.Now().Add(patience); !look(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "eventually REGEXP PROGRAM ARG…")
	wanted := regexp.MustCompile(args[0])
	until(ts, strings.Join(args, " "), func() bool {
		_ = ts.Exec(args[1], args[2:]...) // its output decides
		return wanted.MatchString(ts.ReadFile("stdout"))
	})
}

func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "waitfile FILE [VAR]")
	var text []byte
	until(ts, "file "+args[0], func() (found bool) {
		info, err := os.Stat(ts.MkAbs(args[0]))
		if err != nil || !info.Mode().IsRegular() {
			return err == nil // a socket
		}
		text, err = os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && len(text) > 0
	})
	if len(args) > 1 {
		ts.Setenv(args[1], strings.TrimSpace(string(text)))
	}
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "expand FILE…")
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

func absent(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "absent VALUE-FILE FILE…")
	value := []byte(ts.ReadFile(args[0]))
	for _, file := range args[1:] {
		text, err := os.ReadFile(ts.MkAbs(file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			ts.Fatalf("%v", err)
		}
		if bytes.Contains(text, value) {
			ts.Fatalf("%s holds the value of %s", file, args[0])
		}
	}
}

func lookJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "json PATH WANT")
	var found any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &found))
	for part := range strings.SplitSeq(args[0], ".") {
		switch inner := found.(type) {
		case map[string]any:
			found = inner[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(inner) {
				ts.Fatalf("json %s: there is no %s", args[0], part)
			}
			found = inner[i]
		default:
			ts.Fatalf("json %s: there is no %s", args[0], part)
		}
	}
	text, err := json.Marshal(found)
	ts.Check(err)
	if got := strings.Trim(string(text), `"`); got != args[1] {
		ts.Fatalf("json %s = %s; want %s", args[0], got, args[1])
	}
}

func send(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "signal NAME COMMAND")
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	for _, cmd := range ts.BackgroundCmds() {
		if strings.Contains(strings.Join(cmd.Args, " "), args[1]) && cmd.ProcessState == nil {
			ts.Check(cmd.Process.Signal(signals[args[0]]))
			return
		}
	}
	ts.Fatalf("no background program runs %q", args[1])
}

func startSim(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 0, "sim")
	sim := instasentsim.New(instasentsim.Options{AdminToken: "test-admin-log-in", Places: []instasentsim.Place{place}})
	api, dashboard := httptest.NewServer(sim.API()), httptest.NewServer(sim.Admin())
	ts.Defer(api.Close)
	ts.Defer(dashboard.Close)
	ts.Setenv("API", api.URL+"/v1")
	ts.Setenv("DASHBOARD", dashboard.URL)
	ts.Setenv("ADMIN_TOKEN", sim.AdminToken())
	*simOf(ts, false) = sim
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "freeport VAR")
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(errors.Join(err, listener.Close()))
	ts.Setenv(args[0], port)
}

func simOf(ts *testscript.TestScript, running bool) **instasentsim.Sim {
	at, ok := ts.Value(simKey{}).(**instasentsim.Sim)
	if !ok || running && *at == nil {
		ts.Fatalf("start the service first: sim")
	}
	return at
}

func knob(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "knob NAME VALUE")
	value := args[1]
	if _, err := strconv.Atoi(value); err != nil && value != "true" && value != "false" {
		value = strconv.Quote(value)
	}
	(*simOf(ts, true)).Set(func(k *instasentsim.Knobs) {
		ts.Check(json.Unmarshal([]byte(`{"`+args[0]+`": `+value+`}`), k))
	})
}

func generate(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "generate FILE ID")
	made, err := (*simOf(ts, true)).Generate(place, "by hand")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(made.Value), 0o600))
	ts.Setenv(args[1], made.ID)
}

func remove(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "delete ID")
	ts.Check((*simOf(ts, true)).Delete(args[0]))
}

func accepts(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "accepts N [ID]")
	var ids []string
	for _, live := range (*simOf(ts, true)).Live(place) {
		ids = append(ids, live.ID)
	}
	if strconv.Itoa(len(ids)) != args[0] || len(args) > 1 && !slices.Contains(ids, args[1]) {
		ts.Fatalf("the service accepts %v; want %s", ids, strings.Join(args, " with "))
	}
}

func refused(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "refused WORKER-NAME N")
	count := 0
	for _, r := range (*simOf(ts, true)).Stats().Refusals {
		if strings.HasPrefix(r.UserAgent, args[0]) {
			count++
		}
	}
	if strconv.Itoa(count) != args[1] {
		ts.Fatalf("%d calls of %s were refused; want %s", count, args[0], args[1])
	}
}

// golden compares with a file of testdata/golden; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/golden/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, -want +got:\n%s", name, diff)
	}
}
