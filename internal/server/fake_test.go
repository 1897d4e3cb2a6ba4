package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

// fakeEngine answers with the functions that are set.
type fakeEngine struct {
	status   func(names []string) ([]rotator.TokenStatus, error)
	rotation func(id string) (rotator.RotationStatus, error)
	plan     func(token string, reason rotator.Reason) (rotator.Plan, error)
	rotate   func(r rotator.RotateRequest) (string, error)
	startDue func() ([]string, error)
	wait     func(ctx context.Context, id string, watch func(rotator.RotationStatus)) (rotator.RotationStatus, error)
	decide   func(id string, d rotator.Decision, by, why string) error
	provide  func(p rotator.Provision) (rotator.Fingerprint, error)
	adopt    func(a rotator.Adoption) (rotator.Credential, error)
	sweep    func(token, by string, apply bool) ([]rotator.Orphan, error)
}

func (f *fakeEngine) Status(_ context.Context, names ...string) ([]rotator.TokenStatus, error) {
	return f.status(names)
}

func (f *fakeEngine) Rotation(_ context.Context, id string) (rotator.RotationStatus, error) {
	return f.rotation(id)
}

func (f *fakeEngine) Plan(_ context.Context, token string, reason rotator.Reason) (rotator.Plan, error) {
	return f.plan(token, reason)
}

func (f *fakeEngine) Rotate(_ context.Context, r rotator.RotateRequest) (string, error) {
	return f.rotate(r)
}

func (f *fakeEngine) StartDue(context.Context) ([]string, error) { return f.startDue() }

func (f *fakeEngine) Wait(ctx context.Context, id string, watch func(rotator.RotationStatus)) (rotator.RotationStatus, error) {
	return f.wait(ctx, id, watch)
}

func (f *fakeEngine) Decide(_ context.Context, id string, d rotator.Decision, by, why string) error {
	return f.decide(id, d, by, why)
}

func (f *fakeEngine) Provide(_ context.Context, p rotator.Provision) (rotator.Fingerprint, error) {
	return f.provide(p)
}

func (f *fakeEngine) Adopt(_ context.Context, a rotator.Adoption) (rotator.Credential, error) {
	return f.adopt(a)
}

func (f *fakeEngine) Sweep(_ context.Context, token, by string, apply bool) ([]rotator.Orphan, error) {
	return f.sweep(token, by, apply)
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("", 3600))

func openRotation(id string) rotator.RotationStatus {
	return rotator.RotationStatus{
		Summary: rotator.Summary{
			ID: id, Token: "crm-sync", Reason: rotator.Manual, Status: rotator.Waiting, Course: rotator.ReplaceFirst,
			Step: rotator.StepProbe, OpenedAt: noon, Old: "1111111111111111", New: "2222222222222222",
		},
		StartedAt: noon.Add(time.Second), DeadlineAt: noon.Add(time.Hour),
		Awaited: []rotator.Awaited{{Probe: "http", Target: "http://crm:8080/healthz", Detail: "still on 1111111111111111"}},
		Done:    []rotator.Step{rotator.StepIssue, rotator.StepStore, rotator.StepDeploy},
	}
}

// logBuffer is a log that a test may read while the server writes it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// served is a server on a real socket with a client.
type served struct {
	client *Client
	path   string
	log    *logBuffer
	stop   func() // ends Serve and waits for it; may be called twice
}

func serve(t *testing.T, engine Engine) served {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	dir, err := os.MkdirTemp("", "rd") //nolint:usetesting // t.TempDir can be too long for a unix socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := ListenSocket(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	s := served{client: NewClient(path), path: path, log: &logBuffer{}}
	server := New(Options{
		Engine: engine, Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		Self: Daemon{PID: 4711, Version: "1.2.3", StartedAt: noon.UTC()},
	})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		s.client.Close()
		s.stop()
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("socket after Serve: %v; want none", err)
		}
		_ = os.RemoveAll(dir)
		goleak.VerifyNone(t, ignore)
	})
	return s
}
