package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/registry"
)

// compile compiles the schema, or the definition of it that is named.
func compile(t *testing.T, definition string) *jsonschema.Schema {
	t.Helper()
	raw, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	url := "schema.json"
	if definition != "" {
		url += "#/$defs/" + definition
	}
	schema, err := compiler.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// instance turns YAML into what a JSON Schema is for.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	found, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSchemaTakesTheExampleFile(t *testing.T) {
	raw, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.ReplaceAll(raw, []byte("issued_at: 2026-01-31"), []byte("issued_at: '2026-01-31'")) // a date is a text in JSON
	if err := compile(t, "").Validate(instance(t, text)); err != nil {
		t.Errorf("Validate(config.example.yaml) = %v", err)
	}
}

func TestSchemaTakesEveryExample(t *testing.T) {
	plugins := config.BuiltIn()
	examples(t, "issuer", plugins.Issuers)
	examples(t, "store", plugins.Stores)
	examples(t, "deployer", plugins.Deployers)
	examples(t, "probe", plugins.Probes)
	examples(t, "notifier", plugins.Notifiers)
}

func examples[P any](t *testing.T, definition string, kind registry.Kind[P]) {
	t.Helper()
	schema := compile(t, definition)
	for _, name := range kind.Types() {
		if err := schema.Validate(instance(t, []byte(kind[name].Example))); err != nil {
			t.Errorf("example of %s %s: %v", definition, name, err)
		}
	}
}

// TestSchemaRefuses holds that an editor finds what one key alone makes wrong.
func TestSchemaRefuses(t *testing.T) {
	schema := compile(t, "")
	for _, name := range []string{
		"unknown-key", "unknown-key-deep", "unknown-plugin-key", "unknown-section", "unknown-store-type", "unknown-probe-type", "missing-issuer", "missing-type",
		"wrong-type", "null-section", "bad-duration", "token-name", "limits", "limits-rollout", "log", "policy-unknown-reason", "secret-literal", "secret-two-places",
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", "bad", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, raw)); err == nil {
			t.Errorf("Validate(%s.yaml) = nil; want an error", name)
		}
	}
}
