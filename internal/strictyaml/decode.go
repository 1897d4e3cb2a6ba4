package strictyaml

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

// A Holder is a type that keeps its place in the document undecoded, for
// settings whose Go type depends on one of their own keys.
type Holder interface{ Hold(p Place) }

// A SecretRef is a rotator.SecretSource that was found in the document.
type SecretRef struct {
	Place  Place
	Source rotator.SecretSource
}

// A Decoder collects the mistakes of one document and the secrets it names.
type Decoder struct {
	Mistakes []Mistake
	Secrets  []SecretRef

	reported map[string]bool // paths that have a mistake
}

// NewDecoder begins with what Parse found.
func NewDecoder(found []Mistake) *Decoder {
	d := &Decoder{Mistakes: found}
	for _, mistake := range found {
		d.mark(mistake.Path)
	}
	return d
}

// Mistake reports one at a place. The arguments must not hold values of the document.
func (d *Decoder) Mistake(p Place, format string, args ...any) {
	line, column := p.position()
	d.Mistakes = append(d.Mistakes, Mistake{Line: line, Column: column, Path: p.Path, Text: fmt.Sprintf(format, args...)})
	d.mark(p.Path)
}

// Reported tells whether a path has a mistake already.
func (d *Decoder) Reported(path string) bool { return d.reported[path] }

func (d *Decoder) mark(path string) {
	if d.reported == nil {
		d.reported = map[string]bool{}
	}
	d.reported[path] = true
}

// Errors reports an error about a place: each error of a join, at the place
// that a rotator.FieldError names below p. Values of the document are taken
// out, and a place that already has a mistake gets no second one.
func (d *Decoder) Errors(p Place, err error) {
	for _, one := range flatten("", err) {
		at := p.Find(one.Path)
		if !d.reported[at.Path] || at.Path == p.Path {
			d.Mistake(at, "%s", Scrub(one.Err.Error(), p.Node))
		}
	}
}

func flatten(prefix string, err error) []rotator.FieldError {
	switch e := err.(type) { //nolint:errorlint // the layers are taken off one by one
	case nil:
		return nil
	case *rotator.FieldError:
		path := e.Path
		if prefix != "" && !strings.HasPrefix(path, "[") {
			path = "." + path
		}
		return flatten(prefix+path, e.Err)
	case interface{ Unwrap() []error }:
		var all []rotator.FieldError
		for _, one := range e.Unwrap() {
			all = append(all, flatten(prefix, one)...)
		}
		return all
	}
	if inner := errors.Unwrap(err); inner != nil && err.Error() == inner.Error() {
		return flatten(prefix, inner) // a marker like rotator.Permanent
	}
	return []rotator.FieldError{{Path: prefix, Err: err}}
}

// Sort orders the mistakes as they stand in the document.
func (d *Decoder) Sort() {
	slices.SortStableFunc(d.Mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
	})
}

// Decode reads the value at p into what out points to. Keys of p itself that
// are listed in skip belong to somebody else, unless out has them too.
func (d *Decoder) Decode(p Place, out any, skip ...string) {
	v := reflect.ValueOf(out).Elem()
	if v.Kind() == reflect.Struct {
		d.structure(p, v, skip)
		return
	}
	d.value(p, v, rules{})
}

func (d *Decoder) value(p Place, v reflect.Value, r rules) {
	if isNull(p.Node) && v.Kind() != reflect.Interface {
		if !d.reported[p.Path] {
			d.Mistake(p, "has no value; give it one, or remove the key")
		}
		return
	}
	target := v.Addr().Interface()
	switch out := target.(type) {
	case Holder:
		out.Hold(p)
		return
	case *rotator.SecretSource:
		d.secret(p, out)
		return
	case *time.Time:
		d.time(p, out)
		return
	case encoding.TextUnmarshaler:
		d.text(p, out)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		inner := reflect.New(v.Type().Elem())
		d.value(p, inner.Elem(), r)
		v.Set(inner)
	case reflect.Struct:
		d.structure(p, v, nil)
	case reflect.Map:
		d.mapping(p, v, r)
	case reflect.Slice:
		d.list(p, v, r)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			if found := reflect.ValueOf(d.any(p)); found.IsValid() {
				v.Set(found)
			}
			return
		}
		d.Mistake(p, "can't be configured")
	default:
		d.scalar(p, v, r)
	}
}

func (d *Decoder) is(p Place, kind yaml.Kind, wanted string) bool {
	if p.Node.Kind == kind {
		return true
	}
	d.Mistake(p, "must be %s, not %s", wanted, kindName(p.Node))
	return false
}

func kindName(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(node):
		return "nothing"
	}
	return "a single value"
}

func (d *Decoder) structure(p Place, v reflect.Value, skip []string) {
	if isNull(p.Node) {
		d.Mistake(p, "has no value; give it one, or remove the key")
		return
	}
	if !d.is(p, yaml.MappingNode, "a mapping of keys to values") {
		return
	}
	fields := fieldsOf(v.Type())
	names := slices.Clone(skip)
	for _, f := range fields {
		names = append(names, f.name)
	}
	seen := map[string]bool{}
	groups := map[string]bool{"": true}
	for _, entry := range p.Entries() {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == entry.Key.Value })
		switch {
		case i >= 0:
			f := fields[i]
			seen[f.name] = true
			groups[groupOf(f)] = true
			d.value(entry, reach(v, f.index), f.rules)
		case !slices.Contains(skip, entry.Key.Value):
			d.unknownKey(p, entry, names)
		}
	}
	for _, f := range fields {
		if f.required && !seen[f.name] && groups[groupOf(f)] && !d.reported[p.Below(f.name)] {
			d.Mistake(p, "missing key %q", f.name)
			d.mark(p.Below(f.name))
		}
	}
}

func groupOf(f field) string {
	if f.group == nil {
		return ""
	}
	return fmt.Sprint(f.group)
}

func (d *Decoder) unknownKey(parent, entry Place, known []string) {
	key := entry.Key.Value
	if near := Suggest(key, known); near != "" {
		d.mark(parent.Below(near)) // the mistake is told; not "missing" too
		d.Mistake(Place{Path: entry.Path, Node: entry.Key}, "unknown key; did you mean %q?", near)
		return
	}
	d.Mistake(Place{Path: entry.Path, Node: entry.Key}, "unknown key; known are %s", list(known))
}

func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	words = slices.Compact(slices.Sorted(slices.Values(words)))
	return strings.Join(words, ", ")
}

func (d *Decoder) mapping(p Place, v reflect.Value, r rules) {
	if !d.is(p, yaml.MappingNode, "a mapping of keys to values") {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, entry := range p.Entries() {
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(entry, value, rules{enum: r.enum, minimum: r.minimum, maximum: r.maximum})
		v.SetMapIndex(reflect.ValueOf(entry.Key.Value).Convert(v.Type().Key()), value)
	}
}

func (d *Decoder) list(p Place, v reflect.Value, r rules) {
	if !d.is(p, yaml.SequenceNode, "a list") {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(p.Node.Content), len(p.Node.Content)))
	if r.required && len(p.Node.Content) == 0 {
		d.Mistake(p, "must not be empty")
	}
	for i, item := range p.Items() {
		d.value(item, v.Index(i), rules{enum: r.enum, minimum: r.minimum, maximum: r.maximum})
	}
}

// any reads a value whose type is left open.
func (d *Decoder) any(p Place) any {
	if p.Node.Kind == yaml.MappingNode {
		found := map[string]any{}
		for _, entry := range p.Entries() {
			found[entry.Key.Value] = d.any(entry)
		}
		return found
	}
	if p.Node.Kind == yaml.SequenceNode {
		found := []any{}
		for _, item := range p.Items() {
			found = append(found, d.any(item))
		}
		return found
	}
	switch p.Node.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return p.Node.Value == "true"
	case "!!int":
		if n, err := strconv.ParseInt(p.Node.Value, 10, 64); err == nil {
			return n
		}
	case "!!float":
		if n, err := strconv.ParseFloat(p.Node.Value, 64); err == nil && finite(n) {
			return n
		}
	}
	return p.Node.Value
}
