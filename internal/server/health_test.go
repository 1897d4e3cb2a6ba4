package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

func get(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return answer.Code, answer.Body.String()
}

func TestPublic(t *testing.T) {
	open := openRotation("01R")
	var down error
	engine := &fakeEngine{status: func([]string) ([]rotator.TokenStatus, error) {
		return []rotator.TokenStatus{{
			Name: "crm-sync", Open: &open, Due: rotator.Due{At: noon}, Failures: 2,
			Current: rotator.Credential{IssuedAt: noon.Add(-time.Hour)},
			Last:    &rotator.Summary{Status: rotator.RolledBack, ClosedAt: noon},
		}, {Name: "other"}}, down
	}}
	metrics := NewMetrics(engine, "1.2.3", slog.New(slog.DiscardHandler))
	metrics.Reloaded(noon, false)
	handler := Public(func(context.Context) error { return down }, metrics)

	if code, _ := get(t, handler, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz = %d; want 200", code)
	}
	if code, _ := get(t, handler, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz = %d; want 200", code)
	}
	if code, _ := get(t, handler, "/api/v1/tokens"); code != http.StatusNotFound {
		t.Errorf("/api/v1/tokens = %d; want 404: the API is for the socket only", code)
	}
	_, text := get(t, handler, "/metrics")
	for _, want := range []string{
		"rotatord_tokens 2\n", `rotatord_rotations_open{status="waiting"} 1`, `rotatord_rotations_open{status="held"} 0`,
		`rotatord_token_due_timestamp_seconds{token="crm-sync"} 1.7954316e+09`, `rotatord_token_failures{token="crm-sync"} 2`,
		`rotatord_token_last_rotation_timestamp_seconds{status="rolled_back",token="crm-sync"}`,
		`rotatord_build_info{goversion="go`, `version="1.2.3"} 1`, "rotatord_journal_up 1", "rotatord_config_last_reload_successful 0",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, text)
		}
	}
	down = errors.New("the journal can't be read")
	if code, text := get(t, handler, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "can't be read") {
		t.Errorf("/readyz = %d %q; want 503 and why", code, text)
	}
	if _, text := get(t, handler, "/metrics"); !strings.Contains(text, "rotatord_journal_up 0") {
		t.Errorf("/metrics without a journal lacks rotatord_journal_up 0:\n%s", text)
	}
}
