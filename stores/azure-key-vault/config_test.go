package azurekeyvaultstore

import (
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "azure-key-vault" {
		t.Errorf("the example is of type %q, %v; want azure-key-vault", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
	page, err := os.ReadFile("../../docs/stores/azure-key-vault.md")
	if err != nil || !strings.Contains(string(page), "```yaml\n"+Example+"```\n") {
		t.Errorf("the page does not have the example, %v", err)
	}
}

func TestValidate(t *testing.T) {
	env := rotator.SecretSource{Env: "X"}
	const vault = "https://v.vault.azure.net/"
	for _, fine := range []Auth{
		{},
		{Method: "default", TenantID: "t"},
		{Method: "client_secret", TenantID: "t", ClientID: "c", ClientSecret: env},
		{Method: "workload_identity", TenantID: "t", ClientID: "c", TokenFile: "f"},
		{Method: "managed_identity", ClientID: "c"},
	} {
		if err := (Config{VaultURL: vault, Auth: fine}).Validate(); err != nil {
			t.Errorf("Validate() with %+v = %v", fine, err)
		}
	}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing": {Config{}, []string{"vault_url: is needed"}},
		"no TLS":  {Config{VaultURL: "http://127.0.0.1"}, []string{"vault_url: must be a URL"}},
		"secrets": {Config{VaultURL: "https://u:s3cr3t@v/x?q#f"}, []string{"vault_url: must not have a user"}},
		"method":  {Config{VaultURL: vault, Auth: Auth{Method: "s"}}, []string{`auth.method: "s" is not one of client_secret, default, managed_identity, workload_identity`}},
		"fields": {
			Config{VaultURL: vault, Auth: Auth{Method: "client_secret", TokenFile: "f", ClientSecret: rotator.SecretSource{Env: "A", File: "b"}}},
			[]string{"auth.client_id: is needed", "auth.tenant_id: is needed", "auth.token_file: does not go with", "auth.client_secret: a secret names exactly one"},
		},
	} {
		err := test.config.Validate()
		if err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Count(err.Error(), "\n") != len(test.want)-1 {
			t.Errorf("%s: Validate() = %v; want %d mistakes", name, err, len(test.want))
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Validate() = %v; want %q in it", name, err, want)
			}
		}
	}
	if _, err := New(t.Context(), Config{VaultURL: vault, CAFile: "no such file"}); err == nil || !strings.Contains(err.Error(), "ca_file: ") {
		t.Errorf("New with a missing ca_file = %v", err)
	}
}

func TestClouds(t *testing.T) {
	for vault, want := range map[string]cloud.Configuration{
		"https://v.vault.azure.net": cloud.AzurePublic, "https://v.vault.azure.cn": cloud.AzureChina, "https://v.vault.usgovcloudapi.net": cloud.AzureGovernment,
	} {
		if got := cloudOf(vault); got.ActiveDirectoryAuthorityHost != want.ActiveDirectoryAuthorityHost {
			t.Errorf("cloudOf(%q) logs in at %q; want %q", vault, got.ActiveDirectoryAuthorityHost, want.ActiveDirectoryAuthorityHost)
		}
	}
}
