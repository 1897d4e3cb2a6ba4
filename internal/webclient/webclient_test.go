package webclient_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

const canary = "canary-0815"

func call(ctx context.Context, t *testing.T, o webclient.Options, url string) (webclient.Answer, error) {
	t.Helper()
	client, err := webclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+canary)
	answer, err := webclient.Do(client, req)
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows a secret: %v", err)
	}
	return answer, err
}

func TestRedirectToAnotherHostIsRefused(t *testing.T) {
	reached := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := other.URL
		if r.URL.Path == "/same" {
			target = "/end"
		}
		if r.URL.Path != "/end" {
			http.Redirect(w, r, target, http.StatusFound)
		}
	}))
	defer server.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, server.URL+"/?key="+canary); err == nil || reached > 0 {
		t.Errorf("Do = %v, and the other host saw %d calls; want a refusal", err, reached)
	}
	if answer, err := call(t.Context(), t, webclient.Options{}, server.URL+"/same"); err != nil || answer.Status != http.StatusOK {
		t.Errorf("Do = %d, %v; want the redirect on the same host followed", answer.Status, err)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, endless.URL); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("Do of an endless answer = %v; want it cut", err)
	}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	if _, err := call(t.Context(), t, webclient.Options{Timeout: 20 * time.Millisecond}, silent.URL); err == nil || rotator.HadNoEffect(err) {
		t.Errorf("Do of a silent server = %v; want an error that leaves the effect in doubt", err)
	}
}

func TestErrorsAreClassified(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	url := gone.URL
	gone.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, url+"/"+canary); !rotator.HadNoEffect(err) || rotator.IsPermanent(err) {
		t.Errorf("Do of a refused connection = %v; want Unsent", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := call(cancelled, t, webclient.Options{}, url); !errors.Is(err, context.Canceled) {
		t.Errorf("Do with a cancelled context = %v; want context.Canceled", err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, secure.URL); !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("Do with an unknown CA = %v; want Unsent and a word on ca_file", err)
	}
	if err := webclient.Clean(cancelled, nil); err != nil {
		t.Errorf("Clean(nil) = %v", err)
	}
}

func TestCAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := webclient.New(webclient.Options{CAFile: path}); err == nil {
		t.Error("New with a missing CA file = nil error")
	}
	if err := os.WriteFile(path, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := webclient.New(webclient.Options{CAFile: path}); err == nil {
		t.Error("New with a CA file without a certificate = nil error")
	}
}

func TestStatusError(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	limited := http.Header{"X-Ratelimit-Reset": {"1000030"}}
	tests := []struct {
		status              int
		header              http.Header
		fine, final, unsent bool
		retry               time.Time
	}{
		{status: 204, fine: true},
		{status: 302, final: true, unsent: true},
		{status: 401, final: true, unsent: true},
		{status: 404, final: true, unsent: true},
		{status: 408},
		{status: 429, header: limited, unsent: true, retry: time.Unix(1_000_030, 0)},
		{status: 500},
		{status: 503, header: http.Header{"Retry-After": {"7"}}, retry: now.Add(7 * time.Second)},
	}
	for _, test := range tests {
		err := webclient.StatusError(webclient.Answer{Status: test.status, Header: test.header}, now)
		if (err == nil) != test.fine || rotator.IsPermanent(err) != test.final || rotator.HadNoEffect(err) != test.unsent {
			t.Errorf("StatusError(%d) = %v, permanent %t, without effect %t", test.status, err, rotator.IsPermanent(err), rotator.HadNoEffect(err))
		}
		if got := rotator.RetryTime(err); !got.Equal(test.retry) {
			t.Errorf("StatusError(%d) asks to wait until %v; want %v", test.status, got, test.retry)
		}
	}
}

func TestRetryTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		header http.Header
		want   time.Time
	}{
		{"nothing", http.Header{}, time.Time{}},
		{"seconds", http.Header{"Retry-After": {"5"}}, now.Add(5 * time.Second)},
		{"date", http.Header{"Retry-After": {now.Add(time.Minute).Format(http.TimeFormat)}}, now.Add(time.Minute)},
		{"past", http.Header{"Retry-After": {now.Add(-time.Minute).Format(http.TimeFormat)}}, time.Time{}},
		{"nonsense", http.Header{"Retry-After": {"soon"}}, time.Time{}},
		{"a year", http.Header{"Retry-After": {"31536000"}}, now.Add(15 * time.Minute)},
		{"limit not reached", http.Header{"X-Ratelimit-Reset": {"1795435260"}, "X-Ratelimit-Remaining": {"3"}}, time.Time{}},
		{"limit reached", http.Header{"X-Ratelimit-Reset": {"1795435260"}, "X-Ratelimit-Remaining": {"0"}}, time.Unix(1795435260, 0)},
	}
	for _, test := range tests {
		if got := webclient.RetryTime(test.header, now); !got.Equal(test.want) {
			t.Errorf("%s: RetryTime = %v; want %v", test.name, got, test.want)
		}
	}
}
