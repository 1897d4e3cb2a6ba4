package strictyaml

import (
	"reflect"
	"strconv"
	"strings"
)

// rules are what the jsonschema tag of a field asks of its value. The JSON
// Schema is made from the same tag.
type rules struct {
	required bool
	enum     []string
	minimum  *int64
	maximum  *int64
}

type field struct {
	name  string
	index []int
	group []int // index of the inlined pointer that holds it; nil: none
	rules
}

// fieldsOf lists the keys of a struct, those of inlined structs included.
func fieldsOf(t reflect.Type) []field {
	var found []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		inline := options == "inline" || f.Anonymous && name == ""
		if inline && inner.Kind() == reflect.Struct {
			for _, nested := range fieldsOf(inner) {
				nested.index = append([]int{i}, nested.index...)
				switch {
				case nested.group != nil:
					nested.group = append([]int{i}, nested.group...)
				case f.Type.Kind() == reflect.Pointer:
					nested.group = []int{i}
				}
				found = append(found, nested)
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		found = append(found, field{name: name, index: []int{i}, rules: rulesOf(f.Tag.Get("jsonschema"))})
	}
	return found
}

func rulesOf(tag string) rules {
	var r rules
	for _, part := range splitTag(tag) {
		key, value, _ := strings.Cut(part, "=")
		number, err := strconv.ParseInt(value, 10, 64)
		switch {
		case part == "required":
			r.required = true
		case key == "enum":
			r.enum = append(r.enum, value)
		case key == "minimum" && err == nil:
			r.minimum = &number
		case key == "maximum" && err == nil:
			r.maximum = &number
		}
	}
	return r
}

// splitTag splits at the commas that no backslash stands before.
func splitTag(tag string) []string {
	var parts []string
	for part := range strings.SplitSeq(tag, ",") {
		if last := len(parts) - 1; last >= 0 && strings.HasSuffix(parts[last], `\`) {
			parts[last] = strings.TrimSuffix(parts[last], `\`) + "," + part
			continue
		}
		parts = append(parts, part)
	}
	return parts
}

// reach returns the field's value and makes the inlined pointers on the way.
func reach(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v
}
