package gcpsecretmanagerstore

import (
	"os"
	"strings"
	"testing"

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
	if err := decoder.Decode(&entry); err != nil || entry.Type != "gcp-secret-manager" {
		t.Errorf("the example is of type %q, %v; want gcp-secret-manager", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
	page, err := os.ReadFile("../../docs/stores/gcp-secret-manager.md")
	if err != nil || !strings.Contains(string(page), "```yaml\n"+Example+"```\n") {
		t.Errorf("the page does not have the example, %v", err)
	}
}

func TestValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("Validate() of an empty entry = %v; want nil", err)
	}
	config := Config{
		Project: "My/Project", Location: "../x", Alias: "1x", Impersonate: "nobody", Endpoint: "https://u:s3cr3t@host",
	}
	err := config.Validate()
	for _, want := range []string{"project: ", "location: ", "alias: ", "impersonate: ", "endpoint: must be host:port"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("Validate() = %v; want %q in it", err, want)
		}
	}
	for _, reserved := range []string{"latest", "NEW"} {
		if err := (Config{Alias: reserved}).Validate(); err == nil {
			t.Errorf("Validate() with alias %q = nil; want an error", reserved)
		}
	}
	if _, err := New(t.Context(), Config{CAFile: "no such file"}); err == nil || !strings.Contains(err.Error(), "ca_file: ") {
		t.Errorf("New with a missing ca_file = %v", err)
	}
}

func TestAddress(t *testing.T) {
	for want, c := range map[string]Config{
		"secretmanager.googleapis.com:443":                  {},
		"secretmanager.europe-west1.rep.googleapis.com:443": {Location: "europe-west1"},
		"127.0.0.1:1": {Location: "europe-west1", Endpoint: "127.0.0.1:1"},
	} {
		if got := c.address(); got != want {
			t.Errorf("address of %+v = %q; want %q", c, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	c := Config{Project: "my-project"}
	for key, want := range map[string]string{
		"crm":                              "projects/my-project/secrets/crm",
		"crm#a.b":                          "projects/my-project/secrets/crm",
		"projects/123/secrets/crm":         "projects/123/secrets/crm",
		"projects/ex.com:p/secrets/crm#x":  "projects/ex.com:p/secrets/crm",
		"projects/other-one/secrets/CRM_1": "projects/other-one/secrets/CRM_1",
	} {
		p, err := c.parse(key)
		if err != nil || p.name() != want {
			t.Errorf("parse(%q) = %q, %v; want %q", key, p.name(), err, want)
		}
	}
	if _, err := (Config{}).parse("crm"); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "project") {
		t.Errorf("parse of a key without project = %v; want an error that says so", err)
	}
}
