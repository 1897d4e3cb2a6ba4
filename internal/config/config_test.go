package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/rotator"
)

const least = `
issuers: {none: {type: nobody}}
stores: {mem: {type: memory}}
tokens:
  crm-sync: {issuer: none, stores: [{store: mem, key: a}]}
`

func build(t *testing.T, text string) *config.Built {
	t.Helper()
	file, err := testPlugins().Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	built, err := file.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func TestDefaults(t *testing.T) {
	built := build(t, least)
	type settings struct {
		State  config.State
		Server config.Server
		Log    config.Log
		Engine config.Engine
	}
	want := settings{
		State:  config.State{DSN: "sqlite:rotatord.db", SealKeyFile: "rotatord.key"},
		Server: config.Server{Listen: "127.0.0.1:8790"},
		Log:    config.Log{Level: slog.LevelInfo},
		Engine: config.Engine{MaxConcurrent: 8, ActTimeout: time.Minute},
	}
	if diff := cmp.Diff(want, settings{built.State, built.Server, built.Log, built.Engine}); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := built.State.SQLitePath(); got != "rotatord.db" {
		t.Errorf("SQLitePath() = %q; want rotatord.db", got)
	}
	token := built.Tokens[0]
	if diff := cmp.Diff(rotator.DefaultRollout(), token.Rollout); diff != "" {
		t.Errorf("rollout (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rotator.DefaultPolicies(), token.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rotator.Schedule{BeforeExpiry: 7 * 24 * time.Hour}, token.Schedule); diff != "" {
		t.Errorf("schedule (-want +got):\n%s", diff)
	}
}

func TestEverySettingArrives(t *testing.T) {
	built := build(t, `
state: {dsn: "sqlite:/var/lib/rotatord/r.db", seal_key: {file: /etc/rotatord.key}}
server: {listen: "[::1]:9000"}
log: {format: json, level: debug}
engine: {max_concurrent: 2, act_timeout: 90s}
issuers: {none: {type: nobody}}
stores: {mem: {type: memory}, more: {type: memory}}
notifiers: {ops: {type: nobody}}
tokens:
  zeta: {issuer: none, stores: [{store: mem, key: z}]}
  crm-sync:
    issuer: none
    params: {project: 0123}
    current: {id: "17", issued_at: 2026-01-31}
    stores: [{store: mem, key: a}, {store: more, key: b}]
    rollout:
      deploy: [{type: nobody}, {type: nobody, name: workers}]
      probe: [{type: nobody, name: first}, {type: nobody}]
      initial_delay: 0s
      interval: 1s
      timeout: 2s
      consecutive_success_limit: 1
      failure_limit: 5
      consecutive_error_limit: 6
      deadline: 7m
    schedule: {cron: "0 10 * * 2", time_zone: Europe/Madrid, max_age: 365d, before_expiry: 2w, splay: 14d}
    access: [ana@example.com, group:platform, luis@example.com]
    notify: [ops]
    policy:
      leak: {revoke: first, on_deadline: revoke, on_unhealthy: hold, deadline: 5m, reminder: 1m}
      manual: {start: window, revoke: last, on_unhealthy: continue}
groups: {platform: [luis@example.com, eva@example.com]}
`)
	if diff := cmp.Diff(config.State{DSN: "sqlite:/var/lib/rotatord/r.db", SealKeyFile: "/etc/rotatord.key"}, built.State); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if got, want := fmt.Sprint(built.Server, built.Log, built.Engine), "{[::1]:9000} {true DEBUG} {2 1m30s}"; got != want {
		t.Errorf("server, log, engine = %s; want %s", got, want)
	}
	if len(built.Tokens) != 2 || built.Tokens[0].Name != "crm-sync" || built.Tokens[1].Name != "zeta" {
		t.Fatalf("tokens are not two, sorted by name: %v", built.Tokens)
	}
	got := built.Tokens[0]
	when := got.Schedule.Cron.Next(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
	if want := time.Date(2026, 7, 7, 8, 0, 0, 0, time.UTC); !when.Equal(want) {
		t.Errorf("next cron time = %s; want %s", when, want)
	}
	got.Schedule.Cron = nil
	policies := rotator.DefaultPolicies()
	leak, manual := policies[rotator.Leak], policies[rotator.Manual]
	leak.Course, leak.OnDeadline, leak.OnUnhealthy = rotator.RevokeFirst, rotator.DeadlineRevoke, rotator.UnhealthyHold
	leak.Deadline, leak.Reminder = 5*time.Minute, time.Minute
	manual.Start, manual.OnUnhealthy = rotator.StartWindow, rotator.UnhealthyContinue
	policies[rotator.Leak], policies[rotator.Manual] = leak, manual
	day := 24 * time.Hour
	want := rotator.Token{
		Name: "crm-sync", IssuerName: "none", Issuer: nobody{}, Params: rotator.Params{"project": "0123"},
		Stores:    []rotator.StoreTarget{{Name: "mem", Key: "a", Store: memory{}}, {Name: "more", Key: "b", Store: memory{}}},
		Deployers: []rotator.DeployTarget{{Name: "nobody-1", Deployer: nobody{}}, {Name: "workers", Deployer: nobody{}}},
		Probes:    []rotator.ProbeTarget{{Name: "first", Probe: nobody{}}, {Name: "nobody-2", Probe: nobody{}}},
		Rollout: rotator.Rollout{
			Interval: time.Second, Timeout: 2 * time.Second, ConsecutiveSuccessLimit: 1, FailureLimit: 5, ConsecutiveErrorLimit: 6, Deadline: 7 * time.Minute,
		},
		Schedule:  rotator.Schedule{MaxAge: 365 * day, BeforeExpiry: 14 * day},
		Policies:  policies,
		Notifiers: []rotator.NotifyTarget{{Name: "ops", Notifier: nobody{}}},
		Current:   rotator.CurrentHint{ID: "17", IssuedAt: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
		Access:    []string{"ana@example.com", "luis@example.com", "eva@example.com"},
	}
	options := cmp.Options{cmp.AllowUnexported(nobody{}, memory{}), cmp.Comparer(func(a, b rotator.SecretSource) bool { return a.IsZero() == b.IsZero() })}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
}

func TestSecretsFromStoresAreReadLate(t *testing.T) {
	t.Setenv("ROOT_LOGIN", "root")
	built := build(t, `
issuers: {none: {type: nobody, secrets: {admin: {store: inner, key: x}}}}
stores:
  inner: {type: memory, login: {store: outer, key: y}}
  outer: {type: memory, login: {env: ROOT_LOGIN}}
tokens: {}
`)
	issuer, ok := built.Issuers["none"].(nobody)
	if !ok {
		t.Fatalf("issuer is a %T", built.Issuers["none"])
	}
	secret, err := issuer.config.Secrets["admin"].Get(t.Context())
	if want := "value of x by value of y by root"; err != nil || secret.Reveal() != want {
		t.Errorf("secret = %q, %v; want %q", secret.Reveal(), err, want)
	}
}

func mistakesOf(t *testing.T, text string) string {
	t.Helper()
	_, err := testPlugins().Parse("test.yaml", []byte(text))
	var mistakes *config.MistakesError
	if err != nil && !errors.As(err, &mistakes) {
		t.Fatalf("Parse = %v; want mistakes", err)
	}
	if mistakes == nil {
		return ""
	}
	return mistakes.Error()
}

func TestStoresInCircles(t *testing.T) {
	got := mistakesOf(t, `stores:
  self: {type: memory, login: {store: self, key: x}}
  one: {type: memory, login: {store: two, key: x}}
  two: {type: memory, login: {store: three, key: x}}
  three: {type: memory, login: {store: one, key: x}}
  fine: {type: memory, login: {store: one, key: x}}
tokens: {}
`)
	want := `test.yaml:2:24: stores.self.login: the store needs this secret from itself
test.yaml:3:23: stores.one.login: the store needs this secret from "two", which needs one from here in turn
test.yaml:4:23: stores.two.login: the store needs this secret from "three", which needs one from here in turn
test.yaml:5:25: stores.three.login: the store needs this secret from "one", which needs one from here in turn`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func TestNewThatFailsIsAMistake(t *testing.T) {
	got := mistakesOf(t, strings.Replace(least, "type: memory", "type: memory, fail: true", 1))
	if want := "test.yaml:3:10: stores.mem: read CA: no such file"; got != want {
		t.Errorf("mistakes = %q; want %q", got, want)
	}
}

func TestMistakesAreBounded(t *testing.T) {
	got := mistakesOf(t, "groups:\n  all: ["+strings.Repeat("'', ", 600)+"]\n"+least)
	if want := "\ntest.yaml: and 100 more mistakes"; !strings.HasSuffix(got, want) {
		t.Errorf("mistakes end in %q; want %q", got[len(got)-60:], want)
	}
}

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return path
	}
	secret, private := write("admin", "x", 0o644), write("private", "x", 0o640)
	key := write("rotatord.key", "x", 0o640)
	path := write("rotatord.yaml", fmt.Sprintf(`state: {seal_key: {file: %s}}
issuers: {none: {type: nobody, secrets: {a: {file: %s}, b: {file: %s}, c: {file: /does/not/exist}}}}
stores: {mem: {type: memory}}
tokens:
  crm-sync: {issuer: none, stores: [{store: mem, key: a}], schedule: {splay: 1d}}
`, key, secret, private), 0o666)
	file, err := testPlugins().Load(path)
	if err != nil {
		t.Fatal(err)
	}
	built, err := file.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		path + ":5: tokens.crm-sync.schedule.splay: not in effect yet; a later version will use it",
		path + ":5: tokens.crm-sync: no probe looks at the consumers: the old credential is revoked as soon as the issuer accepts the new one",
		"file " + path + ": others can change it, and so run commands as rotatord; its mode is -rw-rw-rw-",
		"file " + key + ": others can read the key; its mode is -rw-r-----",
		"file " + secret + ": everybody can read the secret; its mode is -rw-r--r--",
	}
	if diff := cmp.Diff(want, built.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestLoadOfNoFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load = %v; want %v", err, os.ErrNotExist)
	}
}

func BenchmarkLoadThousandTokens(b *testing.B) {
	var text strings.Builder
	text.WriteString("issuers: {instasent: {type: instasent}}\nstores: {local: {type: file, dir: /run/secrets}}\ntokens:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, `  token-%d:
    issuer: instasent
    params: {project: proj_x, datasource: ds_%d}
    stores: [{store: local, key: token-%d.env#TOKEN}]
    rollout: {probe: [{type: http, url: "http://worker-%d:8080/healthz", fingerprint_header: X-Token-Fingerprint}]}
    schedule: {cron: "0 10 * * 2", time_zone: Europe/Madrid, max_age: 365d}
`, i, i, i, i)
	}
	for b.Loop() {
		if _, err := config.BuiltIn().Parse("bench.yaml", []byte(text.String())); err != nil {
			b.Fatal(err)
		}
	}
}
