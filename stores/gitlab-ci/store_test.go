package gitlabcistore

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

const (
	key      = "team/crm.api#INSTASENT_TOKEN"
	groupKey = "group:team/sub#INSTASENT_TOKEN"
)

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "gitlab-ci" {
		t.Errorf("the example is of type %q, %v; want gitlab-ci", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	env := rotator.SecretSource{Env: "X"}
	fine := Config{BaseURL: "http://lab:8080/gitlab", AllowHTTP: true, Token: env, Create: true, Hidden: true}
	if err := fine.Validate(); err != nil {
		t.Errorf("Validate() = %v; want nil", err)
	}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing":        {Config{}, []string{"token: a secret names exactly one"}},
		"without create": {Config{BaseURL: "lab", Token: env, Protected: true, Masked: true, Hidden: true}, []string{"base_url: must be a URL", "protected: goes with", "masked: goes with", "hidden: goes with"}},
		"secrets":        {Config{BaseURL: "https://u:s3cr3t@lab?q", Token: env}, []string{"base_url: must not have a user"}},
		"no TLS":         {Config{BaseURL: "http://lab", Token: env}, []string{"base_url: must be https"}},
	} {
		err := test.config.Validate()
		if err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Count(err.Error(), "\n") != len(test.want)-1 {
			t.Errorf("%s: Validate() = %v; want %d mistakes", name, err, len(test.want))
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Validate() = %v; want %q in it", name, err, want)
			}
		}
	}
}

// put puts a value over whatever is there.
func put(t *testing.T, store *Store, key, value string) (rotator.Version, error) {
	t.Helper()
	now, err := store.Get(t.Context(), key)
	if err != nil && !errors.Is(err, rotator.ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) {
		return rotator.Version{}, err
	}
	return store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret(value), Prev: now.ID, Attempt: "a"})
}

func wantPermanent(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	if !rotator.IsPermanent(err) || errors.Is(err, rotator.ErrConflict) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%s = %v; want a permanent error without a secret", what, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s = %v; want %q in it", what, err, text)
		}
	}
}

// All of a variable but its value is kept, and variables beside it are not touched.
func TestAllElseIsKept(t *testing.T) {
	l := newLab(t)
	description := "of the CRM"
	for _, place := range []string{"team/crm.api", "group:team/sub"} {
		scoped := place + "#TOKEN@production"
		here := l.set(t, scoped, "old-value", func(v *held) {
			v.Type, v.Protected, v.Masked, v.Raw, v.Description = "file", true, true, false, &description
		})
		l.set(t, place+"#TOKEN", "everywhere")
		before := *here
		store := opened(t, l.server.URL, goodToken)
		if _, err := put(t, store, scoped, "new-value"); err != nil {
			t.Fatal(err)
		}
		want := "new-value"
		before.Value = &want
		if diff := cmp.Diff(before, *here); diff != "" {
			t.Errorf("more than the value of %s changed (-want +got):\n%s", scoped, diff)
		}
		if other, _ := l.read(t, place+"#TOKEN"); other != "everywhere" {
			t.Errorf("the variable for all environments is %q", other)
		}

		seen, err := store.Get(t.Context(), scoped)
		if err != nil {
			t.Fatal(err)
		}
		l.set(t, scoped, "new-value", func(v *held) { v.Protected = false })
		w := rotator.Write{Value: rotator.NewSecret("newer-value"), Prev: seen.ID}
		if _, err := store.Put(t.Context(), scoped, w); !errors.Is(err, rotator.ErrConflict) {
			t.Errorf("Put after another attribute changed = %v; want ErrConflict", err)
		}
	}
}

func TestCreate(t *testing.T) {
	l := newLab(t)
	for name, test := range map[string]struct {
		change func(*Config)
		want   held
	}{
		"plain":     {func(*Config) {}, held{Raw: true}},
		"protected": {func(c *Config) { c.Protected, c.Masked = true, true }, held{Raw: true, Protected: true, Masked: true}},
		"hidden":    {func(c *Config) { c.Hidden = true }, held{Raw: true, Masked: true, Hidden: true}},
	} {
		for _, key := range []string{"team/crm.api#" + name + "@review/*", "group:team/sub#" + name} {
			if _, err := put(t, opened(t, l.server.URL, goodToken, test.change), key, "$value-of-8"); err != nil {
				t.Errorf("%s: Put(%q) = %v", name, key, err)
				continue
			}
			p, _ := parseKey(key)
			test.want.Key, test.want.Scope, test.want.Type, test.want.Value = name, p.scope, "env_var", l.at(t, key).Value
			if diff := cmp.Diff(test.want, *l.at(t, key)); diff != "" || *l.at(t, key).Value != "$value-of-8" {
				t.Errorf("%s: made with another attribute or value (-want +got):\n%s", name, diff)
			}
		}
	}
	careful := opened(t, l.server.URL, goodToken, func(c *Config) { c.Create = false })
	_, err := put(t, careful, key, "s3cr3t")
	wantPermanent(t, "Put without create", err, "create: true")
	wantPermanent(t, "CheckWrite without create", careful.CheckWrite(t.Context(), key), "create: true")

	// A GitLab that does not know of hidden variables makes one that everybody can read: it is told.
	l.hooks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			l.answer(w, http.StatusCreated, held{Key: "OLD", Value: new("$value-of-8"), Scope: "*", Type: "env_var", Raw: true})
		}
		return r.Method == http.MethodPost
	})
	_, err = put(t, opened(t, l.server.URL, goodToken, func(c *Config) { c.Hidden = true }), "team/crm.api#OLD", "$value-of-8")
	if err == nil || rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "other attributes") {
		t.Errorf("Put by a GitLab that does not hide = %v; want an error", err)
	}

	// Somebody else makes it between our look and our write.
	l.hooks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			foreign := "foreign"
			l.variables[crm] = append(l.variables[crm], &held{Key: "INSTASENT_TOKEN", Scope: "*", Value: &foreign})
		}
		return false
	})
	if _, err := put(t, opened(t, l.server.URL, goodToken), key, "ours"); !errors.Is(err, rotator.ErrConflict) || !rotator.HadNoEffect(err) {
		t.Errorf("Put of what somebody else has just made = %v; want ErrConflict", err)
	}
}

// A hidden variable can be written, and nobody can tell what is in it.
func TestHidden(t *testing.T) {
	l := newLab(t)
	v := l.set(t, key, "old-value", func(v *held) { v.Masked, v.Hidden = true, true })
	store := opened(t, l.server.URL, goodToken)
	seen, err := store.Get(t.Context(), key)
	if !errors.Is(err, errors.ErrUnsupported) || seen.ID == "" || !seen.Value.IsZero() {
		t.Errorf("Get of a hidden variable = %v, %v; want ErrUnsupported with an ID", seen, err)
	}
	w := rotator.Write{Value: rotator.NewSecret("new-value"), Prev: seen.ID, Attempt: "a"}
	for range 2 {
		made, err := store.Put(t.Context(), key, w)
		if err != nil || made.ID != seen.ID || *v.Value != "new-value" || !v.Hidden || !v.Masked {
			t.Errorf("Put = %q, %v, and the variable is %+v; want the value written", made.ID, err, v)
		}
	}
	if err := store.CheckWrite(t.Context(), key); err != nil {
		t.Errorf("CheckWrite = %v; want nil", err)
	}
	if _, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("other-value")}); !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("Put without the version = %v; want ErrConflict", err)
	}
}

func TestRefusedValues(t *testing.T) {
	l := newLab(t)
	store := opened(t, l.server.URL, goodToken)
	masked := func(raw bool) func(*held) { return func(v *held) { v.Masked, v.Raw = true, raw } }
	for name, test := range map[string]struct {
		before func(*held)
		value  string
		want   string
	}{
		"masked, short":       {masked(true), "s3cr3t", "at least 8 characters without blanks"},
		"masked, blank":       {masked(true), "s3cr3t with blanks", "at least 8 characters without blanks"},
		"masked, odd":         {masked(false), "s3cr3t-with-%", "or the variable raw"},
		"too long":            {func(*held) {}, strings.Repeat("s3cr3t", 2000), "10,000"},
		"expanded":            {func(v *held) { v.Raw = false }, "s3cr3t$HOME", "Expand variable reference"},
		"masked and expanded": {masked(false), "s3cr3t$HOME", "Expand variable reference"},
	} {
		l.set(t, key, "old-value", func(v *held) { v.Masked, v.Raw = false, true }, test.before)
		_, err := put(t, store, key, test.value)
		wantPermanent(t, name, err, test.want)
		if value, _ := l.read(t, key); value != "old-value" {
			t.Errorf("%s: the value is %q; want the old one", name, value)
		}
	}
}

// A GitLab without scopes of groups: its one variable is for all environments.
func TestGroupWithoutScopes(t *testing.T) {
	l := newLab(t)
	l.free = true
	l.set(t, groupKey, "old")
	store := opened(t, l.server.URL, goodToken)
	if _, err := put(t, store, groupKey, "new"); err != nil {
		t.Errorf("Put = %v; want nil", err)
	}
	if _, err := put(t, store, groupKey+"@production", "new"); err == nil || !strings.Contains(err.Error(), "Premium") {
		t.Errorf("Put with a scope = %v; want an error that says what is missing", err)
	}
}

func TestMoved(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		l := newLab(t)
		store := opened(t, l.server.URL, goodToken)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			l.hooks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == method {
					http.Redirect(w, r, base+"/api/v4/projects/7/variables/INSTASENT_TOKEN", status)
				}
				return r.Method == method
			})
			_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("v")})
			wantPermanent(t, "Put of what has moved", err, "moved")
		}
	}
}

// The answer of a write is lost: it is in doubt, and the same attempt again writes nothing.
func TestLostAnswer(t *testing.T) {
	l := newLab(t)
	lossy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			l.server.Config.Handler.ServeHTTP(w, r)
			return
		}
		l.server.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(lossy.Close)
	w := rotator.Write{Value: rotator.NewSecret("s3cr3t-value"), Attempt: "a"}
	_, err := opened(t, lossy.URL, goodToken).Put(t.Context(), key, w)
	if err == nil || rotator.HadNoEffect(err) || strings.Contains(err.Error(), "http") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Put whose answer is lost = %v, no effect %v; want one in doubt, without URL", err, rotator.HadNoEffect(err))
	}
	if _, err := opened(t, l.server.URL, goodToken).Put(t.Context(), key, w); err != nil || l.written() != 1 {
		t.Errorf("Put again = %v after %d writes; want nil and 1", err, l.written())
	}
}

// What is not GitLab, or not what was asked for, is no success.
func TestStrangeAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"a page": "<html>s3cr3t</html>", "nothing": "", "null": "null", "another": `{"key":"OTHER","value":"s3cr3t","environment_scope":"*"}`,
		"another scope": `{"key":"INSTASENT_TOKEN","value":"s3cr3t","environment_scope":"production"}`,
		"another value": `{"key":"INSTASENT_TOKEN","value":"s3cr3t","environment_scope":"*","variable_type":"env_var","raw":true}`,
		"unprotected":   `{"key":"INSTASENT_TOKEN","value":"new","environment_scope":"*","variable_type":"env_var","raw":true,"protected":false}`,
		"too long":      `{"key":"` + strings.Repeat("s3cr3t", 1<<18) + `"}`,
	} {
		for _, status := range []int{http.StatusOK, http.StatusBadGateway} {
			for _, method := range []string{http.MethodGet, http.MethodPut} {
				if method == http.MethodGet && (name == "another value" || name == "unprotected") && status == http.StatusOK {
					continue // as good a variable as any
				}
				l := newLab(t)
				l.set(t, key, "old", func(v *held) { v.Protected = true })
				store := opened(t, l.server.URL, goodToken)
				now, err := store.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				l.hooks(func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method == method {
						w.WriteHeader(status)
						_, _ = w.Write([]byte(body))
					}
					return r.Method == method
				})
				_, err = store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("new"), Prev: now.ID})
				if err == nil || rotator.IsPermanent(err) || rotator.HadNoEffect(err) != (method == http.MethodGet) || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "127.0.0.1") {
					t.Errorf("%s, %s answers %d: Put = %v, no effect %v", name, method, status, err, rotator.HadNoEffect(err))
				}
			}
		}
	}
}

// A GitLab before 15.5 can't tell about tokens.
func TestOldGitLab(t *testing.T) {
	l := newLab(t)
	l.hooks(func(w http.ResponseWriter, r *http.Request) bool {
		old := strings.HasSuffix(r.URL.Path, "/self")
		if old {
			l.answer(w, http.StatusNotFound, map[string]any{"message": "404 Not Found"})
		}
		return old
	})
	if err := opened(t, l.server.URL, goodToken).CheckWrite(t.Context(), key); err != nil {
		t.Errorf("CheckWrite = %v; want nil", err)
	}
}
