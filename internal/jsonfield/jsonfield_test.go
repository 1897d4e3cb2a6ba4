package jsonfield

import (
	"strings"
	"testing"

	"github.com/rotatord/rotatord/rotator"
)

// Everything in the object but the field keeps its bytes.
func TestFields(t *testing.T) {
	for before, want := range map[string]string{
		`{}`:                                 `{"a.b": "v\n<&"}`,
		`{ }`:                                `{"a.b": "v\n<&" }`,
		`{"n": 12345678901234567890}`:        `{"n": 12345678901234567890, "a.b": "v\n<&"}`,
		"{\n \"a.b\" : \"\\u00e9\",\"z\":1}": "{\n \"a.b\" : \"v\\n<&\",\"z\":1}",
		`{"a":{"b":"x"},"a.b":"old"}`:        `{"a":{"b":"x"},"a.b":"v\n<&"}`,
	} {
		got, err := Set([]byte(before), "a.b", "v\n<&")
		if err != nil || string(got) != want {
			t.Errorf("Set(%s) = %s, %v; want %s", before, got, err, want)
		}
		if value, found, err := Get(got, "a.b"); value != "v\n<&" || !found || err != nil {
			t.Errorf("Get(%s) = %q, %t, %v", got, value, found, err)
		}
	}
	for _, bad := range []string{"", "s3cr3t", `"s3cr3t"`, `["s3cr3t"]`, `{"f": 1}`, `{"f": null}`, `{"f": "s3cr3t", "f": "x"}`, `{"f": "s3cr3t"`, `{"f": "x"} s3cr3t`} {
		_, _, err := Get([]byte(bad), "f")
		if !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("Get(%s) = %v; want a permanent error without the text", bad, err)
		}
	}
	if _, err := Set([]byte("{}"), "f", "\xff"); !rotator.IsPermanent(err) {
		t.Errorf("Set of a value that is not UTF-8 = %v; want a permanent error", err)
	}
}
