package vaultstore

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
)

const (
	runningAddr  = "ROTATORD_TEST_OPENBAO_ADDR"
	runningToken = "ROTATORD_TEST_OPENBAO_TOKEN"
	page         = "../../docs/stores/vault.md"
)

// server starts a Vault for a test or, where the environment names a running
// OpenBao or Vault, empties that one.
func server(t *testing.T) *testservers.VaultServer {
	t.Helper()
	addr := os.Getenv(runningAddr)
	if addr == "" {
		return testservers.Vault(t)
	}
	running := testservers.RunningVault(addr, os.Getenv(runningToken))
	_, status, err := running.Call(t.Context(), http.MethodGet, "sys/seal-status", nil)
	if err != nil || status["storage_type"] != "inmem" {
		t.Fatalf("%s: storage is %v, %v; want a throw-away server that keeps everything in memory", runningAddr, status["storage_type"], err)
	}
	for path, body := range map[string]any{
		"sys/mounts/secret": map[string]any{"type": "kv", "options": map[string]string{"version": "2"}},
		"sys/mounts/kv":     map[string]any{"type": "kv", "options": map[string]string{"version": "1"}},
		"sys/auth/approle":  map[string]any{"type": "approle"},
		"sys/auth/jwt":      map[string]any{"type": "jwt"},
	} {
		running.Must(t, http.MethodDelete, path, nil)
		running.Must(t, http.MethodPost, path, body)
	}
	eventually(t, "the mount of KV version 2 is ready", func() bool {
		code, _, err := running.Call(t.Context(), http.MethodGet, "secret/config", nil)
		return err == nil && code == http.StatusOK
	})
	return running
}

// only skips a test of what a running server can't be brought into.
func only(t *testing.T, vault *testservers.VaultServer, what string) {
	t.Helper()
	if vault.UnsealKey == "" {
		t.Skipf("not with a running server: %s", what)
	}
}

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	policyBlock  = regexp.MustCompile("(?s)```hcl\n(.*?)```")
	writeCommand = regexp.MustCompile(`(?m)^vault write (\S+) (.*)$`)
)

// policyOf returns the policy of the page whose text has a path in it.
func policyOf(t *testing.T, path string) string {
	t.Helper()
	for _, block := range policyBlock.FindAllStringSubmatch(readPage(t), -1) {
		if strings.Contains(block[1], `"`+path+`"`) {
			return block[1]
		}
	}
	t.Fatalf("%s has no policy for %s", page, path)
	return ""
}

// setUp makes the policy for KV version 2 and runs the page's `vault write`
// commands below a path, with the files that they name by @.
func setUp(t *testing.T, vault *testservers.VaultServer, path string, files map[string]string) {
	t.Helper()
	vault.Must(t, http.MethodPut, "sys/policy/rotatord", map[string]string{"policy": policyOf(t, "secret/data/crm")})
	ran := 0
	for _, command := range writeCommand.FindAllStringSubmatch(readPage(t), -1) {
		if !strings.HasPrefix(command[1], path) {
			continue
		}
		ran++
		body := map[string]any{}
		for argument := range strings.FieldsSeq(command[2]) {
			name, value, _ := strings.Cut(argument, "=")
			if file, ok := strings.CutPrefix(value, "@"); ok {
				value = files[file]
			}
			body[name] = value
		}
		vault.Must(t, http.MethodPost, command[1], body)
	}
	if ran == 0 {
		t.Fatalf("%s has no command below %s", page, path)
	}
}
