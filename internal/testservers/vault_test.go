package testservers_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
)

func TestVault(t *testing.T) {
	vault := testservers.Vault(t)
	vault.Must(t, http.MethodPost, "secret/data/crm", map[string]any{"data": map[string]string{"TOKEN": "v"}})
	data, _ := vault.Must(t, http.MethodGet, "secret/data/crm", nil)["data"].(map[string]any)
	if data["TOKEN"] != "v" {
		t.Errorf("secret/data/crm = %v; want TOKEN v", data)
	}
	vault.Must(t, http.MethodPost, "kv/crm", map[string]string{"TOKEN": "v"})
	vault.Must(t, http.MethodPost, "auth/approle/role/r", map[string]string{"token_ttl": "1m"})
	vault.Must(t, http.MethodPut, "sys/seal", nil)
	if status, _, err := vault.Call(t.Context(), http.MethodGet, "kv/crm", nil); status != http.StatusServiceUnavailable {
		t.Errorf("a sealed Vault answers %d, %v; want 503", status, err)
	}
	vault.Must(t, http.MethodPut, "sys/unseal", map[string]string{"key": vault.UnsealKey})
	vault.Must(t, http.MethodGet, "kv/crm", nil)
	vault.Stop()
	if status, _, err := vault.Call(t.Context(), http.MethodGet, "kv/crm", nil); err == nil {
		t.Errorf("a stopped Vault answers %d", status)
	}
}

func TestBuildIsCached(t *testing.T) {
	testservers.Vault(t) // skips where it can't be built
	for _, server := range testservers.Servers() {
		path, err := testservers.Build(t.Context(), server, func(m string) { t.Errorf("built again: %s", m) })
		if err != nil {
			t.Fatalf("Build(%s) = %v", server.Name, err)
		}
		if _, err := os.Stat(path); err != nil || !strings.Contains(path, "rotatord-test") {
			t.Errorf("Build(%s) = %q, %v; want a file in the cache", server.Name, path, err)
		}
	}
}
