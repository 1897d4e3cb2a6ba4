package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"

	"github.com/rotatord/rotatord/internal/config"
)

const (
	docsFile  = "../../docs/configuration.md"
	docsBegin = "<!-- begin: made from the schema by go test ./internal/config -update -->\n"
	docsEnd   = "<!-- end -->\n"
)

// TestDocsHaveEveryKey holds the tables of docs/configuration.md and the schema
// together: every key with its type, default and description.
func TestDocsHaveEveryKey(t *testing.T) {
	page, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), docsBegin)
	old, after, ended := strings.Cut(rest, docsEnd)
	if !ok || !ended {
		t.Fatalf("%s lacks the lines %q and %q", docsFile, docsBegin, docsEnd)
	}
	want := reference(t)
	if *update {
		if err := os.WriteFile(docsFile, []byte(before+docsBegin+want+docsEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		old = want
	}
	if diff := cmp.Diff(want, old); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

// A referencePage writes a table for each mapping of the schema.
type referencePage struct {
	strings.Builder
	defs jsonschema.Definitions
}

func reference(t *testing.T) string {
	t.Helper()
	raw, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	page := &referencePage{defs: schema.Definitions}
	page.WriteString("\n### The file\n")
	page.table("", &schema)
	for _, kind := range []string{"issuer", "store", "deployer", "probe", "notifier"} {
		fmt.Fprintf(page, "\n### Types of %ss\n", kind)
		for _, branch := range page.defs[kind].AllOf {
			definition := strings.TrimPrefix(branch.Then.Ref, "#/$defs/")
			fmt.Fprintf(page, "\n#### %s `%s`\n", kind, strings.TrimPrefix(definition, kind+"."))
			page.table("", page.defs[definition])
		}
	}
	page.WriteString("\n")
	return page.String()
}

// table writes the keys of a mapping, then those of the mappings in it.
func (p *referencePage) table(path string, s *jsonschema.Schema) {
	if path != "" {
		fmt.Fprintf(p, "\n`%s`\n", path)
	}
	p.WriteString("\n| key | type | default | what it is |\n| --- | --- | --- | --- |\n")
	type below struct {
		path   string
		schema *jsonschema.Schema
	}
	var later []below
	seen := map[*jsonschema.Schema]bool{}
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		key, value := pair.Key, pair.Value
		fmt.Fprintf(p, "| `%s` | %s | %s | %s |\n", key, p.typeOf(value), defaultOf(s, key, value), describe(value))
		inner, suffix := p.inner(value)
		if inner == nil || inner.Properties == nil || seen[inner] {
			continue
		}
		seen[inner] = true
		name := strings.TrimPrefix(path+"."+key+suffix, ".")
		if strings.HasPrefix(name, "tokens.NAME.policy.") {
			name = "tokens.NAME.policy.REASON"
		}
		later = append(later, below{name, inner})
	}
	for _, one := range later {
		p.table(one.path, one.schema)
	}
}

// inner returns the mapping that a value is, or is a list or mapping of.
// Plug-ins and secrets have places of their own.
func (p *referencePage) inner(s *jsonschema.Schema) (*jsonschema.Schema, string) {
	switch {
	case s.Items != nil:
		inner, suffix := p.inner(s.Items)
		return inner, "[]" + suffix
	case s.AdditionalProperties != nil && s.AdditionalProperties.Ref != "":
		inner, suffix := p.inner(s.AdditionalProperties)
		return inner, ".NAME" + suffix
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, "#/$defs/")
		if name == strings.ToLower(name) { // issuer, store, secret
			return nil, ""
		}
		return p.defs[name], ""
	}
	return nil, ""
}

func (p *referencePage) typeOf(s *jsonschema.Schema) string {
	switch {
	case s.Const != nil:
		return fmt.Sprintf("`%v`", s.Const)
	case s.Ref == "#/$defs/secret":
		return "secret"
	case s.Ref != "":
		name := strings.TrimPrefix(s.Ref, "#/$defs/")
		if name == strings.ToLower(name) {
			return name
		}
		return p.typeOf(p.defs[name])
	case len(s.Enum) > 0:
		var words []string
		for _, word := range s.Enum {
			words = append(words, fmt.Sprintf("`%v`", word))
		}
		return strings.Join(words, ", ")
	case s.Items != nil:
		return "list of " + p.typeOf(s.Items)
	case s.AdditionalProperties != nil && (s.AdditionalProperties.Type != "" || s.AdditionalProperties.Ref != "" || s.AdditionalProperties.Items != nil):
		return "mapping of names to " + p.typeOf(s.AdditionalProperties)
	case s.Type == "object":
		return "mapping"
	case s.Pattern == `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|[0-9]+[dw])$`:
		return "duration"
	}
	return map[string]string{"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}[s.Type]
}

func defaultOf(parent *jsonschema.Schema, key string, s *jsonschema.Schema) string {
	if slices.Contains(parent.Required, key) || s.Const != nil {
		return "required"
	}
	if s.Default != nil {
		return fmt.Sprintf("`%v`", s.Default)
	}
	return ""
}

func describe(s *jsonschema.Schema) string {
	text := s.Description
	if s.Const != nil {
		text = "The type of the plug-in"
	}
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}
