package strictyaml

import (
	"encoding"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

// what may stand where a secret is asked.
const sourceForms = "{env: NAME}, {file: PATH} or {store: NAME, key: KEY}"

// envName is what shells accept.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

func (d *Decoder) secret(p Place, out *rotator.SecretSource) {
	if p.Node.Kind != yaml.MappingNode {
		d.Mistake(p, "a secret is never written here; say where it is: %s", sourceForms)
		return
	}
	before := len(d.Mistakes)
	d.structure(p, reflect.ValueOf(out).Elem(), nil)
	if len(d.Mistakes) > before {
		d.mark(p.Path)
		return
	}
	if err := out.Validate(); err != nil {
		d.Mistake(p, "%s", err) // it names keys only
		return
	}
	switch {
	case out.Env != "" && (!envName.MatchString(out.Env) || secretLikeVariable(out.Env)):
		d.Mistake(p.At("env"), "not the name of an environment variable; a secret itself is never written here")
		d.mark(p.Path)
		return
	case out.File != "" && secretLikeFile(out.File):
		d.Mistake(p.At("file"), "does not look like a path; a secret itself is never written here. Write ./NAME if it is a file")
		d.mark(p.Path)
		return
	}
	d.Secrets = append(d.Secrets, SecretRef{Place: p, Source: *out})
}

func (d *Decoder) time(p Place, out *time.Time) {
	if !d.is(p, yaml.ScalarNode, "a time") {
		return
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if parsed, err := time.Parse(layout, p.Node.Value); err == nil {
			*out = parsed
			return
		}
	}
	d.Mistake(p, "not a time; write it like 2026-01-31T10:00:00Z or 2026-01-31")
}

func (d *Decoder) text(p Place, out encoding.TextUnmarshaler) {
	if !d.is(p, yaml.ScalarNode, "a single value") {
		return
	}
	if err := out.UnmarshalText([]byte(p.Node.Value)); err != nil {
		d.Mistake(p, "%s", Scrub(err.Error(), p.Node))
	}
}

func (d *Decoder) scalar(p Place, v reflect.Value, r rules) {
	switch v.Kind() {
	case reflect.String:
		d.string(p, v, r)
	case reflect.Bool:
		d.bool(p, v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(p, v, r)
	case reflect.Float32, reflect.Float64:
		d.float(p, v, r)
	default:
		d.Mistake(p, "can't be configured")
	}
}

// string takes numbers and booleans too, letter by letter as they are written:
// 007 stays 007.
func (d *Decoder) string(p Place, v reflect.Value, r rules) {
	if !d.is(p, yaml.ScalarNode, "a text") {
		return
	}
	text := p.Node.Value
	switch {
	case r.required && text == "":
		d.Mistake(p, "must not be empty")
	case len(r.enum) > 0 && !slices.Contains(r.enum, text):
		d.Mistake(p, "must be %s%s", orList(r.enum), DidYouMean(text, r.enum))
	}
	v.SetString(text)
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func (d *Decoder) bool(p Place, v reflect.Value) {
	if !d.is(p, yaml.ScalarNode, "true or false") {
		return
	}
	plain := p.Node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0
	switch {
	case plain && p.Node.Value == "true":
		v.SetBool(true)
	case plain && p.Node.Value == "false":
	default:
		d.Mistake(p, "must be true or false, without quotes")
	}
}

// integer takes plain decimal numbers only: 0600 is one number to some readers
// of YAML and another to others.
func (d *Decoder) integer(p Place, v reflect.Value, r rules) {
	if !d.is(p, yaml.ScalarNode, "a whole number") {
		return
	}
	text := p.Node.Value
	number, err := strconv.ParseInt(text, 10, 64)
	switch {
	case p.Node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && err == nil:
		d.Mistake(p, "must be a whole number, without quotes")
	case err != nil || strconv.FormatInt(number, 10) != text:
		d.Mistake(p, "must be a whole number in plain digits")
	case v.CanInt() && v.OverflowInt(number), v.CanUint() && (number < 0 || v.OverflowUint(uint64(number))):
		d.Mistake(p, "is out of range")
	case len(r.enum) > 0 && !slices.Contains(r.enum, text):
		d.Mistake(p, "must be %s", orList(r.enum))
	case r.minimum != nil && number < *r.minimum:
		d.Mistake(p, "must be at least %d", *r.minimum)
	case r.maximum != nil && number > *r.maximum:
		d.Mistake(p, "must be at most %d", *r.maximum)
	case v.CanInt():
		v.SetInt(number)
	default:
		v.SetUint(uint64(number)) //nolint:gosec // not negative: checked above
	}
}

func (d *Decoder) float(p Place, v reflect.Value, r rules) {
	if !d.is(p, yaml.ScalarNode, "a number") {
		return
	}
	number, err := strconv.ParseFloat(p.Node.Value, 64)
	switch {
	case p.Node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0, err != nil, !finite(number), v.OverflowFloat(number):
		d.Mistake(p, "must be a number, without quotes")
	case r.minimum != nil && number < float64(*r.minimum):
		d.Mistake(p, "must be at least %d", *r.minimum)
	case r.maximum != nil && number > float64(*r.maximum):
		d.Mistake(p, "must be at most %d", *r.maximum)
	default:
		v.SetFloat(number)
	}
}

func finite(number float64) bool { return !math.IsInf(number, 0) && !math.IsNaN(number) }
