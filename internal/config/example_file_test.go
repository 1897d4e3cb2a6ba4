package config_test

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/config"
)

const exampleFile = "../../config.example.yaml"

func TestExampleFileLoads(t *testing.T) {
	file, err := config.Load(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	built, err := file.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(built.Tokens) == 0 {
		t.Error("the example has no token")
	}
	for _, warning := range built.Warnings {
		t.Errorf("warning: %s", warning)
	}
}

// TestCanaryNowhere puts a secret into every place of the example, one after
// the other, and looks for it in what is said.
func TestCanaryNowhere(t *testing.T) {
	raw, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	plugins := config.BuiltIn()
	for i, node := range scalars(&root) {
		others := []string{node.Value + "CANARY", "CANARY " + node.Value, "https://user:CANARY@host/CANARY"}
		for j, form := range []string{"CANARY", others[i%len(others)]} {
			before := node.Value
			node.Value = strings.ReplaceAll(form, "CANARY", canaries[(i+j)%len(canaries)])
			text, err := yaml.Marshal(&root)
			node.Value = before
			if err != nil {
				t.Fatal(err)
			}
			if piece, said := leakOf(plugins, text); piece != "" {
				t.Errorf("with %s in line %d: a message holds %q of the canary:\n%s", form, node.Line, piece, said)
			}
		}
	}
}

func leakOf(plugins config.Plugins, text []byte) (piece, said string) {
	file, err := plugins.Parse("canary.yaml", text)
	if err != nil {
		said = err.Error()
	} else {
		said = strings.Join(file.Warnings, "\n")
	}
	return leak(said), said
}

// scalars returns every key and value, without those that hold others.
func scalars(node *yaml.Node) []*yaml.Node {
	if node.Kind == yaml.ScalarNode {
		return []*yaml.Node{node}
	}
	var found []*yaml.Node
	for _, child := range node.Content {
		found = append(found, scalars(child)...)
	}
	return found
}

func FuzzLoad(f *testing.F) {
	raw, err := os.ReadFile(exampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for _, seed := range []string{
		"tokens: {}", "tokens: {a: {issuer: b, stores: [{store: c, key: d}]}}", "stores: {a: {type: file, dir: &x /run}}\ntokens: *x",
		"issuers: {a: {type: http, secrets: {b: CANARY}}}", "groups: {<<: {a: [CANARY]}}", "CANARY: CANARY", "tokens: {CANARY: CANARY}",
	} {
		f.Add([]byte(seed))
	}
	plugins := config.BuiltIn()
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, canary := range append(canaries, "none") {
			text := strings.ReplaceAll(string(raw), "CANARY", canary)
			_, err := plugins.Parse("fuzz.yaml", []byte(text))
			if err == nil || canary == "none" {
				continue
			}
			if piece := leak(err.Error()); piece != "" && !strings.Contains(string(raw), piece) {
				t.Errorf("a message holds %q of a canary:\n%s", piece, err)
			}
		}
	})
}
