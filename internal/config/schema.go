package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/rotator"
)

const (
	module          = "github.com/rotatord/rotatord/"
	namePattern     = `^[a-z0-9][a-z0-9._-]{0,62}$`
	durationPattern = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|[0-9]+[dw])$`
)

// Schema returns the JSON Schema (2020-12) of the configuration file, for
// editors. It is made from the Go types that the file is decoded into, and
// accepts a little more than Load: rules between keys are Load's alone.
func Schema() ([]byte, error) { return BuiltIn().Schema() }

// Schema is the same for other types of plug-ins.
func (p Plugins) Schema() ([]byte, error) {
	reflector := &jsonschema.Reflector{
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Anonymous: true, ExpandedStruct: true,
		Namer: definitionName, Mapper: mapType,
	}
	root := reflector.Reflect(spec{})
	root.ID = "https://" + module + "config.schema.json"
	root.Title = "Configuration of rotatord"
	for pair := root.Properties.Oldest(); pair != nil; pair = pair.Next() {
		if pair.Value.AdditionalProperties != nil && pair.Value.Ref == "" {
			pair.Value.PropertyNames = &jsonschema.Schema{Pattern: namePattern}
		}
	}
	root.Definitions["secret"] = secretSchema()
	addKind(reflector, root.Definitions, "issuer", p.Issuers, false)
	addKind(reflector, root.Definitions, "store", p.Stores, false)
	addKind(reflector, root.Definitions, "notifier", p.Notifiers, false)
	addKind(reflector, root.Definitions, "deployer", p.Deployers, true)
	addKind(reflector, root.Definitions, "probe", p.Probes, true)
	raw, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write schema: %w", err)
	}
	return append(raw, '\n'), nil
}

// addKind adds a definition for each type of plug-in, and one that chooses
// among them by the key type.
func addKind[P any](r *jsonschema.Reflector, defs jsonschema.Definitions, word string, kind registry.Kind[P], listed bool) {
	choice := &jsonschema.Schema{Type: "object", Required: []string{"type"}, Properties: jsonschema.NewProperties()}
	names := &jsonschema.Schema{Type: "string", Description: "Type of the " + word}
	choice.Properties.Set("type", names)
	for _, name := range kind.Types() {
		settings := r.ReflectFromType(kind[name].Config)
		maps.Copy(defs, settings.Definitions)
		settings.Definitions, settings.Version = nil, ""
		if settings.Properties == nil {
			settings.Properties = jsonschema.NewProperties()
		}
		settings.Properties.Set("type", &jsonschema.Schema{Const: name})
		_ = settings.Properties.MoveToFront("type") // it is there
		if listed {
			settings.Properties.Set("name", &jsonschema.Schema{
				Type: "string", Pattern: namePattern,
				Description: "Unique in the list; default is the type and the place in the list, like " + name + "-1",
			})
		}
		definition := word + "." + name
		defs[definition] = settings
		names.Enum = append(names.Enum, name)
		is := jsonschema.NewProperties()
		is.Set("type", &jsonschema.Schema{Const: name})
		choice.AllOf = append(choice.AllOf, &jsonschema.Schema{
			If:   &jsonschema.Schema{Properties: is, Required: []string{"type"}},
			Then: &jsonschema.Schema{Ref: "#/$defs/" + definition},
		})
	}
	defs[word] = choice
}

func definitionName(t reflect.Type) string {
	if t.Name() == "" || t.PkgPath() == "" {
		return t.Name()
	}
	return strings.ReplaceAll(strings.TrimPrefix(t.PkgPath(), module), "/", ".") + "." + t.Name()
}

// mapType describes the types that are not read field by field.
func mapType(t reflect.Type) *jsonschema.Schema {
	reference := func(word string) *jsonschema.Schema { return &jsonschema.Schema{Ref: "#/$defs/" + word} }
	switch t {
	case reflect.TypeFor[rotator.SecretSource]():
		return reference("secret")
	case reflect.TypeFor[rotator.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern}
	case reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[issuerSpec]():
		return reference("issuer")
	case reflect.TypeFor[storeSpec]():
		return reference("store")
	case reflect.TypeFor[notifierSpec]():
		return reference("notifier")
	case reflect.TypeFor[deployerSpec]():
		return reference("deployer")
	case reflect.TypeFor[probeSpec]():
		return reference("probe")
	}
	return nil
}

func secretSchema() *jsonschema.Schema {
	form := func(keys ...string) *jsonschema.Schema {
		s := &jsonschema.Schema{Type: "object", Required: keys, Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
		t := reflect.TypeFor[rotator.SecretSource]()
		for _, key := range keys {
			s.Properties.Set(key, &jsonschema.Schema{Type: "string", Description: descriptionOf(t, key)})
		}
		return s
	}
	return &jsonschema.Schema{
		Description: "Where a secret is read from; it is never written in the file itself",
		OneOf:       []*jsonschema.Schema{form("env"), form("file"), form("store", "key")},
	}
}

func descriptionOf(t reflect.Type, key string) string {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == key {
			return strings.TrimPrefix(field.Tag.Get("jsonschema"), "description=")
		}
	}
	return ""
}
