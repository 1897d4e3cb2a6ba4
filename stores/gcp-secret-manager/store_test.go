package gcpsecretmanagerstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rotatord/rotatord/rotator"
)

func write(value, prev string) rotator.Write {
	return rotator.Write{Value: rotator.NewSecret(value), Prev: prev, Attempt: "a"}
}

// states lists the states of a secret's versions, oldest first.
func (s *server) states(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var states []string
	for _, v := range s.secret(name).versions {
		states = append(states, strings.ToLower(v.GetState().String()))
	}
	return strings.Join(states, " ")
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func wantRead(t *testing.T, s *server, alias, want string) {
	t.Helper()
	if got, ok := s.read("crm", alias); !ok || string(got) != want {
		t.Errorf("consumers read %q, %v; want %q", got, ok, want)
	}
}

func wantStates(t *testing.T, s *server, want string) {
	t.Helper()
	if got := s.states("crm"); got != want {
		t.Errorf("versions are %q; want %q", got, want)
	}
}

// atFirst runs f at the first call of a method.
func atFirst(method string, f func()) func(string) error {
	var done sync.Once
	return func(called string) error {
		if called == method {
			done.Do(f)
		}
		return nil
	}
}

// With the permissions that the page lists everything works; without one of
// them, the error and CheckWrite name it.
func TestPagePermissions(t *testing.T) {
	for _, setting := range []string{"", "alias", "disable_old", "create"} {
		listed := pagePermissions(t, setting)
		if setting == "" {
			listed = pagePermissions(t)
		}
		change := func(c *Config) {
			c.DisableOld, c.Create = setting == "disable_old", setting == "create"
			if setting == "alias" {
				c.Alias = "current"
			}
		}
		exercise := func(missing string) (*server, *Store, error) {
			s := newServer(t, slices.DeleteFunc(slices.Clone(listed), func(p string) bool { return p == missing })...)
			store := s.opened(t, robot, change)
			if setting != "create" {
				s.set(func() { s.secret("crm") })
			}
			made, err := store.Put(t.Context(), "crm", write("v1", ""))
			for i := 2; i < 5 && err == nil; i++ {
				made, err = store.Put(t.Context(), "crm", write(fmt.Sprintf("v%d", i), made.ID))
			}
			return s, store, err
		}
		s, store, err := exercise("")
		if err != nil {
			t.Fatalf("%s: Put with the permissions of the page = %v", setting, err)
		}
		if err := errors.Join(store.Ping(t.Context()), store.CheckWrite(t.Context(), "crm")); err != nil {
			t.Errorf("%s: checks with the permissions of the page = %v", setting, err)
		}
		if setting == "disable_old" {
			wantStates(t, s, "disabled disabled enabled enabled")
		}
		for _, permission := range listed {
			s, store, err := exercise(permission)
			hygiene := permission == "secretmanager.versions.disable" || setting == "disable_old" && (strings.HasPrefix(permission, "secretmanager.secrets.") || strings.HasSuffix(permission, ".list"))
			if hygiene != (err == nil) {
				t.Errorf("%s without %s: Put = %v", setting, permission, err)
			}
			if err != nil {
				wantError(t, "Put without "+permission, err, true, true, permission)
			}
			s.set(func() { s.secret("crm") })
			if permission != "secretmanager.secrets.create" {
				wantError(t, "CheckWrite without "+permission, store.CheckWrite(t.Context(), "crm"), true, true, permission)
			}
		}
	}
}

// Processes with the same version in hand: the etag lets one of eight win. For
// latest, the one with the next number wins, and the other puts it back.
func TestTwoWriters(t *testing.T) {
	for name, writers := range map[string]int{"current": 8, "": 2} {
		s := newServer(t, pagePermissions(t, "alias")...)
		s.put(t, "crm", name, []byte("v"))
		errs := make([]error, writers)
		var group sync.WaitGroup
		for i := range errs {
			store := s.opened(t, robot, alias(name))
			group.Go(func() { _, errs[i] = store.Put(t.Context(), "crm", write(fmt.Sprintf("w%d", i), "1")) })
		}
		group.Wait()
		winners := 0
		for i, err := range errs {
			if err == nil {
				winners++
				wantRead(t, s, name, fmt.Sprintf("w%d", i))
			} else if !errors.Is(err, rotator.ErrConflict) {
				t.Errorf("alias %q: Put of a loser = %v; want ErrConflict", name, err)
			}
		}
		enabled := strings.Count(" "+s.states("crm"), " enabled")
		if winners != 1 || (name != "" && enabled != 2) {
			t.Errorf("alias %q: %d winners, %d enabled versions; want 1 and, with an alias, 2 (before and now): %s", name, winners, enabled, s.states("crm"))
		}
	}
}

// Somebody writes between our look and our write.
func TestInBetween(t *testing.T) {
	for name, test := range map[string]struct {
		alias, key, before, foreign string
		wantConflict                bool
		want                        string
	}{
		"latest":               {"", "crm", "v", "foreign", true, "foreign"},
		"alias":                {"current", "crm", "v", "foreign", true, "foreign"},
		"latest, same field":   {"", "crm#T", `{"T": "v"}`, `{"T": "foreign"}`, true, `{"T": "foreign"}`},
		"latest, other field":  {"", "crm#T", `{"T": "v"}`, `{"T": "v", "O": "o"}`, false, `{"T": "new", "O": "o"}`},
		"alias, other field":   {"current", "crm#T", `{"T": "v"}`, `{"T": "v", "O": "o"}`, false, `{"T": "new", "O": "o"}`},
		"latest, same attempt": {"", "crm", "v", "new", false, "new"},
	} {
		s := newServer(t, pagePermissions(t, "alias")...)
		s.put(t, "crm", test.alias, []byte(test.before))
		s.before = atFirst("AddSecretVersion", func() { s.put(t, "crm", test.alias, []byte(test.foreign)) })
		store := s.opened(t, robot, alias(test.alias))
		_, err := store.Put(t.Context(), test.key, write("new", "1"))
		if errors.Is(err, rotator.ErrConflict) != test.wantConflict || (err != nil) != test.wantConflict {
			t.Errorf("%s: Put = %v; want conflict %t", name, err, test.wantConflict)
		}
		wantRead(t, s, test.alias, test.want)
	}
}

// The secret changes, but not what consumers read: no conflict and no second version.
func TestEtagMovesForAnotherReason(t *testing.T) {
	s := newServer(t, pagePermissions(t, "alias")...)
	s.put(t, "crm", "current", []byte("v"))
	s.put(t, "crm", "stable", []byte("s"))
	s.before = atFirst("UpdateSecret", func() {
		s.set(func() {
			s.secret("crm").secret.Labels, s.secret("crm").secret.Etag = map[string]string{"a": "b"}, s.etag()
		})
	})
	made, err := s.opened(t, robot, alias("current")).Put(t.Context(), "crm", write("new", "1"))
	if err != nil || made.ID != "3" || s.secret("crm").secret.VersionAliases["stable"] != 2 {
		t.Errorf("Put = %q, %v, aliases %v; want version 3 and the other alias untouched", made.ID, err, s.secret("crm").secret.VersionAliases)
	}
	wantStates(t, s, "enabled enabled enabled")
	wantRead(t, s, "current", "new")
}

// The answer of a write is lost: it is in doubt, and the same attempt again makes no second version.
func TestLostAnswer(t *testing.T) {
	for _, test := range []struct{ alias, method string }{{"", "AddSecretVersion"}, {"current", "AddSecretVersion"}, {"current", "UpdateSecret"}} {
		s := newServer(t, pagePermissions(t, "alias")...)
		s.put(t, "crm", test.alias, []byte("v"))
		lost := true
		s.after = func(method string) error {
			if method == test.method && lost {
				return status.Error(codes.Unavailable, "s3cr3t")
			}
			return nil
		}
		store := s.opened(t, robot, alias(test.alias))
		_, err := store.Put(t.Context(), "crm", write("s3cr3t-value", "1"))
		wantError(t, test.method+" whose answer is lost", err, false, false)
		s.set(func() { lost = false })
		version, err := s.opened(t, robot, alias(test.alias)).Put(t.Context(), "crm", write("s3cr3t-value", "1"))
		if err != nil || version.ID != "2" || version.At.IsZero() {
			t.Errorf("%s: Put again = %q, %v; want version 2", test.method, version.ID, err)
		}
		wantStates(t, s, "enabled enabled")
		wantRead(t, s, test.alias, "s3cr3t-value")
	}
}

// `latest` and secrets lag behind, as Google says they may: our own write is seen all the same.
func TestLag(t *testing.T) {
	for _, name := range []string{"", "current"} {
		s := newServer(t, pagePermissions(t, "alias")...)
		store := s.opened(t, robot, alias(name))
		s.set(func() { s.secret("crm"); s.lag, s.stale = 2, true })
		prev := ""
		for i := range 4 {
			value := fmt.Sprint("v", i)
			for range 2 {
				made, err := store.Put(t.Context(), "crm", write(value, prev))
				if err != nil || made.ID != fmt.Sprint(i+1) {
					t.Fatalf("alias %q: Put %d = %q, %v", name, i, made.ID, err)
				}
			}
			now, err := store.Get(t.Context(), "crm")
			if err != nil || now.Value.Reveal() != value {
				t.Fatalf("alias %q: Get = %q, %v; want %q", name, now.Value.Reveal(), err, value)
			}
			prev = now.ID
		}
	}
}

func TestStates(t *testing.T) {
	s := newServer(t, pagePermissions(t, "alias")...)
	for _, name := range []string{"", "current"} {
		s.set(func() { s.secrets = map[string]*kept{} })
		store := s.opened(t, robot, alias(name))
		_, err := store.Get(t.Context(), "crm")
		if !errors.Is(err, rotator.ErrNotFound) || !strings.Contains(err.Error(), "no such secret") {
			t.Errorf("Get of a missing secret = %v; want ErrNotFound", err)
		}
		_, err = store.Put(t.Context(), "crm", write("v", ""))
		wantError(t, "Put to a missing secret", err, true, true, "no such secret; create it, or set create: true")
		wantError(t, "CheckWrite of a missing secret", store.CheckWrite(t.Context(), "crm"), true, true, "no such secret")

		s.put(t, "crm", name, []byte("v"))
		s.set(func() { s.secret("crm").versions[0].State = pb.SecretVersion_DISABLED })
		_, err = store.Get(t.Context(), "crm")
		wantError(t, "Get of a disabled version", err, true, true, "version 1, which consumers would read, is disabled")
		_, err = store.Put(t.Context(), "crm", write("w", "1"))
		wantError(t, "Put over a disabled version", err, true, true, "is disabled")

		s.set(func() { s.secret("crm").versions[0].State = pb.SecretVersion_DESTROYED })
		_, err = store.Get(t.Context(), "crm")
		if !errors.Is(err, rotator.ErrNotFound) || !strings.Contains(err.Error(), "version 1 is destroyed") {
			t.Errorf("Get of a destroyed version = %v; want ErrNotFound", err)
		}
		if _, err := store.Put(t.Context(), "crm", write("w", "1")); !errors.Is(err, rotator.ErrConflict) {
			t.Errorf("Put over a destroyed version = %v; want ErrConflict", err)
		}
		if _, err := store.Put(t.Context(), "crm", write("w", "")); err != nil {
			t.Errorf("Put after a destroyed version = %v", err)
		}
		wantRead(t, s, name, "w")

		s.set(func() {
			s.secret("crm").secret.Expiration = &pb.Secret_ExpireTime{ExpireTime: timestamppb.New(time.Now().Add(-time.Minute))}
		})
		_, err = store.Get(t.Context(), "crm")
		if !errors.Is(err, rotator.ErrNotFound) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("Get of an expired secret = %v; want ErrNotFound", err)
		}
	}
}

func TestLimits(t *testing.T) {
	s := newServer(t, pagePermissions(t)...)
	s.put(t, "crm", "", []byte("v"))
	store := s.opened(t, robot)
	_, err := store.Put(t.Context(), "crm", write("", "1"))
	wantError(t, "Put of an empty value", err, true, true, "empty")
	_, err = store.Put(t.Context(), "crm", write(strings.Repeat("s3cr3t", 20000), "1"))
	wantError(t, "Put of a long value", err, true, true, "longer than 65536 bytes")
	s.set(func() { s.secret("crm").damaged = true })
	_, err = store.Get(t.Context(), "crm")
	wantError(t, "Get of a damaged value", err, false, true, "checksum")
}

// What the service refuses is classified, and tried once only.
func TestRefusals(t *testing.T) {
	s := newServer(t, pagePermissions(t)...)
	s.put(t, "crm", "", []byte("v"))
	store := s.opened(t, robot)
	quota, err := status.New(codes.ResourceExhausted, "s3cr3t").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	off, err := status.New(codes.PermissionDenied, "s3cr3t").WithDetails(&errdetails.ErrorInfo{Reason: "SERVICE_DISABLED", Domain: "googleapis.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		answer              error
		permanent, noEffect bool
		says                string
	}{
		{quota.Err(), false, true, "quota"},
		{off.Err(), true, true, "not enabled"},
		{status.Error(codes.InvalidArgument, "s3cr3t"), true, true, "INVALID_ARGUMENT"},
		{status.Error(codes.FailedPrecondition, "s3cr3t"), true, true, "FAILED_PRECONDITION"},
		{status.Error(codes.Unavailable, "s3cr3t"), false, false, "UNAVAILABLE"},
		{status.Error(codes.Internal, "s3cr3t"), false, false, "INTERNAL"},
		{status.Error(codes.DeadlineExceeded, "s3cr3t"), false, false, "DEADLINE_EXCEEDED"},
		{status.Error(codes.Aborted, "s3cr3t"), false, false, "ABORTED"},
	} {
		calls := 0
		s.set(func() {
			s.before = func(method string) error {
				if method != "AddSecretVersion" {
					return nil
				}
				calls++
				return test.answer
			}
		})
		_, err := store.Put(t.Context(), "crm", write("s3cr3t-value", "1"))
		wantError(t, "Put", err, test.permanent, test.noEffect, test.says)
		if calls != 1 {
			t.Errorf("Put answered %v was tried %d times; want once", test.answer, calls)
		}
		if at := rotator.RetryTime(err); (test.says == "quota") != (time.Until(at) > 50*time.Second) {
			t.Errorf("Put answered %v is to be tried again at %v", test.answer, at)
		}
		s.set(func() {
			s.before = func(method string) error {
				if method == "AccessSecretVersion" {
					return test.answer
				}
				return nil
			}
		})
		_, err = store.Put(t.Context(), "crm", write("s3cr3t-value", "1"))
		if test.says == "FAILED_PRECONDITION" { // that is what a disabled version answers
			test.says = "is disabled"
		}
		wantError(t, "Put that could not look", err, test.permanent, true, test.says)
	}
}

func TestDisableOld(t *testing.T) {
	s := newServer(t, pagePermissions(t, "disable_old")...)
	for i := range 7 {
		s.put(t, "crm", "", []byte(fmt.Sprint("v", i)))
	}
	s.set(func() {
		s.secret("crm").secret.VersionAliases = map[string]int64{"pinned": 2}
		s.secret("crm").versions[3].State = pb.SecretVersion_DESTROYED
	})
	store := s.opened(t, robot, func(c *Config) { c.DisableOld = true })
	for range 2 {
		if _, err := store.Put(t.Context(), "crm", write("new", "7")); err != nil {
			t.Fatal(err)
		}
	}
	wantStates(t, s, "disabled enabled disabled destroyed disabled disabled enabled enabled")
	// With an alias: what is newer than the version before is none of our business.
	s = newServer(t, pagePermissions(t, "disable_old", "alias")...)
	for i := range 4 {
		s.put(t, "crm", "", []byte(fmt.Sprint("v", i)))
	}
	s.set(func() { s.secret("crm").secret.VersionAliases = map[string]int64{"current": 3} })
	store = s.opened(t, robot, alias("current"), func(c *Config) { c.DisableOld = true })
	if _, err := store.Put(t.Context(), "crm", write("new", "3")); err != nil {
		t.Fatal(err)
	}
	wantStates(t, s, "disabled disabled enabled enabled enabled")
	if slices.Contains(s.calls, "DestroySecretVersion") {
		t.Error("a version was destroyed")
	}
}

// The answer to a move of the alias is lost, and reads stay old: the old value
// is not taken for current.
func TestOldAnswerAfterALostMove(t *testing.T) {
	s := newServer(t, pagePermissions(t, "alias")...)
	s.put(t, "crm", "current", []byte("old"))
	lost := true
	s.after = func(method string) error {
		if method == "UpdateSecret" && lost {
			lost = false
			return status.Error(codes.Unavailable, "x")
		}
		return nil
	}
	s.set(func() { s.stale = true })
	store := s.opened(t, robot, alias("current"))
	if _, err := store.Put(t.Context(), "crm", write("new", "1")); err == nil {
		t.Fatal("Put whose answer is lost = nil; want an error")
	}
	_, err := store.Put(t.Context(), "crm", write("old", "1"))
	if got, _ := s.read("crm", "current"); err == nil && string(got) != "old" {
		t.Errorf("Put(old) says that it is done, and the alias leads to %q", got)
	}
}
