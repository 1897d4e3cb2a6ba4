package gcpsecretmanagerstore

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rotatord/rotatord/rotator"
)

// Our token is revoked, our account is switched off, and the log-in service is down.
func TestLogIn(t *testing.T) {
	s := newServer(t, pagePermissions(t)...)
	s.put(t, "crm", "", []byte("v"))
	store := s.opened(t, robot)
	if _, err := store.Get(t.Context(), "crm"); err != nil {
		t.Fatal(err)
	}
	s.before = atFirst("AccessSecretVersion", func() { s.set(func() { s.cloud.tokens = map[string]string{} }) })
	if _, err := store.Put(t.Context(), "crm", write("w", "1")); err != nil {
		t.Errorf("Put with a token revoked in the middle = %v; want a new log-in", err)
	}
	wantRead(t, s, "", "w")

	s.set(func() { s.accounts[robot] = false })
	_, err := store.Put(t.Context(), "crm", write("x", "2"))
	wantError(t, "Put of an account that is off", err, true, true, "log in: refused", "400")
	s.set(func() {
		s.accounts[robot] = true
		s.logIn = func() error { return errors.New("down") }
	})
	_, err = s.opened(t, robot).Get(t.Context(), "crm")
	wantError(t, "Get while the log-in service is down", err, false, true, "log in: answered 503")

	s.set(func() { s.logIn = nil })
	refusing := s.opened(t, robot)
	s.before = func(string) error { return status.Error(codes.Unauthenticated, "s3cr3t") }
	_, err = refusing.Get(t.Context(), "crm")
	wantError(t, "Get that is refused with every token", err, true, true, "the log-in is refused")
}

func TestCredentialsFile(t *testing.T) {
	s := newServer(t, pagePermissions(t)...)
	for content, want := range map[string]string{
		`s3cr3t`:                           "is not a credentials file",
		`{"type": "s3cr3t"}`:               "known type",
		`{"type": "gdch_service_account"}`: "known type",
	} {
		name := t.TempDir() + "/key.json"
		writeFile(t, name, []byte(content))
		err := s.opened(t, robot, func(c *Config) { c.CredentialsFile = name }).Ping(t.Context())
		wantError(t, "Ping with "+content, err, true, true, want)
	}
	err := s.opened(t, robot, func(c *Config) { c.CredentialsFile = "missing.json" }).Ping(t.Context())
	wantError(t, "Ping with a missing file", err, false, true, "missing.json")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", s.keyFile(t, robot))
	for _, project := range []string{"my-project", ""} {
		if err := s.opened(t, robot, func(c *Config) { c.CredentialsFile, c.Project = "", project }).Ping(t.Context()); err != nil {
			t.Errorf("Ping with application default credentials = %v", err)
		}
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "missing.json")
	err = s.opened(t, robot, func(c *Config) { c.CredentialsFile = "" }).Ping(t.Context())
	wantError(t, "Ping without credentials", err, false, true, "application default credentials")
}

// The account that is acted as makes the calls.
func TestImpersonate(t *testing.T) {
	s := newServer(t, pagePermissions(t)...)
	s.put(t, "crm", "", []byte("v"))
	open := func(as string) *Store {
		store := s.opened(t, robot, func(c *Config) { c.Impersonate = as })
		base := store.session.http.Transport
		store.session.http.Transport = rewrite(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "iamcredentials.googleapis.com" {
				to, _ := url.Parse(s.tokens.URL)
				r = r.Clone(r.Context())
				r.URL.Host, r.Host = to.Host, ""
			}
			return base.RoundTrip(r)
		})
		t.Cleanup(func() { base.(bounded).CloseIdleConnections() })
		return store
	}
	s.before = func(string) error { s.set(func() { s.grants[robot] = nil }); return nil }
	if now, err := open("deputy@my-project.iam.gserviceaccount.com").Get(t.Context(), "crm"); err != nil || now.Value.Reveal() != "v" {
		t.Errorf("Get as another account = %v, %v", now, err)
	}
	_, err := open("boss@my-project.iam.gserviceaccount.com").Get(t.Context(), "crm")
	wantError(t, "Get as an account that we may not act as", err, true, true, "log in: refused", "403")
}

type rewrite func(*http.Request) (*http.Response, error)

func (r rewrite) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// A connection that breaks in the middle leaves the write in doubt, and one that
// was never made does not.
func TestConnections(t *testing.T) {
	s := newServer(t, pagePermissions(t)...)
	s.put(t, "crm", "", []byte("v"))
	_, err := s.opened(t, robot, at(s.cut)).Put(t.Context(), "crm", write("s3cr3t", "1"))
	wantError(t, "Put that breaks off", err, false, false)
	otherName := strings.Replace(s.api, "127.0.0.1", "localhost", 1) // which the certificate does not name
	_, err = s.opened(t, robot, at(otherName)).Put(t.Context(), "crm", write("s3cr3t", "1"))
	wantError(t, "Put to another server", err, false, true, "no connection: certificate")

	stuck := make(chan struct{})
	t.Cleanup(func() { close(stuck) })
	s.before = func(method string) error {
		if method == "AddSecretVersion" {
			<-stuck
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = s.opened(t, robot).Put(ctx, "crm", write("s3cr3t", "1"))
	wantError(t, "Put that takes too long", err, false, false)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put that takes too long = %v; want context.DeadlineExceeded", err)
	}
}

// No variable of the environment makes the libraries write values somewhere.
func TestSilent(t *testing.T) {
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug")
	out, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stderr
	os.Stderr = out
	t.Cleanup(func() { os.Stderr = before })
	s := newServer(t, pagePermissions(t)...)
	s.put(t, "crm", "", []byte("v"))
	if _, err := s.opened(t, robot).Put(t.Context(), "crm", write("s3cr3t-value", "1")); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(out.Name())
	if err != nil || len(written) > 0 {
		t.Errorf("%d bytes were written to standard error, %v: %.200s", len(written), err, written)
	}
}

func wantError(t *testing.T, what string, err error, permanent, noEffect bool, says ...string) {
	t.Helper()
	if err == nil || rotator.IsPermanent(err) != permanent || rotator.HadNoEffect(err) != noEffect {
		t.Errorf("%s = %v, permanent %t, no effect %t; want permanent %t, no effect %t", what, err, rotator.IsPermanent(err), rotator.HadNoEffect(err), permanent, noEffect)
		return
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s = %v; want %q in it", what, err, text)
		}
	}
	if strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("%s = %v, which shows what it must not", what, err)
	}
}
