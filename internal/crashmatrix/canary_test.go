package crashmatrix

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

// TestShows holds the search itself: whatever a value is wrapped in.
func TestShows(t *testing.T) {
	const secret = "canary/with+signs&0815"
	for _, before := range []string{"", "a", "ab", "abc"} {
		for _, text := range []string{
			before + secret + "!", base64.StdEncoding.EncodeToString([]byte(before + secret + "!")),
			base64.RawURLEncoding.EncodeToString([]byte(before + secret)), before + "63616e6172792f77697468", `{"x": "canary\/with+signs"}`,
		} {
			want := !strings.Contains(text, "63616e") && !strings.Contains(text, `\/`)
			if got := shows([]byte(text), secret); (got != "") != want {
				t.Errorf("shows(%q) = %q; want it found: %t", text, got, want)
			}
		}
	}
}

// listener is where notifications come in; it keeps what anybody on the way
// could read without the body's reader: address and headers, and the body too.
type listener struct {
	mu  sync.Mutex
	got strings.Builder
}

func (l *listener) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(&l.got, "%s %v %s\n", r.Method, r.Header, body)
}

// TestCanaries plays a life of rotatord with every kind of secret, under an
// open umask, and searches all that it wrote, printed, sent and showed.
func TestCanaries(t *testing.T) {
	if !*faultsFlag {
		t.Skip("slow; see the package's comment")
	}
	t.Parallel()
	const hookPath, provided, wrongLogin, literal = "canary-hook-path-4711", "canary-provided-4712", "canary-wrong-login-4713", "canary-literal-4714"
	s := scenario{name: "canaries", daemon: true, reason: rotator.Manual, asksRollout: true, ends: rotator.Done}
	w := newWorld(t, testservers.Vault(t), s, nil)
	w.canaries = []string{hookPath, provided, wrongLogin, literal}
	people := &listener{}
	receiver := httptest.NewServer(people)
	t.Cleanup(receiver.Close)
	hook := filepath.Join(w.dir, "secrets", "hook") // exempt from the search, as stores are
	if err := os.WriteFile(hook, []byte(receiver.URL+"/"+hookPath), 0o600); err != nil {
		t.Fatal(err)
	}
	w.scenario.config = fmt.Sprintf("    notify: [people]\nnotifiers:\n  people: {type: webhook, url_from: {file: %q}, signing_secret: {env: HOOK_SECRET}}\n", hook)
	w.configure(t)
	text, err := os.ReadFile(filepath.Join(w.dir, "rotatord.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	spy := "'echo \"$$ROTATORD_RELEASE\" >> rollouts; tr \"\\0\" \"\\n\" < /proc/self/environ >> child; tr \"\\0\" \" \" < /proc/self/cmdline >> child"
	spied := strings.Replace(string(text), "'echo \"$ROTATORD_RELEASE\" >> rollouts", strings.ReplaceAll(spy, "$$", "$"), 1)
	if spied == string(text) {
		t.Fatal("the deployer of the configuration is not the one that the test knows")
	}
	w.write(t, "rotatord.yaml", spied)

	w.deaf.Store(true)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	built.Store(true)
	start := func(env ...string) *process {
		return w.startProgram(t, env, "/bin/sh", "-c", `umask 000; exec "$0" serve`, path)
	}
	daemon := start()
	client := server.NewClient(w.socket())
	t.Cleanup(client.Close)
	until(t, "step probe", func() bool {
		w.act(t, client)
		return w.reached(t, client, rotator.StepProbe)
	})
	w.askEverything(t, provided)
	w.modes(t)
	var f found
	w.lookAfterKill(&f) // in the middle, with both values sealed

	// Killed, started again, and made to print all its goroutines.
	daemon.signal(t, syscall.SIGKILL)
	daemon.wait(t)
	w.lookAfterKill(&f)
	daemon = start()
	until(t, "an answer", func() bool { return w.reached(t, client, rotator.StepProbe) })
	daemon.signal(t, syscall.SIGQUIT)
	daemon.wait(t)
	dump, err := os.ReadFile(daemon.output)
	if err != nil || !strings.Contains(string(dump), "goroutine ") {
		t.Errorf("SIGQUIT printed no goroutines: %v", err)
	}
	for _, secret := range w.secrets() {
		if how := shows(dump, secret); how != "" {
			t.Errorf("the goroutines show the value with fingerprint %s, %s", rotator.FingerprintOf(secret), how)
		}
	}
	if err := os.Remove(daemon.output); err != nil { // look takes goroutines for a crash
		t.Fatal(err)
	}

	// A log-in that the service refuses, and a value that is nobody's.
	refused := start("ADMIN_TOKEN="+wrongLogin, "VAULT_TOKEN="+wrongLogin)
	until(t, "an answer", func() bool { return w.reached(t, client, rotator.StepProbe) })
	w.askEverything(t, provided)
	refused.signal(t, syscall.SIGTERM)
	refused.wait(t)
	w.write(t, "bad.yaml", strings.Replace(spied, "{env: HOOK_SECRET}", literal, 1)+"literal: "+literal+"\n")
	if code, _ := w.command(t, "check", "-c", "bad.yaml"); code != 2 {
		t.Errorf("`check` of a literal secret exits with %d; want 2", code)
	}
	if err := os.Remove(filepath.Join(w.dir, "bad.yaml")); err != nil {
		t.Fatal(err)
	}

	w.deaf.Store(false)
	w.resumes = true
	daemon = start()
	if !w.playPerson(t, daemon) {
		t.Fatalf("the daemon ended:\n%s", lastLines(daemon.text()))
	}
	w.askEverything(t, provided)
	daemon.signal(t, syscall.SIGTERM)
	daemon.wait(t)
	people.mu.Lock()
	w.write(t, "notified", people.got.String())
	people.mu.Unlock()
	if !strings.Contains(people.got.String(), "rotation.done") {
		t.Error("nobody was told of the end: the notifications were not searched")
	}
	child, err := os.ReadFile(filepath.Join(w.dir, "child"))
	if err != nil || !strings.Contains(string(child), "ROTATORD_RELEASE=") {
		t.Errorf("the deployer's command left no environment to search: %v", err)
	}
	w.modes(t)
	w.look(t, &f)
	for _, problem := range f.problems {
		t.Error(problem)
	}

	// The search finds what is there.
	w.write(t, "planted", base64.StdEncoding.EncodeToString([]byte("x"+w.first.Value)))
	var planted found
	if w.lookForValues(&planted); planted.values != 1 {
		t.Errorf("the search finds %d values where one was planted", planted.values)
	}
}

// askEverything runs every command that shows something, and keeps what the
// doors answer.
func (w *world) askEverything(t *testing.T, provided string) {
	t.Helper()
	for _, args := range [][]string{
		{"status"}, {"history"}, {"history", token}, {"plan"}, {"audit", "verify"}, {"check"}, {"check", "--online"}, {"sweep", token},
	} {
		w.command(t, args...)
		w.command(t, append(args, "-o", "json")...)
	}
	w.command(t, "audit", "export")
	w.command(t, "docs", "schema")
	w.typed = provided + "\n"
	if code, text := w.command(t, "provide", token); code == 0 {
		t.Errorf("`provide` takes a value that nobody asked for:\n%s", text)
	}
	w.typed = ""
	public := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	socket := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", w.socket())
		},
	}}
	var all strings.Builder
	for _, door := range []struct {
		client *http.Client
		base   string
		paths  []string
	}{
		{public, "http://" + w.listen, []string{"/metrics", "/healthz", "/readyz", "/nothing"}},
		{socket, "http://rotatord", []string{"/api/v1/tokens", "/api/v1/rotations", "/openapi.json", "/api/v1/tokens/" + token, "/nothing"}},
	} {
		for _, path := range door.paths {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, door.base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := door.client.Do(request)
			if err != nil {
				t.Errorf("ask %s: %v", path, err)
				continue
			}
			body, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			_, _ = fmt.Fprintf(&all, "%s %d %v %s\n", path, answer.StatusCode, answer.Header, body)
		}
	}
	w.outputs++
	w.write(t, fmt.Sprintf("answers-%d", w.outputs), all.String())
}

// modes: what rotatord makes is for its user alone, whatever the umask.
func (w *world) modes(t *testing.T) {
	t.Helper()
	for _, folder := range []string{"state", "secrets"} {
		err := filepath.WalkDir(filepath.Join(w.dir, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v; want nothing for others", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
