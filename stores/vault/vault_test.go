package vaultstore

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

const key = "crm#INSTASENT_TOKEN"

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "vault" {
		t.Errorf("the example is of type %q, %v; want vault", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	env := rotator.SecretSource{Env: "X"}
	allowed := Config{Address: "http://vault:8200", AllowHTTP: true, Auth: Auth{Method: "token", Token: env}}
	if err := allowed.Validate(); err != nil {
		t.Errorf("Validate() with allow_http = %v", err)
	}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing": {Config{}, []string{"address: is needed", `auth.method: "" is not one of approle, aws, cert, jwt, kubernetes, token, token_file`}},
		"all": {
			Config{Address: "vault:8200", Mount: "a/../b", KVVersion: 3, Auth: Auth{Method: "approle", Token: env, Mount: "//"}},
			[]string{"address: must be a URL", "mount: a path must not", "kv_version: 3", "auth.role_id: is needed", "auth.secret_id: is needed", "auth.token: does not go with", "auth.mount: names no path"},
		},
		"secrets": {
			Config{Address: "https://u:s3cr3t@v?q#f", Auth: Auth{Method: "token", Token: rotator.SecretSource{Env: "A", File: "b"}}},
			[]string{"address: must not have a user", "auth.token: a secret names exactly one"},
		},
		"jwt": {
			Config{Address: "https://vault", Auth: Auth{Method: "jwt", JWT: env, JWTFile: "f", Region: "eu-west-1"}},
			[]string{"auth.role: is needed", "auth.region: does not go with", "auth.jwt: method jwt needs one of jwt and jwt_file"},
		},
		"no jwt": {Config{Address: "https://vault", Auth: Auth{Method: "jwt", Role: "r"}}, []string{"auth.jwt: method jwt needs one of"}},
		"a bad source": {
			Config{Address: "https://vault", Auth: Auth{Method: "jwt", Role: "r", JWT: rotator.SecretSource{Env: "A", File: "b"}}},
			[]string{"auth.jwt: a secret names exactly one"},
		},
		"aws": {
			Config{Address: "https://vault", Auth: Auth{Method: "aws", Region: "evil.example.com/", JWTFile: "f"}},
			[]string{"auth.jwt_file: does not go with", "auth.role: is needed", "auth.region: is not the name of a region"},
		},
		"cert":   {Config{Address: "https://vault", Auth: Auth{Method: "cert", CertFile: "c"}}, []string{"auth.key_file: is needed"}},
		"no TLS": {Config{Address: "http://vault:8200", Auth: Auth{Method: "token", Token: env}}, []string{"address: must be https"}},
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

// What a person may put beside our field stays, numbers and nesting included.
func TestOtherFieldsStay(t *testing.T) {
	vault := server(t)
	for _, at := range []string{"secret", "kv"} {
		before := map[string]any{"n": 12345678901234567, "f": 1.50, "nested": map[string]any{"a": []any{"x", nil}}, "INSTASENT_TOKEN": "old"}
		vault.Must(t, http.MethodPost, pathOf(at, "crm"), bodyOf(at, before))
		want := fieldsOf(t, vault, at, "crm")
		want["INSTASENT_TOKEN"] = "new"
		if _, err := put(t, opened(t, vault.Addr, vault.RootToken, mount(at)), key, "new"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, fieldsOf(t, vault, at, "crm")); diff != "" {
			t.Errorf("the secret in %s (-want +got):\n%s", at, diff)
		}
		_, err := opened(t, vault.Addr, vault.RootToken, mount(at)).Get(t.Context(), "crm#n")
		if !rotator.IsPermanent(err) || strings.Contains(err.Error(), "123") {
			t.Errorf("Get of a number = %v; want a permanent error without it", err)
		}
	}
}

// A deleted or destroyed version is not there, and the next write has the right
// check-and-set. A person is told which it is, and how to bring it back.
func TestDeletedVersions(t *testing.T) {
	vault := server(t)
	store := opened(t, vault.Addr, vault.RootToken)
	for i, test := range []struct {
		remove func()
		says   string
	}{
		{
			func() { vault.Must(t, http.MethodDelete, "secret/data/crm", nil) },
			"version 1 of the secret was deleted; `vault kv undelete -mount=secret -versions=1 crm` brings it back, a write makes version 2",
		},
		{
			func() {
				vault.Must(t, http.MethodPut, "secret/destroy/crm", map[string]any{"versions": []int{2}})
			},
			"version 2 of the secret was destroyed and can't come back; a write makes version 3",
		},
		{func() { vault.Must(t, http.MethodDelete, "secret/metadata/crm", nil) }, `"crm#INSTASENT_TOKEN": `},
	} {
		made, err := put(t, store, key, "v")
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"1", "2", "3"}[i]; made.ID != want || made.At.IsZero() {
			t.Errorf("version = %q at %v; want %q", made.ID, made.At, want)
		}
		test.remove()
		if _, err := store.Get(t.Context(), key); !errors.Is(err, rotator.ErrNotFound) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Get after removal %d = %v; want ErrNotFound with %q", i, err, test.says)
		}
		w := rotator.Write{Value: rotator.NewSecret("w"), Prev: made.ID}
		if _, err := store.Put(t.Context(), key, w); !errors.Is(err, rotator.ErrConflict) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("Put over the removed version = %v; want ErrConflict with %q", err, test.says)
		}
		if err := store.CheckWrite(t.Context(), key); err != nil {
			t.Errorf("CheckWrite after removal %d = %v; want nil", i, err)
		}
	}
	if _, err := put(t, store, key, "v"); err != nil {
		t.Fatal(err)
	}
	vault.Must(t, http.MethodDelete, "secret/data/crm", nil)
	vault.Must(t, http.MethodPut, "secret/undelete/crm", map[string]any{"versions": []int{1}}) // as the message says
	if got, err := store.Get(t.Context(), key); err != nil || got.Value.Reveal() != "v" {
		t.Errorf("Get after the version was brought back = %v, %v; want it", got.ID, err)
	}
}

func TestCheckAndSetRequired(t *testing.T) {
	vault := server(t)
	vault.Must(t, http.MethodPost, "secret/config", map[string]any{"cas_required": true, "max_versions": 2})
	store := opened(t, vault.Addr, vault.RootToken, func(c *Config) { c.KVVersion = 2 })
	first, err := put(t, store, key, "v")
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"a", "b", "c"} { // version 1 is no longer kept after these
		if _, err := put(t, store, "crm#OTHER", other); err != nil {
			t.Fatal(err)
		}
	}
	w := rotator.Write{Value: rotator.NewSecret("w"), Prev: first.ID}
	if _, err := store.Put(t.Context(), key, w); !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("Put over a version that Vault has forgotten = %v; want ErrConflict", err)
	}
}

// Two processes with the same version in hand: one wins, and Vault decides which.
func TestTwoWriters(t *testing.T) {
	vault := server(t)
	first, err := put(t, opened(t, vault.Addr, vault.RootToken), key, "v")
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 8)
	var group sync.WaitGroup
	for i := range errs {
		store := opened(t, vault.Addr, vault.RootToken)
		group.Go(func() {
			w := rotator.Write{Value: rotator.NewSecret(strings.Repeat("w", i+1)), Prev: first.ID}
			_, errs[i] = store.Put(t.Context(), key, w)
		})
	}
	group.Wait()
	winners := 0
	for _, err := range errs {
		if err == nil {
			winners++
		} else if !errors.Is(err, rotator.ErrConflict) {
			t.Errorf("Put of a loser = %v; want ErrConflict", err)
		}
	}
	if metadata := vault.Must(t, http.MethodGet, "secret/metadata/crm", nil); winners != 1 || metadata["current_version"] != 2.0 {
		t.Errorf("%d winners, current version %v; want 1 and 2", winners, metadata["current_version"])
	}
}

// The answer of a write is lost: it is in doubt, and the same attempt again makes no second version.
func TestLostAnswer(t *testing.T) {
	vault := server(t)
	lossy := between(t, vault.Addr, func(_ http.ResponseWriter, r *http.Request, pass http.Handler) {
		pass.ServeHTTP(discard{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	})
	w := rotator.Write{Value: rotator.NewSecret("s3cr3t-value"), Attempt: "a"}
	_, err := opened(t, lossy, vault.RootToken).Put(t.Context(), key, w)
	if err == nil || rotator.HadNoEffect(err) || strings.Contains(err.Error(), "http") {
		t.Errorf("Put whose answer is lost = %v, no effect %v; want one in doubt, without URL", err, rotator.HadNoEffect(err))
	}
	version, err := opened(t, vault.Addr, vault.RootToken).Put(t.Context(), key, w)
	if err != nil || version.ID != "1" {
		t.Errorf("Put again = %q, %v; want version 1", version.ID, err)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func TestForbidden(t *testing.T) {
	vault := server(t)
	vault.Must(t, http.MethodPut, "sys/policy/reader", map[string]string{
		"policy": `path "secret/data/*" { capabilities = ["read"] } path "kv/crm" { capabilities = ["read", "create"] }`,
	})
	token, _ := vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"reader"}})["client_token"].(string)
	vault.Must(t, http.MethodPost, "secret/data/crm", map[string]any{"data": map[string]string{"INSTASENT_TOKEN": "old"}})
	store := opened(t, vault.Addr, token)
	now, err := store.Get(t.Context(), key)
	if err != nil || now.Value.Reveal() != "old" {
		t.Fatalf("Get = %v; want what the policy allows to read", err)
	}
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v; want nil", err)
	}
	wantRefusal := func(what string, err error, path, capability string) {
		t.Helper()
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), capability) {
			t.Errorf("%s = %v; want a permanent error with %s and %s", what, err, path, capability)
		}
	}
	_, err = store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("new"), Prev: now.ID})
	wantRefusal("Put", err, `"secret/data/crm"`, `"update"`)
	wantRefusal("CheckWrite", store.CheckWrite(t.Context(), key), `"secret/data/crm"`, `"update"`)
	wantRefusal("CheckWrite of a new secret", store.CheckWrite(t.Context(), "new#F"), `"secret/data/new"`, `"create"`)

	other := opened(t, vault.Addr, token, mount("kv"))
	if err := other.CheckWrite(t.Context(), key); err != nil {
		t.Errorf("CheckWrite of a secret that may be created = %v; want nil", err)
	}
	_, err = other.Get(t.Context(), "billing#F")
	wantRefusal("Get", err, `"kv/billing"`, `"read"`)
	_, err = opened(t, vault.Addr, token, mount("nope")).Get(t.Context(), key)
	wantRefusal("Get in a missing mount", err, `"nope"`, "no such mount")
	_, err = opened(t, vault.Addr, vault.RootToken, mount("nope"), func(c *Config) { c.KVVersion = 1 }).Get(t.Context(), key)
	wantRefusal("Get in a missing mount as root", err, `"nope`, "no such mount")
	_, err = opened(t, vault.Addr, token, mount("kv"), func(c *Config) { c.KVVersion = 2 }).Get(t.Context(), key)
	wantRefusal("Get with the wrong kv_version", err, `"kv"`, "kv_version")
	_, err = opened(t, vault.Addr, vault.RootToken, mount("cubbyhole")).Get(t.Context(), key)
	wantRefusal("Get in a mount of another kind", err, `"cubbyhole"`, "not kv")
}

func TestSealed(t *testing.T) {
	vault := server(t)
	only(t, vault, "nobody could unseal it")
	store := opened(t, vault.Addr, vault.RootToken)
	now, err := put(t, store, key, "v")
	if err != nil {
		t.Fatal(err)
	}
	vault.Must(t, http.MethodPut, "sys/seal", nil)
	_, getErr := store.Get(t.Context(), key)
	_, putErr := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("w"), Prev: now.ID})
	for call, err := range map[string]error{
		"Get": getErr, "Put": putErr, "Ping": store.Ping(t.Context()), "CheckWrite": store.CheckWrite(t.Context(), key),
		"Ping without a log-in": opened(t, vault.Addr, vault.RootToken).Ping(t.Context()),
	} {
		if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "sealed") {
			t.Errorf("%s of a sealed Vault = %v; want an error that says so and can be retried", call, err)
		}
	}
	vault.Must(t, http.MethodPut, "sys/unseal", map[string]string{"key": vault.UnsealKey})
	eventually(t, "Vault works after it was unsealed", func() bool {
		_, err := put(t, store, key, "w")
		return err == nil
	})
}

// eventually polls for what another process does in its own time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
