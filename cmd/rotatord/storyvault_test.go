package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

// vaultField is the field of every secret of the stories in Vault; the secret
// itself is NAME below the story's own folder.
const vaultField = "INSTASENT_TOKEN"

// startVault gives the story a folder in Vault and a log-in of its own, behind
// the gate. A place vault:NAME is secret/data/STORY/NAME there.
func startVault(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 0, "vault")
	w := worldOf(ts)
	server, err := w.vault()
	ts.Check(err)
	address, err := url.Parse(server.Addr)
	ts.Check(err)
	proxy := httptest.NewServer(w.gate.around(httputil.NewSingleHostReverseProxy(address)))
	ts.Defer(proxy.Close)
	vaultMay(ts, false, []string{"write"})
	answer := vaultCall(ts, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{ts.Name()}})
	auth, _ := answer["auth"].(map[string]any)
	ts.Setenv("VAULT_TOKEN", fmt.Sprint(auth["client_token"]))
	ts.Setenv("VAULT_ADDR", proxy.URL)
	ts.Setenv("STORY", ts.Name())
}

func vaultMay(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "vault-may read|write")
	capabilities := `["read"]`
	if args[0] == "write" {
		capabilities = `["create", "read", "update"]`
	}
	vaultCall(ts, http.MethodPut, "sys/policies/acl/"+ts.Name(), map[string]string{
		"policy": fmt.Sprintf(`path "secret/data/%s/*" { capabilities = %s }`, ts.Name(), capabilities),
	})
}

// vaultCall calls Vault as root, around the gate.
func vaultCall(ts *testscript.TestScript, method, path string, body any) map[string]any {
	server, err := worldOf(ts).vault()
	ts.Check(err)
	status, answer, err := server.Call(context.Background(), method, path, body)
	ts.Check(err)
	if status/100 != 2 {
		ts.Fatalf("%s %s: status %d, %v", method, path, status, answer["errors"])
	}
	return answer
}

func keep(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "keep PLACE FILE")
	value := ts.ReadFile(args[1])
	switch kind, name, _ := strings.Cut(args[0], ":"); kind {
	case "file":
		path := ts.MkAbs(filepath.Join("secrets", name))
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
		ts.Check(os.WriteFile(path, []byte(value), 0o600))
	case "vault":
		vaultCall(ts, http.MethodPost, "secret/data/"+ts.Name()+"/"+name,
			map[string]any{"data": map[string]string{vaultField: value, "OWNER": "crm"}})
	default:
		ts.Fatalf("place %s is neither file:NAME nor vault:NAME", args[0])
	}
}

func holds(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, false, args, 2, "[!] holds PLACE FINGERPRINT")
	value := ""
	switch kind, name, _ := strings.Cut(args[0], ":"); kind {
	case "file":
		value = ts.ReadFile(filepath.Join("secrets", name))
	case "vault":
		answer := vaultCall(ts, http.MethodGet, "secret/data/"+ts.Name()+"/"+name, nil)
		outer, _ := answer["data"].(map[string]any)
		fields, _ := outer["data"].(map[string]any)
		value, _ = fields[vaultField].(string)
		if fields["OWNER"] != "crm" {
			ts.Fatalf("%s has lost its other field", args[0])
		}
	default:
		ts.Fatalf("place %s is neither file:NAME nor vault:NAME", args[0])
	}
	if got := string(rotator.FingerprintOf(value)); (got == args[1]) == neg {
		ts.Fatalf("%s holds %s; want (with !: not) %s", args[0], got, args[1])
	}
}

// versions: a second write of the same value would show in Vault.
func versions(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "versions vault:NAME N")
	answer := vaultCall(ts, http.MethodGet, "secret/metadata/"+ts.Name()+"/"+strings.TrimPrefix(args[0], "vault:"), nil)
	metadata, _ := answer["data"].(map[string]any)
	if got := fmt.Sprint(metadata["current_version"]); got != args[1] {
		ts.Fatalf("%s has %s versions; want %s", args[0], got, args[1])
	}
}

// haveVault is the condition [vault]. In CI there must be one.
func haveVault(vault func() (*testservers.VaultServer, error)) func(string) (bool, error) {
	return func(condition string) (bool, error) {
		if condition != "vault" {
			return false, fmt.Errorf("condition %q is not known", condition)
		}
		_, err := vault()
		if err != nil && os.Getenv("CI") == "" {
			return false, nil
		}
		return err == nil, err
	}
}
