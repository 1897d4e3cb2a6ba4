package lognotifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/notify/notifytest"
	"github.com/rotatord/rotatord/rotator"
)

func TestConformance(t *testing.T) {
	notifytest.Run(t, func(t *testing.T) notifytest.Harness {
		path := filepath.Join(t.TempDir(), "events.log")
		return notifytest.Harness{
			Notifier: newNotifier(t, Config{Path: path}), HasID: true, Local: true,
			Messages: func() []notifytest.Message {
				raw, err := os.ReadFile(path)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				return messages(t, raw)
			},
		}
	})
}

func messages(t *testing.T, raw []byte) []notifytest.Message {
	t.Helper()
	var found []notifytest.Message
	for text := range strings.Lines(string(raw)) {
		var entry line
		if err := json.Unmarshal([]byte(text), &entry); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		found = append(found, notifytest.Message{ID: entry.ID, Text: text})
	}
	return found
}

func newNotifier(t *testing.T, c Config) rotator.Notifier {
	t.Helper()
	n, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New(%+v) = %v", c, err)
	}
	return n
}

func TestLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.log")
	n := newNotifier(t, Config{Path: path})
	bare := rotator.Event{ID: "e2", Kind: rotator.EventDone, Token: "crm-sync", Summary: "<done> & proven", At: notifytest.Event("e1").At}
	for _, e := range []rotator.Event{notifytest.Event("e1"), bare} {
		if err := n.Notify(t.Context(), e); err != nil {
			t.Fatalf("Notify() = %v", err)
		}
	}
	want := `{"time":"2026-11-23T10:00:00Z","level":"WARN","msg":"crm-sync is held: a consumer of e1 is not ready","event":"rotation.held","id":"e1","token":"crm-sync",` +
		`"rotation":"01JD0000000000000000000000","reason":"scheduled","step":"probe","status":"held","old_fingerprint":"` + string(rotator.FingerprintOf("old e1")) +
		`","new_fingerprint":"` + string(rotator.FingerprintOf("new e1")) + `","detail":"Both credentials are live.\nLook at the consumer, then resume.",` +
		`"awaited":[{"probe":"http 1","target":"http://crm-worker:8080/healthz","detail":"answered 503"}]}` + "\n" +
		`{"time":"2026-11-23T10:00:00Z","level":"INFO","msg":"<done> & proven","event":"rotation.done","id":"e2","token":"crm-sync"}` + "\n"
	got, err := os.ReadFile(path)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("log: %v (-want +got):\n%s", err, diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestLevel(t *testing.T) {
	for kind, want := range map[rotator.EventKind]string{
		rotator.EventStarted: "INFO", rotator.EventDone: "INFO", rotator.EventWaiting: "INFO", rotator.EventRolledBack: "INFO",
		rotator.EventHeld: "WARN", rotator.EventReminder: "WARN", rotator.EventFailed: "WARN", rotator.EventPaused: "WARN",
	} {
		if got := level(rotator.Event{Kind: kind}); got != want {
			t.Errorf("level of %s = %s; want %s", kind, got, want)
		}
	}
	if got := level(rotator.Event{Kind: rotator.EventStarted, Urgent: true}); got != "WARN" {
		t.Errorf("level of an urgent event = %s; want WARN", got)
	}
}

func TestFileMayBeMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.log")
	n := newNotifier(t, Config{Path: path})
	for _, id := range []string{"e1", "e2"} {
		if err := n.Notify(t.Context(), notifytest.Event(id)); err != nil {
			t.Fatalf("Notify() = %v", err)
		}
		if err := os.Rename(path, path+"."+id); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(path + "." + id)
		if got := messages(t, raw); err != nil || len(got) != 1 || got[0].ID != id {
			t.Errorf("file of %s = %+v, %v; want that one line", id, got, err)
		}
	}
}

func TestWrongPathIsPermanent(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing", "events.log"), filepath.Join(file, "events.log")} {
		n := newNotifier(t, Config{Path: path})
		if err := n.Notify(t.Context(), notifytest.Event("e1")); !rotator.IsPermanent(err) {
			t.Errorf("Notify() to %q = %v; want a permanent error", path, err)
		}
		pinger, ok := n.(rotator.Pinger)
		if !ok {
			t.Fatal("no Pinger")
		}
		if err := pinger.Ping(t.Context()); err == nil {
			t.Errorf("Ping() to %q = nil; want an error", path)
		}
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		if err := newNotifier(t, Config{Path: "/dev/full"}).Notify(t.Context(), notifytest.Event("e1")); err == nil || rotator.IsPermanent(err) {
			t.Errorf("Notify() to a full disk = %v; want an error that is not permanent", err)
		}
	}
}

// full is a writer that takes a few bytes of one write, then all again.
type full struct {
	mu   sync.Mutex
	room int
	buf  bytes.Buffer
}

func (f *full) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.room == 0 {
		return f.buf.Write(p)
	}
	n, _ := f.buf.Write(p[:min(f.room, len(p))])
	f.room = 0
	return n, errors.New("no space left on device")
}

func TestStandardError(t *testing.T) {
	n, ok := newNotifier(t, Config{}).(*notifier)
	if !ok || n.stderr != os.Stderr {
		t.Fatalf("New() = %+v; want standard error", n)
	}
	out := &full{room: 10}
	n.stderr = out
	if err := n.Notify(t.Context(), notifytest.Event("e1")); err == nil || rotator.IsPermanent(err) {
		t.Errorf("Notify() cut in the middle = %v; want an error that is not permanent", err)
	}
	for range 2 {
		if err := n.Notify(t.Context(), notifytest.Event("e1")); err != nil {
			t.Errorf("Notify() again = %v; want nil", err)
		}
	}
	first, rest, _ := strings.Cut(out.buf.String(), "\n")
	if len(first) != 10 || len(messages(t, []byte(rest))) != 2 {
		t.Errorf("log = %q; want the torn line by itself, then two whole ones", out.buf.String())
	}
}

func TestExampleLoads(t *testing.T) {
	var entry struct {
		Type   string `yaml:"type"`
		Config `yaml:",inline"`
	}
	if err := yaml.Load([]byte(Example), &entry, yaml.WithKnownFields()); err != nil || entry.Type != "log" {
		t.Fatalf("load Example = %+v, %v; want type log", entry, err)
	}
	newNotifier(t, entry.Config)
	var field *rotator.FieldError
	if err := (Config{Path: "a\x00b"}).Validate(); !errors.As(err, &field) || field.Path != "path" {
		t.Errorf("Validate() of a NUL in the path = %v; want an error about path", err)
	}
}
