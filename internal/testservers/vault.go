package testservers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

func vaultServer() Server {
	return Server{Name: "vault", Version: "1.14.1", Cost: "once, about 2 minutes on two cores and 200 MB of modules"}
}

// A VaultServer is a running Vault, unsealed, with KV version 2 at secret/, KV
// version 1 at kv/ and the log-ins AppRole, JWT, AWS and certificate at their
// usual mounts. It keeps everything in memory.
type VaultServer struct {
	Addr      string // http://127.0.0.1:port
	TLSAddr   string // https://127.0.0.1:port, where it asks for a client's certificate
	CA        string // PEM, of the certificate there
	RootToken string
	UnsealKey string // hex, for PUT sys/unseal

	*process
	client *http.Client
}

// Vault starts a Vault for a test and stops it at the test's end; needed says
// what happens where there is none.
func Vault(t testing.TB) *VaultServer {
	t.Helper()
	server, err := StartVault(t.Context())
	needed(t, vaultServer(), err)
	t.Cleanup(server.Stop)
	return server
}

// StartVault builds Vault if need be, starts it and waits until it answers. It
// runs until Stop, or until this process ends; ctx is only for the start.
func StartVault(ctx context.Context) (*VaultServer, error) {
	var line struct {
		Addr      string `json:"addr"`
		TLSAddr   string `json:"tls_addr"`
		CA        string `json:"ca"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
	}
	process, err := start(ctx, vaultServer(), &line)
	if err != nil {
		return nil, err
	}
	return &VaultServer{
		Addr: line.Addr, TLSAddr: line.TLSAddr, CA: line.CA, RootToken: line.RootToken, UnsealKey: line.UnsealKey,
		process: process, client: vaultClient(),
	}, nil
}

// RunningVault is a server that runs already, Vault or OpenBao. It is never
// stopped, has no address with TLS, and nobody knows how to unseal it.
func RunningVault(addr, rootToken string) *VaultServer {
	return &VaultServer{Addr: addr, RootToken: rootToken, client: vaultClient()}
}

func vaultClient() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
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
