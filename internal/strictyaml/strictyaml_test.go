package strictyaml_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// canary looks like what services generate.
const canary = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LWNhbmFyeQ"

type inner struct {
	A string `yaml:"a" jsonschema:"required"`
	B int    `yaml:"b,omitempty" jsonschema:"minimum=1,maximum=9"`
}

type optional struct {
	C string `yaml:"c" jsonschema:"required"`
	D string `yaml:"d,omitempty"`
}

type kept struct{ at strictyaml.Place }

func (k *kept) Hold(p strictyaml.Place) { k.at = p }

type sample struct {
	Text     string                          `yaml:"text,omitempty"`
	Word     string                          `yaml:"word,omitempty" jsonschema:"enum=one,enum=two"`
	Flag     bool                            `yaml:"flag,omitempty"`
	Number   int                             `yaml:"number,omitempty"`
	Small    uint8                           `yaml:"small,omitempty"`
	Ratio    float64                         `yaml:"ratio,omitempty"`
	Wait     rotator.Duration                `yaml:"wait,omitempty"`
	MaybeFor *rotator.Duration               `yaml:"maybe_for,omitempty"`
	At       time.Time                       `yaml:"at,omitempty"`
	Secret   rotator.SecretSource            `yaml:"secret,omitempty"`
	Secrets  map[string]rotator.SecretSource `yaml:"secrets,omitempty"`
	List     []inner                         `yaml:"list,omitempty"`
	Map      map[string]int                  `yaml:"map,omitempty"`
	Pointer  *inner                          `yaml:"pointer,omitempty"`
	Open     any                             `yaml:"open,omitempty"`
	Later    kept                            `yaml:"later,omitempty"`
	Inline   `yaml:",inline"`
	Maybe    *optional `yaml:",inline"`
	hidden   string    //nolint:unused // no key leads to it
}

// Inline is part of sample.
type Inline struct {
	Inlined string `yaml:"inlined,omitempty"`
}

func decode(t *testing.T, text string) (sample, []string) {
	t.Helper()
	var out sample
	root, mistakes := strictyaml.Parse([]byte(text))
	d := strictyaml.NewDecoder(mistakes)
	if root != nil {
		d.Decode(strictyaml.Place{Node: root}, &out)
	}
	d.Sort()
	var messages []string
	for _, mistake := range d.Mistakes {
		messages = append(messages, mistake.String())
	}
	return out, messages
}

func TestDecodeEveryKind(t *testing.T) {
	got, mistakes := decode(t, "\ufeff"+`
text: 0123
word: two
flag: true
number: -5
small: 255
ratio: 0.5
wait: 14d
maybe_for: 90s
at: 2026-01-31
secret: {env: NAME}
secrets: {x: {store: vault, key: a#b}}
list: [{a: x}, {a: y, b: 9}]
map: {one: 1}
pointer: {a: z}
open: {a: [1, yes, true, null, 1.5, x]}
inlined: i
`)
	if mistakes != nil {
		t.Fatalf("mistakes: %q", mistakes)
	}
	maybe := rotator.Duration(90 * time.Second)
	want := sample{
		Text: "0123", Word: "two", Flag: true, Number: -5, Small: 255, Ratio: 0.5, Wait: rotator.Duration(14 * 24 * time.Hour), MaybeFor: &maybe,
		At: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), Secret: rotator.SecretSource{Env: "NAME"},
		Secrets: map[string]rotator.SecretSource{"x": {Store: "vault", Key: "a#b"}},
		List:    []inner{{A: "x"}, {A: "y", B: 9}}, Map: map[string]int{"one": 1}, Pointer: &inner{A: "z"},
		Open: map[string]any{"a": []any{int64(1), "yes", true, nil, 1.5, "x"}}, Inline: Inline{Inlined: "i"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(sample{}, kept{}, rotator.SecretSource{})); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	got, mistakes := decode(t, `
pointer: &base {a: x, b: 2}
list:
  - *base
  - {<<: *base, b: 3}
  - {<<: [{a: first}, *base]}
`)
	want := []inner{{A: "x", B: 2}, {A: "x", B: 3}, {A: "first", B: 2}}
	if diff := cmp.Diff(want, got.List); diff != "" || mistakes != nil {
		t.Errorf("mistakes %q; list (-want +got):\n%s", mistakes, diff)
	}
}

func TestMistakes(t *testing.T) {
	const secretHint = "{env: NAME}, {file: PATH} or {store: NAME, key: KEY}"
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"1:1: the file is empty"}},
		{"only a comment", "# nothing\n", []string{"1:1: the file is empty"}},
		{"not a mapping", "[a, b]", []string{"1:1: must be a mapping of keys to values, not a list"}},
		{"not UTF-8", "text: a\nword: \xff\n", []string{"2:7: not UTF-8"}},
		{"two documents", "text: a\n---\ntext: b\n", []string{"2:1: a second document begins here; the configuration is one document"}},
		{"tab", "map:\n\tone: 1\n", []string{"2:1: a tab can't indent YAML; use spaces"}},
		{"null", "text:\nmap: ~\n", []string{"1:1: text: has no value; give it one, or remove the key", "2:1: map: has no value; give it one, or remove the key"}},
		{"duplicate", "text: a\nword: one\ntext: b\n", []string{"3:1: text: given twice; first at line 1"}},
		{"duplicate in unknown", "zzz: {a: 1, a: 2}\ntext: a", []string{
			"1:1: zzz: unknown key; known are at, c, d, flag, inlined, later, list, map, maybe_for, number, open, pointer, ratio, secret, secrets, small, text, wait, word",
			"1:13: zzz.a: given twice; first at line 1",
		}},
		{"near miss", "txet: a\nmaybe-for: 1s\n", []string{
			`1:1: txet: unknown key; did you mean "text"?`, `2:1: maybe-for: unknown key; did you mean "maybe_for"?`,
		}},
		{"yes is no boolean", "flag: yes", []string{"1:7: flag: must be true or false, without quotes"}},
		{"quoted boolean", "flag: 'true'", []string{"1:7: flag: must be true or false, without quotes"}},
		{"quoted number", "number: '5'", []string{"1:9: number: must be a whole number, without quotes"}},
		{"octal", "number: 0600", []string{"1:9: number: must be a whole number in plain digits"}},
		{"infinite", "number: .inf\nratio: .inf", []string{"1:9: number: must be a whole number in plain digits", "2:8: ratio: must be a number, without quotes"}},
		{"range", "small: 256\npointer: {a: x, b: 10}\nlist: [{a: x, b: 0}]", []string{
			"1:8: small: is out of range", "2:20: pointer.b: must be at most 9", "3:18: list[0].b: must be at least 1",
		}},
		{"not in the list of words", "word: tow", []string{`1:7: word: must be one or two; did you mean "two"?`}},
		{"duration", "wait: 5\nmaybe_for: -3s", []string{"1:7: wait: not a duration; use one like 90s, 30m, 12h, 14d or 2w", "2:12: maybe_for: a duration can't be negative"}},
		{"time", "at: tomorrow", []string{"1:5: at: not a time; write it like 2026-01-31T10:00:00Z or 2026-01-31"}},
		{"wrong kinds", "text: [a]\nmap: x\nlist: {a: x}\nwait: {}", []string{
			"1:1: text: must be a text, not a list", "2:6: map: must be a mapping of keys to values, not a single value",
			"3:1: list: must be a list, not a mapping", "4:1: wait: must be a single value, not a mapping",
		}},
		{"missing", "list: [{b: 1}]\npointer: {}", []string{`1:8: list[0]: missing key "a"`, `2:1: pointer: missing key "a"`}},
		{"required only with its group", "d: x", []string{`1:1: missing key "c"`}},
		{"literal secret", "secret: " + canary, []string{"1:9: secret: a secret is never written here; say where it is: " + secretHint}},
		{"empty secret", "secret: {}\nsecrets: {a: {env: X, file: y}}", []string{
			"1:1: secret: a secret names exactly one of env, file or store, for example {env: NAME}",
			"2:11: secrets.a: a secret names exactly one of env, file or store, for example {env: NAME}",
		}},
		{"secret as a variable or a file", "secret: {env: ghp_16C7e42F292c6912E7710c838347Ae178B4a}\nsecrets: {a: {file: " + canary + "}}", []string{
			"1:15: secret.env: not the name of an environment variable; a secret itself is never written here",
			"2:21: secrets.a.file: does not look like a path; a secret itself is never written here. Write ./NAME if it is a file",
		}},
		{"merge of a scalar", "pointer: {<<: a, a: x}", []string{"1:15: pointer.<<: a merge key (<<) takes an alias of a mapping, or a list of them"}},
		{"alias of itself", "open: &a [*a]", []string{"1:11: open[0]: the alias stands for something that holds the alias itself"}},
		{"key that is no text", "open: {[a]: 1}", []string{"1:8: open: a key must be a text"}},
		{"tag", "open: !!binary aGk=", []string{"1:7: open: this tag is not supported; remove it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, mistakes := decode(t, tc.text)
			if diff := cmp.Diff(tc.want, mistakes); diff != "" {
				t.Errorf("mistakes of %q (-want +got):\n%s", tc.text, diff)
			}
		})
	}
}

func TestBombsAreBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a: &a [x, x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c <= 'k'; c++ {
		fmt.Fprintf(&bomb, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	for name, text := range map[string]string{
		"aliases make the document too large":          "open:\n  " + strings.ReplaceAll(bomb.String(), "\n", "\n  "),
		"nested more than 64 levels deep":              "open: " + strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"the file is longer than 10 MiB":               "text: " + strings.Repeat("a", strictyaml.MaxBytes),
		"not YAML: while increasing flow level: excee": "open: " + strings.Repeat("[", 20_000),
	} {
		_, mistakes := decode(t, text)
		if !strings.Contains(strings.Join(mistakes, "\n"), name) {
			t.Errorf("mistakes = %.300q; want one with %q", mistakes, name)
		}
	}
}

func TestErrorsGoToTheirFields(t *testing.T) {
	text := "pointer:\n  a: " + canary + "\nlist:\n  - a: x\n  - a: \"two words " + canary + "\"\n"
	root, _ := strictyaml.Parse([]byte(text))
	var d strictyaml.Decoder
	d.Errors(strictyaml.Place{Path: "top", Node: root}, errors.Join(
		rotator.Field("pointer", errors.Join(rotator.Field("a", errors.New("bad value "+canary)), rotator.Field("missing.x", errors.New("is missing")))),
		rotator.Permanent(rotator.Field("list[1].a", fmt.Errorf("can't read %q", "two words "+canary))),
		rotator.Field("list.0.a", errors.New("part of it: "+canary[4:20])),
		errors.New("as a whole"),
	))
	d.Sort()
	var got []string
	for _, mistake := range d.Mistakes {
		got = append(got, mistake.String())
	}
	want := []string{
		"1:1: top: as a whole",
		"1:1: top.pointer.missing.x: is missing",
		"2:6: top.pointer.a: bad value [not shown]",
		"4:8: top.list[0].a: part of it: [not shown]",
		"5:8: top.list[1].a: can't read \"[not shown]\"",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func TestShowable(t *testing.T) {
	for text, want := range map[string]bool{
		"crm-sync": true, "vault2": true, "crm#INSTASENT_TOKEN": true, "/etc/ssl/ca.pem": true, "X-Token-Fingerprint": true, "baseUrl": true, "body.data.id": true,
		"": false, canary: false, "hvs.CAESIJ1x8Qw3Zt9": false, "ghp_16C7e42F292c6912E7710c838347Ae178B4a": false,
		"9f86d081884c7d659a2feaa0c55ad015": false, "hooks/T0001/B0001/xYz1AbC2dEf3": false, "correct horse battery staple": false,
	} {
		if got := strictyaml.Showable(text); got != want {
			t.Errorf("Showable(%q) = %v; want %v", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "a: &x [*x]", "<<: {a: 1}", "? [a]\n: b", "a: !!int x", "- - - -", "%YAML 1.1\n---\na", "a: |\n  b", "text: \"\\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		root, mistakes := strictyaml.Parse(raw)
		if root != nil {
			d := strictyaml.Decoder{Mistakes: mistakes}
			d.Decode(strictyaml.Place{Node: root}, &sample{})
		}
	})
}
