package registry_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

type login struct {
	Method string               `yaml:"method" jsonschema:"enum=token,enum=none,description=how"`
	Token  rotator.SecretSource `yaml:"token,omitempty"`
}

type boxConfig struct {
	Dir   string                          `yaml:"dir" jsonschema:"required,description=folder"`
	Auth  *login                          `yaml:"auth,omitempty"`
	More  []login                         `yaml:"more,omitempty"`
	Named map[string]rotator.SecretSource `yaml:"named,omitempty"`
}

func (c boxConfig) Validate() error {
	var errs []error
	if c.Auth != nil && c.Auth.Method == "token" && c.Auth.Token.IsZero() {
		errs = append(errs, rotator.Field("auth.token", errors.New("is missing")))
	}
	if strings.HasSuffix(c.Dir, "/") {
		errs = append(errs, rotator.Field("dir", errors.New("must not end in a slash")))
	}
	return errors.Join(errs...)
}

// A box is a store that shows what it was made from.
type box struct{ config boxConfig }

func (box) Get(context.Context, string) (rotator.Version, error) {
	return rotator.Version{}, rotator.ErrNotFound
}

func (box) Put(context.Context, string, rotator.Write) (rotator.Version, error) {
	return rotator.Version{}, rotator.ErrConflict
}

func newBox(_ context.Context, c boxConfig) (rotator.Store, error) { return box{c}, nil }

func kind() registry.Kind[rotator.Store] {
	return registry.Kind[rotator.Store]{"box": registry.Of(newBox, "type: box\ndir: x\n")}
}

func decode(t *testing.T, text string) (registry.Settings[rotator.Store], []strictyaml.Mistake) {
	t.Helper()
	root, mistakes := strictyaml.Parse([]byte(text))
	if mistakes != nil {
		t.Fatalf("Parse(%q) = %v", text, mistakes)
	}
	var d strictyaml.Decoder
	settings := kind().Decode(&d, strictyaml.Place{Path: "stores.a", Node: root}, "name")
	d.Sort()
	return settings, d.Mistakes
}

func TestDecodeReportsMistakes(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"dir: x", `1:1: stores.a: missing key "type": one of box`},
		{"{type: bxo, dir: x}", `1:8: stores.a.type: unknown type "bxo"; did you mean "box"?`},
		{"{type: nothing-like-it, dir: x}", `1:8: stores.a.type: unknown type "nothing-like-it"; known are box`},
		{"{type: hvs.CAESIJ1x8Qw3Zt9, dir: x}", `1:8: stores.a.type: unknown type; known are box`},
		{"type: box", `1:1: stores.a: missing key "dir"`},
		{"{type: box, dri: x}", `1:13: stores.a.dri: unknown key; did you mean "dir"?`},
		{"{type: box, dir: x/, name: n}", `1:18: stores.a.dir: must not end in a slash`},
		{"{type: box, dir: x, auth: {method: token}}", `1:21: stores.a.auth.token: is missing`},
		{"{type: box, dir: x, auth: {method: tokn}}", `1:36: stores.a.auth.method: must be token or none; did you mean "token"?`},
		{"[a]", `1:1: stores.a: must be a mapping of keys to values, not a list`},
	} {
		settings, mistakes := decode(t, tc.text)
		if len(mistakes) != 1 || mistakes[0].String() != tc.want {
			t.Errorf("Decode(%q) =\n%v; want\n[%s]", tc.text, mistakes, tc.want)
		}
		if settings.OK {
			t.Errorf("Decode(%q).OK = true; want false", tc.text)
		}
	}
}

func TestBuildBindsEverySecret(t *testing.T) {
	settings, mistakes := decode(t, `
type: box
dir: x
auth: {method: token, token: {store: s, key: in-pointer}}
more: [{method: token, token: {store: s, key: in-list}}]
named: {one: {store: s, key: in-map}, two: {env: X}}
`)
	if len(mistakes) > 0 || !settings.OK || settings.Type != "box" {
		t.Fatalf("Decode: mistakes %v, OK %v, type %q; want none, true, box", mistakes, settings.OK, settings.Type)
	}
	if got := len(settings.Secrets); got != 4 {
		t.Errorf("len(Secrets) = %d; want 4", got)
	}
	lookup := func(_ context.Context, store, key string) (rotator.Secret, error) {
		return rotator.NewSecret(store + "/" + key), nil
	}
	store, err := settings.Build(t.Context(), lookup)
	if err != nil {
		t.Fatal(err)
	}
	made, ok := store.(box)
	if !ok {
		t.Fatalf("store is a %T", store)
	}
	config := made.config
	var got []string
	for _, source := range []rotator.SecretSource{config.Auth.Token, config.More[0].Token, config.Named["one"]} {
		secret, err := source.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, secret.Reveal())
	}
	if diff := cmp.Diff([]string{"s/in-pointer", "s/in-list", "s/in-map"}, got); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
}

func TestEveryExampleLoads(t *testing.T) {
	for name, entry := range kind() {
		if _, mistakes := decode(t, entry.Example); len(mistakes) > 0 {
			t.Errorf("example of %s: %v", name, mistakes)
		}
	}
}
