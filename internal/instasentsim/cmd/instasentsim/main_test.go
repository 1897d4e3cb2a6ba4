package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-admin-token", "secret", "-datasource", "p/d", "-dead-status", "403", "-revocation-lag", "1s"}, writer, io.Discard)
	}()
	var addresses map[string]string
	if err := json.NewDecoder(reader).Decode(&addresses); err != nil {
		t.Fatal(err)
	}
	if addresses["admin_token"] != "secret" {
		t.Errorf("printed %v", addresses)
	}
	for url, want := range map[string]int{
		addresses["dashboard_url"] + "/admin/projects/p/datasources/d/tokens": 200,
		addresses["dashboard_url"] + "/admin/projects/p/datasources/e/tokens": 404,
		addresses["api_url"] + "/project/p/datasource/d/stream":               403,
	} {
		if got := get(t, url, addresses["admin_token"]); got != want {
			t.Errorf("GET %s: status %d; want %d", url, got, want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}

func get(t *testing.T, url, token string) int {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestRunRefusesOddFlags(t *testing.T) {
	for _, args := range [][]string{{"extra"}, {"-datasource", "p/d/e"}, {"-latency", "soon"}, {"-api-addr", "nowhere:-1"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("run(%s): no error", strings.Join(args, " "))
		}
	}
}
