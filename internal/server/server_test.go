package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

const secretValue = "eyJhbGciOi-do-not-show-7f3a"

func ourName() string { return UserName(os.Getuid()) }

func TestHello(t *testing.T) {
	s := serve(t, &fakeEngine{})
	got, err := s.client.Hello(t.Context())
	want := Daemon{PID: 4711, Version: "1.2.3", StartedAt: noon.UTC()}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("Hello() = %v, %v; want %v", got, err, want)
	}
}

func TestTokens(t *testing.T) {
	open := openRotation("01R")
	engine := &fakeEngine{status: func(names []string) ([]rotator.TokenStatus, error) {
		if diff := cmp.Diff([]string{"a b/c", "crm-sync"}, names); diff != "" {
			return nil, errors.New(diff)
		}
		return []rotator.TokenStatus{{
			Name: "crm-sync", Issuer: "instasent", Open: &open,
			Current: rotator.Credential{ID: "7", Fingerprint: "1111111111111111", IssuedAt: noon},
			Due:     rotator.Due{At: noon.Add(24 * time.Hour), Reason: rotator.Scheduled, Rule: "cron"},
			Last:    &rotator.Summary{ID: "01Q", Status: rotator.Done, Dead: 1500 * time.Millisecond},
		}, {Name: "new"}}, nil
	}}
	s := serve(t, engine)
	got, err := s.client.Tokens(t.Context(), "a b/c", "crm-sync")
	if err != nil {
		t.Fatal(err)
	}
	local := &Local{Engine: engine}
	want, err := local.Tokens(t.Context(), "a b/c", "crm-sync")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Tokens over the socket, -in process +socket:\n%s", diff)
	}
	if got[0].Due.At.Location() != time.UTC || *got[0].Last.DeadSeconds != 1.5 || got[1].Due != nil || got[1].Current != nil {
		t.Errorf("Tokens() = %+v; want UTC, 1.5 s, and nil for what is unknown", got)
	}
}

func TestActs(t *testing.T) {
	var asked []string
	note := func(format string, args ...any) { asked = append(asked, fmt.Sprintf(format, args...)) }
	by := ourName()
	s := serve(t, &fakeEngine{
		rotation: func(id string) (rotator.RotationStatus, error) { return openRotation(id), nil },
		rotate: func(r rotator.RotateRequest) (string, error) {
			note("rotate %s %s %q by %s", r.Token, r.Reason, r.Why, r.By)
			return "01R", nil
		},
		startDue: func() ([]string, error) { return []string{"01S", "01T"}, nil },
		decide: func(id string, d rotator.Decision, by, why string) error {
			note("decide %s %s %q by %s", id, d, why, by)
			return nil
		},
		provide: func(p rotator.Provision) (rotator.Fingerprint, error) {
			note("provide %s %s id %q by %s", p.Token, p.Value.Fingerprint(), p.ID, p.By)
			return p.Value.Fingerprint(), nil
		},
		adopt: func(a rotator.Adoption) (rotator.Credential, error) {
			note("adopt %s %q %s by %s", a.Token, a.ID, a.IssuedAt.UTC().Format(time.RFC3339), a.By)
			return rotator.Credential{ID: a.ID, IssuedAt: a.IssuedAt}, nil
		},
		sweep: func(token, by string, apply bool) ([]rotator.Orphan, error) {
			note("sweep %s %v by %s", token, apply, by)
			return []rotator.Orphan{{Credential: rotator.Credential{ID: "9", Name: "x"}, Ours: true, Err: "refused"}}, nil
		},
		plan: func(token string, reason rotator.Reason) (rotator.Plan, error) {
			note("plan %s %s", token, reason)
			return rotator.Plan{Token: token, Reason: reason, Lines: []rotator.PlanLine{{Step: rotator.StepIssue, Effect: true}}}, nil
		},
	})
	ctx := t.Context()
	if r, err := s.client.Rotate(ctx, "crm sync/1", rotator.Leak, "found in a log"); err != nil || r.ID != "01R" {
		t.Errorf("Rotate() = %v, %v; want 01R", r.ID, err)
	}
	if rs, err := s.client.StartDue(ctx); err != nil || len(rs) != 2 || rs[1].ID != "01T" {
		t.Errorf("StartDue() = %v, %v; want 01S and 01T", rs, err)
	}
	if _, err := s.client.Decide(ctx, "01R", rotator.Approve, "yes"); err != nil {
		t.Errorf("Decide() = %v; want nil", err)
	}
	if got, err := s.client.Provide(ctx, "crm-sync", rotator.NewSecret(secretValue), "a/b"); err != nil || got != rotator.FingerprintOf(secretValue) {
		t.Errorf("Provide() = %v, %v; want %v", got, err, rotator.FingerprintOf(secretValue))
	}
	if c, err := s.client.Adopt(ctx, "crm-sync", "7", noon); err != nil || c.ID != "7" || !c.IssuedAt.Equal(noon) {
		t.Errorf("Adopt() = %v, %v; want 7", c, err)
	}
	if _, err := s.client.Adopt(ctx, "crm-sync", "", time.Time{}); err != nil {
		t.Errorf("Adopt() without anything = %v; want nil", err)
	}
	if o, err := s.client.Sweep(ctx, "crm-sync", true); err != nil || len(o) != 1 || o[0].Error != "refused" || !o[0].Ours {
		t.Errorf("Sweep() = %v, %v; want one refused", o, err)
	}
	if p, err := s.client.Plan(ctx, "crm-sync", rotator.Leak); err != nil || len(p.Lines) != 1 || !p.Lines[0].Effect {
		t.Errorf("Plan() = %v, %v; want one line", p, err)
	}
	want := []string{
		`rotate crm sync/1 leak "found in a log" by ` + by,
		`decide 01R approve "yes" by ` + by,
		`provide crm-sync ` + string(rotator.FingerprintOf(secretValue)) + ` id "a/b" by ` + by,
		`adopt crm-sync "7" 2026-11-23T11:00:00Z by ` + by,
		`adopt crm-sync "" 0001-01-01T00:00:00Z by ` + by,
		`sweep crm-sync true by ` + by,
		`plan crm-sync leak`,
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("the engine was asked, -want +got:\n%s", diff)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	for _, test := range []struct {
		err  error
		want error
	}{
		{fmt.Errorf("look up token %q: %w", "x", rotator.ErrNotFound), rotator.ErrNotFound},
		{fmt.Errorf("open rotation: %w", rotator.ErrConflict), rotator.ErrConflict},
		{fmt.Errorf("list: %w", errors.ErrUnsupported), errors.ErrUnsupported},
		{rotator.Permanent(errors.New("reason \"x\" is not known")), nil},
		{errors.New("journal: disk is full"), nil},
	} {
		s := serve(t, &fakeEngine{rotate: func(rotator.RotateRequest) (string, error) { return "", test.err }})
		_, err := s.client.Rotate(t.Context(), "x", rotator.Manual, "")
		if err == nil || err.Error() != test.err.Error() {
			t.Errorf("Rotate() = %v; want the text of %v", err, test.err)
		}
		if test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("Rotate() = %#v; want it to be %v", err, test.want)
		}
	}
}

// post sends a raw request, as a foreign client would.
func post(t *testing.T, s served, path, contentType, payload string) (int, string, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/api/v1"+path, strings.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	answer, err := s.client.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), string(text)
}

func TestNoAnswerEchoesWhatWasSent(t *testing.T) {
	s := serve(t, &fakeEngine{
		provide: func(rotator.Provision) (rotator.Fingerprint, error) { panic(errors.New("out of luck")) },
	})
	big := secretValue + strings.Repeat("x", MaxValue)
	for _, test := range []struct {
		path, contentType, payload string
		status                     int
	}{
		{"/tokens/crm-sync/provide", "text/plain", big, http.StatusRequestEntityTooLarge},
		{"/tokens/crm-sync/provide", "text/plain", "", http.StatusBadRequest},
		{"/tokens/crm-sync/provide", "text/plain", secretValue, http.StatusInternalServerError},
		{"/tokens/crm-sync/rotations", "application/json", secretValue, http.StatusBadRequest},
		{"/tokens/crm-sync/rotations", "application/json", `{"reason": "` + secretValue + `"}`, http.StatusUnprocessableEntity},
		{"/tokens/crm-sync/rotations", "application/json", `{"reason": "manual", "` + "x" + `": "` + secretValue + `"}`, http.StatusUnprocessableEntity},
		{"/rotations/1/decisions", "application/json", `{"decision": ["` + secretValue + `"]}`, http.StatusUnprocessableEntity},
	} {
		status, kind, text := post(t, s, test.path, test.contentType, test.payload)
		if status != test.status || kind != "application/problem+json" {
			t.Errorf("POST %s = %d %s %s; want %d as problem details", test.path, status, kind, text, test.status)
		}
		if strings.Contains(text, secretValue) {
			t.Errorf("POST %s echoes the value: %s", test.path, text)
		}
	}
	s.stop()
	if log := s.log.String(); strings.Contains(log, secretValue) || !strings.Contains(log, "panic in handler") {
		t.Errorf("log = %s; want the panic and no value", log)
	}
}

func TestOpenAPI(t *testing.T) {
	s := serve(t, &fakeEngine{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.client.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var spec struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&spec); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(spec.OpenAPI, "3.1") || len(spec.Paths) != 11 {
		t.Errorf("openapi = %q with %d paths; want 3.1 with 11", spec.OpenAPI, len(spec.Paths))
	}
}

func TestWatch(t *testing.T) {
	s := serve(t, &fakeEngine{
		rotation: func(id string) (rotator.RotationStatus, error) {
			if id != "01R" {
				return rotator.RotationStatus{}, fmt.Errorf("look up rotation %q: %w", id, rotator.ErrNotFound)
			}
			return openRotation(id), nil
		},
		wait: func(_ context.Context, id string, watch func(rotator.RotationStatus)) (rotator.RotationStatus, error) {
			state := openRotation(id)
			watch(state)
			watch(state) // something else changed: no event
			state.Step = rotator.StepConfirm
			watch(state)
			state.Status = rotator.Done
			return state, nil
		},
	})
	var seen []rotator.Step
	last, err := s.client.Watch(t.Context(), "01R", func(r Rotation) { seen = append(seen, r.Step) })
	if err != nil || last.Status != rotator.Done {
		t.Errorf("Watch() = %v, %v; want done", last.Status, err)
	}
	if diff := cmp.Diff([]rotator.Step{rotator.StepProbe, rotator.StepConfirm}, seen); diff != "" {
		t.Errorf("seen, -want +got:\n%s", diff)
	}
	if _, err := s.client.Watch(t.Context(), "other", nil); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Watch(other) = %v; want not found", err)
	}
}

func TestWatchEndsWithTheDaemonAndWithTheWatcher(t *testing.T) {
	watching := make(chan struct{}, 2)
	s := serve(t, &fakeEngine{
		rotation: func(id string) (rotator.RotationStatus, error) { return openRotation(id), nil },
		wait: func(ctx context.Context, id string, watch func(rotator.RotationStatus)) (rotator.RotationStatus, error) {
			watch(openRotation(id))
			watching <- struct{}{}
			<-ctx.Done()
			return rotator.RotationStatus{}, ctx.Err()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := s.client.Watch(ctx, "01R", nil); left <- err }()
	<-watching
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch() of one who leaves = %v; want %v", err, context.Canceled)
	}
	go func() { _, err := s.client.Watch(t.Context(), "01R", nil); left <- err }()
	<-watching
	s.stop()
	if err := <-left; !errors.Is(err, ErrInterrupted) {
		t.Errorf("Watch() when the daemon stops = %v; want %v", err, ErrInterrupted)
	}
}

func TestWatchTellsWhatWentWrong(t *testing.T) {
	s := serve(t, &fakeEngine{
		rotation: func(id string) (rotator.RotationStatus, error) { return openRotation(id), nil },
		wait: func(context.Context, string, func(rotator.RotationStatus)) (rotator.RotationStatus, error) {
			return rotator.RotationStatus{}, errors.New("read journal: disk on fire")
		},
	})
	if _, err := s.client.Watch(t.Context(), "01R", nil); err == nil || err.Error() != "read journal: disk on fire" {
		t.Errorf("Watch() = %v; want the engine's error", err)
	}
}

func TestSocket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir) // relative paths stay short
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(t.Context(), "file"); err == nil {
		t.Error("ListenSocket on a file = nil; want an error")
	}
	if _, err := ListenSocket(t.Context(), strings.Repeat("x", 200)); !errors.Is(err, ErrPathTooLong) {
		t.Errorf("ListenSocket on a long path = %v; want %v", err, ErrPathTooLong)
	}
	if _, err := NewClient("none").Hello(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Hello without a socket = %v; want %v", err, ErrNoDaemon)
	}
	if _, err := NewClient(strings.Repeat("x", 200)).Hello(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Hello where no socket can be = %v; want %v", err, ErrNoDaemon)
	}
	stale, err := ListenSocket(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat("s")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket = %v, %v; want 0600", info.Mode(), err)
	}
	if unix, ok := stale.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // as kill -9 leaves it
	}
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient("s").Hello(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Hello on a stale socket = %v; want %v", err, ErrNoDaemon)
	}
	again, err := ListenSocket(t.Context(), "s")
	if err != nil {
		t.Fatalf("ListenSocket over a stale socket: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
