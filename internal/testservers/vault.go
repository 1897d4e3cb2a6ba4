package testservers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// buildCommand is what a person runs when a test was skipped for want of a server.
const buildCommand = "go run ./internal/testservers/cmd/build"

func vaultServer() Server {
	return Server{Name: "vault", Version: "1.14.1", Cost: "once, about 100 seconds on two cores and 150 MB of modules"}
}

// A VaultServer is a running Vault, unsealed, with KV version 2 at secret/, KV
// version 1 at kv/ and AppRole at auth/approle/. It keeps everything in memory.
type VaultServer struct {
	Addr      string // http://127.0.0.1:port
	RootToken string
	UnsealKey string // hex, for PUT sys/unseal

	client *http.Client
	input  io.Closer
	ended  chan struct{}
}

// Vault starts a Vault for a test and stops it at the test's end. Where it
// can't be built the test is skipped with the way to build it; in CI (the
// environment variable CI is set) it fails.
func Vault(t testing.TB) *VaultServer {
	t.Helper()
	server, err := StartVault(t.Context())
	var unbuilt *buildError
	switch {
	case errors.As(err, &unbuilt) && os.Getenv("CI") == "":
		t.Skipf("no Vault to test against; build it with `%s`: %v", buildCommand, err)
	case err != nil:
		t.Fatalf("start Vault: %v", err)
	}
	t.Cleanup(server.Stop)
	return server
}

type buildError struct{ error }

func (e *buildError) Unwrap() error { return e.error }

// StartVault builds Vault if need be, starts it and waits until it answers. It
// runs until Stop, or until this process ends; ctx is only for the start.
func StartVault(ctx context.Context) (*VaultServer, error) {
	binary, err := Build(ctx, vaultServer(), func(message string) { _, _ = fmt.Fprintln(os.Stderr, message) })
	if err != nil {
		return nil, &buildError{err}
	}
	command := exec.Command(binary) //nolint:gosec,noctx // our own binary; it outlives ctx and ends with its standard input
	var complaints bytes.Buffer
	command.Stderr = &complaints
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	var line struct {
		Addr      string `json:"addr"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
	}
	giveUp := context.AfterFunc(ctx, func() { _ = input.Close() })
	err = json.NewDecoder(output).Decode(&line)
	giveUp()
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	if err != nil {
		_ = input.Close()
		<-ended
		return nil, fmt.Errorf("wait for Vault: %w\n%s", errors.Join(err, ctx.Err()), complaints.String())
	}
	return &VaultServer{
		Addr: line.Addr, RootToken: line.RootToken, UnsealKey: line.UnsealKey, input: input, ended: ended,
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}, nil
}

// Stop ends the server and waits for it. Further calls do nothing.
func (v *VaultServer) Stop() {
	_ = v.input.Close()
	<-v.ended
}

// Call makes one call to Vault's API as root: path is without /v1/, body is
// sent as JSON unless it is nil. It returns the status and the decoded answer,
// nil where there is none.
func (v *VaultServer) Call(ctx context.Context, method, path string, body any) (int, map[string]any, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	if body == nil {
		raw = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, v.Addr+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("X-Vault-Token", v.RootToken)
	answer, err := v.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var decoded map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&decoded); err != nil && !errors.Is(err, io.EOF) {
		return answer.StatusCode, nil, err
	}
	return answer.StatusCode, decoded, nil
}

// Must is Call for a test: any status but 2xx and 404 ends it. It returns the
// answer's data, or its auth where there is one.
func (v *VaultServer) Must(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	status, answer, err := v.Call(t.Context(), method, path, body)
	if err != nil || (status/100 != 2 && status != http.StatusNotFound) {
		t.Fatalf("%s %s: status %d, %v, %v", method, path, status, answer["errors"], err)
	}
	if auth, ok := answer["auth"].(map[string]any); ok {
		return auth
	}
	data, _ := answer["data"].(map[string]any)
	return data
}
