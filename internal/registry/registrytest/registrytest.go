// Package registrytest holds the list of a kind's plug-ins together with their
// folders: each folder is listed, and each entry has settings that are
// described and an example that loads.
//
// It builds no plug-in and opens nothing. A kind of plug-ins calls Folders and
// Entries in a test beside its list.
package registrytest

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/internal/strictyaml"
)

// Folders fails on a folder beside the test that holds a package which is not
// listed, and on a listed type without a folder. Folders whose names end in
// test hold conformance suites.
func Folders(t *testing.T, listed ...[]string) {
	t.Helper()
	types := slices.Concat(listed...)
	slices.Sort(types)
	types = slices.Compact(types)
	sources, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		folder := filepath.Dir(source)
		if !strings.HasSuffix(folder, "test") && !slices.Contains(types, folder) {
			t.Errorf("folder %s is not listed as a type", folder)
		}
	}
	for _, name := range types {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			t.Errorf("type %s has no folder of its name", name)
		}
	}
}

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// Entries fails on an example that is missing or does not load, and on a key
// that is not snake_case or has no description. Keys in own are not the plug-in's.
func Entries[P any](t *testing.T, kind registry.Kind[P], own ...string) {
	t.Helper()
	for _, name := range kind.Types() {
		t.Run(name, func(t *testing.T) {
			entry := kind[name]
			described(t, entry.Config, map[reflect.Type]bool{})
			root, mistakes := strictyaml.Parse([]byte(entry.Example))
			if root == nil {
				t.Fatalf("example: %v", mistakes)
			}
			place := strictyaml.Place{Node: root}
			d := strictyaml.NewDecoder(mistakes)
			settings := kind.Decode(d, place, own...)
			for _, mistake := range d.Mistakes {
				t.Errorf("example: %s", mistake)
			}
			if settings.Type != name {
				t.Errorf("the example's type is %q; want %q", settings.Type, name)
			}
			if !strings.Contains(entry.Example, "#") {
				t.Error("the example has no comments; it is the documentation")
			}
		})
	}
}

func described(t *testing.T, typ reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || seen[typ] || !strings.Contains(typ.PkgPath(), "rotatord") {
		return
	}
	seen[typ] = true
	for field := range typ.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if !field.IsExported() || name == "-" {
			continue
		}
		if options != "inline" {
			if !snake.MatchString(name) {
				t.Errorf("%s.%s: yaml key %q is not snake_case", typ, field.Name, name)
			}
			if !strings.Contains(field.Tag.Get("jsonschema"), "description=") {
				t.Errorf("%s.%s: no description in its jsonschema tag", typ, field.Name)
			}
		}
		described(t, field.Type, seen)
	}
}
