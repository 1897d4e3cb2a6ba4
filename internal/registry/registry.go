// Package registry turns the settings of one plug-in into the plug-in: the
// name of its type leads to its Config type, the YAML is decoded strictly into
// it, checked, and handed to its New.
//
// It knows no plug-in by itself and registers none on import: the packages
// issuers, stores, rollout and notify list theirs explicitly. It opens nothing
// over the network and never prints a value.
//
// A new plug-in is one entry there: "vault": registry.Of(vaultstore.New, vaultstore.Example).
package registry

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// Config is what the Config type of a plug-in can do: find its own mistakes, offline.
type Config interface{ Validate() error }

// An Entry is one type of plug-in of the kind P: rotator.Issuer, rotator.Store and so on.
type Entry[P any] struct {
	Config  reflect.Type // the plug-in's Config, for the JSON Schema
	Example string       // YAML of one entry, commented

	decode func(d *strictyaml.Decoder, p strictyaml.Place, skip []string) Settings[P]
}

// Summary says what the plug-in is: the whole sentences of the example's first
// comment paragraph. An indented line, as of a list, ends the paragraph.
func (e Entry[P]) Summary() string {
	var paragraph []string
	for line := range strings.Lines(e.Example) {
		text, comment := strings.CutPrefix(strings.TrimRight(line, " \r\n"), "# ")
		if !comment || strings.HasPrefix(text, " ") {
			break
		}
		paragraph = append(paragraph, text)
	}
	text := strings.Join(paragraph, " ")
	if end := strings.LastIndex(text+" ", ". "); end >= 0 {
		text = text[:end+1]
	}
	return text
}

// A Kind is the list of one kind's plug-ins by the name of their type.
type Kind[P any] map[string]Entry[P]

// Types lists the names of the types in order.
func (k Kind[P]) Types() []string { return slices.Sorted(maps.Keys(k)) }

// Settings are the decoded settings of one plug-in.
type Settings[P any] struct {
	Type    string
	Secrets []strictyaml.SecretRef // the secrets that the settings name
	OK      bool                   // no mistake was found

	bind func(rotator.SecretLookup)
	make func(context.Context) (P, error)
}

// Of describes a type of plug-in by its constructor and its example. The
// constructor must not open anything over the network.
func Of[C Config, P any](construct func(context.Context, C) (P, error), example string) Entry[P] {
	return Entry[P]{
		Config:  reflect.TypeFor[C](),
		Example: example,
		decode: func(d *strictyaml.Decoder, p strictyaml.Place, skip []string) Settings[P] {
			var config C
			mistakes, secrets := len(d.Mistakes), len(d.Secrets)
			d.Decode(p, &config, skip...)
			d.Errors(p, config.Validate())
			return Settings[P]{
				Secrets: slices.Clone(d.Secrets[secrets:]),
				OK:      len(d.Mistakes) == mistakes,
				bind:    func(lookup rotator.SecretLookup) { bindSecrets(reflect.ValueOf(&config).Elem(), lookup) },
				make:    func(ctx context.Context) (P, error) { return construct(ctx, config) },
			}
		},
	}
}

// Decode reads the settings at p: its key type names the plug-in, the other
// keys are the plug-in's own, but for those in skip. Mistakes go to d.
func (k Kind[P]) Decode(d *strictyaml.Decoder, p strictyaml.Place, skip ...string) Settings[P] {
	if p.Node.Kind != yaml.MappingNode {
		var anything struct{}
		d.Decode(p, &anything) // says what is wrong
		return Settings[P]{}
	}
	at, ok := p.Get("type")
	if !ok {
		d.Mistake(p, "missing key %q: one of %s", "type", strings.Join(k.Types(), ", "))
		return Settings[P]{}
	}
	name := at.Node.Value
	entry, ok := k[name]
	if !ok || at.Node.Kind != yaml.ScalarNode {
		unknown := "unknown type"
		if strictyaml.Showable(name) {
			unknown += " " + strconv.Quote(name)
		}
		hint := strictyaml.DidYouMean(name, k.Types())
		if hint == "" {
			hint = "; known are " + strings.Join(k.Types(), ", ")
		}
		d.Mistake(at, "%s%s", unknown, hint)
		return Settings[P]{}
	}
	settings := entry.decode(d, p, append([]string{"type"}, skip...))
	settings.Type = name
	return settings
}

// Build makes the plug-in. Its secrets that are kept in a store are read
// through lookup, at the time when the plug-in asks for them.
func (s Settings[P]) Build(ctx context.Context, lookup rotator.SecretLookup) (P, error) {
	s.bind(lookup)
	return s.make(ctx)
}

var secretSource = reflect.TypeFor[rotator.SecretSource]()

// bindSecrets gives every SecretSource in v the way to read from stores.
func bindSecrets(v reflect.Value, lookup rotator.SecretLookup) {
	if v.Type() == secretSource {
		if source, ok := reflect.TypeAssert[*rotator.SecretSource](v.Addr()); ok {
			source.Bind(lookup)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			bindSecrets(v.Elem(), lookup)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				bindSecrets(v.Field(i), lookup)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			bindSecrets(v.Index(i), lookup)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() { // a map's values can't be changed in place
			changed := reflect.New(v.Type().Elem()).Elem()
			changed.Set(v.MapIndex(key))
			bindSecrets(changed, lookup)
			v.SetMapIndex(key, changed)
		}
	default:
	}
}
