package filestore

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

func TestSetEnv(t *testing.T) {
	const around = "# first comment\nexport A='1 # 2'\nB=\"multi\nTOKEN=not this\nline\" # kept\n\n%s\n#TOKEN=old\n; TOKEN=old\nC = 3\r\nnot an assignment\nD=it's"
	for _, test := range []struct{ before, value, after string }{
		{"TOKEN=old", "new", "TOKEN=new"},
		{"TOKEN=", "new", "TOKEN=new"},
		{"TOKEN=old", "", "TOKEN="},
		{"  export  TOKEN=old # why", "new", "  export  TOKEN=new # why"},
		{"TOKEN= # why", "new", "TOKEN= new # why"},
		{"TOKEN = old", "new", "TOKEN = new"},
		{"TOKEN='old' # why", "new", "TOKEN='new' # why"},
		{"TOKEN=\"old\"\r", "new", "TOKEN=\"new\"\r"},
		{"TOKEN=old\r", "new", "TOKEN=new\r"},
		{"TOKEN=old", "a b", "TOKEN='a b'"},
		{"TOKEN=old", "two\nlines", "TOKEN='two\nlines'"},
		{"TOKEN=\"old\"", "a b", "TOKEN=\"a b\""},
		{"TOKEN=\"old\"", "a$b", "TOKEN='a$b'"},
		{"TOKEN=old", "it's", "TOKEN=\"it's\""},
		{"TOKEN='old'", `it's a "\$` + "`", `TOKEN="it's a \"\\\$` + "\\`\""},
		{"TOKEN='two\nlines'", "new", "TOKEN='new'"},
	} {
		before := strings.Replace(around, "%s", test.before, 1)
		got, err := setEnv([]byte(before), "TOKEN", test.value)
		if err != nil {
			t.Errorf("set %q to %q = %v", test.before, test.value, err)
			continue
		}
		if diff := cmp.Diff(strings.Replace(around, "%s", test.after, 1), string(got)); diff != "" {
			t.Errorf("set %q to %q (-want +got):\n%s", test.before, test.value, diff)
		}
		if value, ok, err := getEnv(got, "TOKEN"); value != test.value || !ok || err != nil {
			t.Errorf("get from %q = %q, %v, %v; want %q", test.after, value, ok, err, test.value)
		}
	}
}

func TestAppendEnv(t *testing.T) {
	for before, after := range map[string]string{
		"":            "TOKEN=v\n",
		"A=1\n":       "A=1\nTOKEN=v\n",
		"A=1":         "A=1\nTOKEN=v\n",
		"A=1\r\n":     "A=1\r\nTOKEN=v\r\n",
		"\ufeffA=1\n": "\ufeffA=1\nTOKEN=v\n",
		"#TOKEN=old":  "#TOKEN=old\nTOKEN=v\n",
	} {
		if got, err := setEnv([]byte(before), "TOKEN", "v"); string(got) != after || err != nil {
			t.Errorf("append to %q = %q, %v; want %q", before, got, err, after)
		}
	}
	if value, _, err := getEnv([]byte("\ufeffTOKEN=v\n"), "TOKEN"); value != "v" || err != nil {
		t.Errorf("get after a byte order mark = %q, %v; want v", value, err)
	}
}

// What readers understand differently is refused, and not shown.
func TestEnvRefusals(t *testing.T) {
	for _, content := range []string{
		`TOKEN=s3cr3t\x`, "TOKEN=s3cr3t$x", "TOKEN=s3cr3t#x", "TOKEN=s3cr3t's", "TOKEN='s3cr3t", `TOKEN="s3cr3t\n"`, `TOKEN="s3cr3t$X"`,
		"TOKEN=\"s3cr3t`x`\"", "TOKEN='s3cr3t'x", "TOKEN='s3cr3t'#x", "TOKEN=s3cr3t\nTOKEN=s3cr3t",
	} {
		value, _, err := getEnv([]byte(content), "TOKEN")
		if !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("get from %q = %q, %v; want a permanent error without the value", content, value, err)
		}
	}
	for _, value := range []string{"s3cr3t\x00", "s3cr3t\r\n", "s3cr3t\xff", "s3cr3t\x1b"} {
		if got, err := setEnv(nil, "TOKEN", value); !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("set %q = %q, %v; want a permanent error without the value", value, got, err)
		}
	}
}

func TestSetJSON(t *testing.T) {
	for _, test := range []struct{ before, field, after string }{
		{"", "a", "{\n  \"a\": \"v<\"\n}\n"},
		{" \n", "a.b", "{\n  \"a\": {\n    \"b\": \"v<\"\n  }\n}\n"},
		{`{"z":1,"a":"old","b":{"a":"x"}}`, "a", `{"z":1,"a":"v<","b":{"a":"x"}}`},
		{"{\n\t\"z\" : 1.50,\n\t\"a\" : { \"b\" :\"old\" }\n}", "a.b", "{\n\t\"z\" : 1.50,\n\t\"a\" : { \"b\" :\"v<\" }\n}"},
		{`{"z":1}`, "a", `{"z":1,"a":"v<"}`},
		{`{"z": 1, "y": [1, {"a": 2}]}`, "a", `{"z": 1, "y": [1, {"a": 2}], "a": "v<"}`},
		{"{\n  \"z\": 1\n}\n", "a", "{\n  \"z\": 1,\n  \"a\": \"v<\"\n}\n"},
		{"{\n  \"z\": 1 ,\n  \"y\": 2\n}\n", "a", "{\n  \"z\": 1 ,\n  \"y\": 2,\n  \"a\": \"v<\"\n}\n"},
		{`{}`, "a.b.c", `{"a": {"b": {"c": "v<"}}}`},
		{`{"a": {}}`, "a.b", `{"a": {"b": "v<"}}`},
		{`{"a":{"z":1},"b":2}`, "a.b", `{"a":{"z":1,"b":"v<"},"b":2}`},
		{`{"a.b": "old", "c\\d": "x"}`, `a\.b`, `{"a.b": "v<", "c\\d": "x"}`},
		{`{"a.b": "x", "c\\d": "old"}`, `c\\d`, `{"a.b": "x", "c\\d": "v<"}`},
		{`{"\u0061": "old"}`, "a", `{"\u0061": "v<"}`},
	} {
		got, err := setJSON([]byte(test.before), test.field, "v<")
		if err != nil {
			t.Errorf("set %s in %s = %v", test.field, test.before, err)
			continue
		}
		if diff := cmp.Diff(test.after, string(got)); diff != "" {
			t.Errorf("set %s in %s (-want +got):\n%s", test.field, test.before, diff)
		}
		if value, ok, err := getJSON(got, test.field); value != "v<" || !ok || err != nil {
			t.Errorf("get %s from %s = %q, %v, %v", test.field, got, value, ok, err)
		}
	}
}

func TestJSONRefusals(t *testing.T) {
	for content, want := range map[string]string{
		`{"a": s3cr3t}`:                     "line 1",
		"{\"a\": \"s3cr3t\",\n}":            "line 2",
		`{"a": "s3cr3t"} x`:                 "line 1",
		`["s3cr3t"]`:                        "not an object",
		`"s3cr3t"`:                          "not an object",
		`{"a": 53}`:                         "no string",
		`{"a": null}`:                       "no string",
		`{"a": "x", "b": 1, "a": "s3cr3t"}`: "more than once",
	} {
		value, _, err := getJSON([]byte(content), "a")
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("get a from %s = %q, %v; want a permanent error with %q", content, value, err, want)
		}
	}
	if _, err := setJSON([]byte(`{"a": "text"}`), "a.b", "v"); !rotator.IsPermanent(err) {
		t.Errorf("set below a string = %v; want a permanent error", err)
	}
	if _, err := setJSON(nil, "a", "\xff"); !rotator.IsPermanent(err) {
		t.Errorf("set what is not UTF-8 = %v; want a permanent error", err)
	}
}

// FuzzCodecs: a value that was set is read back, and other values stay.
func FuzzCodecs(f *testing.F) {
	f.Add("A=1\nTOKEN='x'\n", "v")
	f.Add(`{"A": "1", "TOKEN": "x"}`, "it's")
	f.Fuzz(func(t *testing.T, content, value string) {
		for name, c := range map[string]codec{"env": {getEnv, setEnv}, "json": {getJSON, setJSON}} {
			other, had, otherErr := c.get([]byte(content), "A")
			if _, _, err := c.get([]byte(content), "TOKEN"); err != nil {
				continue
			}
			changed, err := c.set([]byte(content), "TOKEN", value)
			if err != nil {
				continue
			}
			if got, ok, err := c.get(changed, "TOKEN"); got != value || !ok || err != nil {
				t.Errorf("%s: %q set in %q reads %q, %v, %v", name, value, content, got, ok, err)
			}
			if got, has, err := c.get(changed, "A"); got != other || has != had || (err == nil) != (otherErr == nil) {
				t.Errorf("%s: A was %q, %v, %v in %q and is %q, %v, %v", name, other, had, otherErr, content, got, has, err)
			}
		}
	})
}
