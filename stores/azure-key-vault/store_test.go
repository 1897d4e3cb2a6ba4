package azurekeyvaultstore

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

func write(value, prev string) rotator.Write {
	return rotator.Write{Value: rotator.NewSecret(value), Prev: prev, Attempt: "a"}
}

func wantRead(t *testing.T, s *server, want string) {
	t.Helper()
	if got, ok := s.read("crm"); !ok || got != want {
		t.Errorf("consumers read %q, %v; want %q", got, ok, want)
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
	for _, hidden := range []string{"s3cr3t", "https://", "eyJ", "AADSTS", "127.0.0.1", tenant} {
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("%s = %v, which shows %q", what, err, hidden)
		}
	}
}

// atPut runs f ahead of the first write.
func atPut(f func()) func(http.ResponseWriter, *http.Request) bool {
	var done sync.Once
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			done.Do(f)
		}
		return false
	}
}

// With the role in the page everything works; without one of its lines, the
// error names it, in the words of roles and in those of access policies.
func TestPageRole(t *testing.T) {
	rights := map[string]string{"getSecret": `"get"`, "setSecret": `"set"`, "readMetadata": `"list"`}
	listed := pageActions(t)
	for _, missing := range append([]string{""}, listed...) {
		for _, policy := range []bool{false, true} {
			s := newServer(t, slices.DeleteFunc(slices.Clone(listed), func(a string) bool { return a == missing })...)
			s.policy = policy
			store := s.opened(t, creating)
			first, err := store.Put(t.Context(), "crm", write("v", ""))
			if err == nil {
				_, err = store.Put(t.Context(), "crm", write("w", first.ID))
			}
			if missing == "" {
				if err = errors.Join(err, store.Ping(t.Context()), store.CheckWrite(t.Context(), "crm")); err != nil {
					t.Errorf("with the role of the page: %v", err)
				}
				continue
			}
			says := missing
			if policy {
				says = rights[strings.Split(missing, "/")[3]]
			}
			wantError(t, "Put without "+missing, err, true, true, says)
			if err := store.Ping(t.Context()); err != nil {
				t.Errorf("Ping without %s = %v; want nil: the log-in works", missing, err)
			}
		}
	}
}

// What a secret has besides its value stays, in each new version.
func TestPropertiesStay(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	value := `{"T": "v"}`
	before := bundle{
		Value: &value, ContentType: "application/vnd.x+json", Tags: map[string]string{"owner": "platform", "rotate": "yes"},
		Attributes: attributes{Exp: time.Now().Add(time.Hour).Unix(), Nbf: time.Now().Add(-time.Hour).Unix()},
	}
	s.change(func() { s.add("crm", before) })
	store := s.opened(t)
	now, err := store.Get(t.Context(), "crm#T")
	if err != nil || now.At.IsZero() || time.Since(now.At) > time.Minute {
		t.Fatalf("Get = %v at %v", err, now.At)
	}
	if _, err := store.Put(t.Context(), "crm#T", write("new", now.ID)); err != nil {
		t.Fatal(err)
	}
	after := *s.secrets["crm"].versions[1]
	wantRead(t, s, `{"T": "new"}`)
	if after.ContentType != before.ContentType || !cmp.Equal(after.Tags, before.Tags) || after.Attributes.Exp != before.Attributes.Exp || after.Attributes.Nbf != before.Attributes.Nbf || !*after.Attributes.Enabled {
		t.Errorf("the new version is %+v; want the content type, tags and attributes of %+v", after, before)
	}
	if _, err := s.opened(t, creating).Put(t.Context(), "fresh#T", write("new", "")); err != nil || s.secrets["fresh"].versions[0].ContentType != "application/json" {
		t.Errorf("Put of a field of a new secret = %v", err)
	}
}

func TestStates(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	store := s.opened(t)
	_, err := store.Put(t.Context(), "crm", write("v", ""))
	wantError(t, "Put to a missing secret", err, true, true, "no such secret; create it, or set create: true")
	wantError(t, "CheckWrite of a missing secret", store.CheckWrite(t.Context(), "crm"), true, true, "no such secret")

	first := s.put("crm", "v")
	*first.Attributes.Enabled = false
	for call, err := range failures(t, store, first.version()) {
		wantError(t, call+" of a disabled version", err, true, true, "its current version is disabled")
	}
	*first.Attributes.Enabled = true

	first.Attributes.Exp = time.Now().Add(-time.Hour).Unix()
	if _, err := store.Get(t.Context(), "crm"); err != nil {
		t.Errorf("Get of an expired secret = %v; want its value, as consumers get it", err)
	}
	_, err = store.Put(t.Context(), "crm", write("w", first.version()))
	wantError(t, "Put over an expired secret", err, true, true, "its expiry passed on")
	wantError(t, "CheckWrite of an expired secret", store.CheckWrite(t.Context(), "crm"), true, true, "its expiry passed on")
	first.Attributes.Exp = 0

	first.Managed, first.KID = true, "https://"+host+"/keys/crm/1"
	_, err = store.Put(t.Context(), "crm", write("w", first.version()))
	wantError(t, "Put over a certificate's secret", err, true, true, "certificate")
	first.Managed = false

	s.change(func() { s.secrets["crm"].deleted = true })
	if _, err := store.Get(t.Context(), "crm"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Get of a deleted secret = %v; want ErrNotFound", err)
	}
	if _, err := store.Put(t.Context(), "crm", write("w", first.version())); !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("Put over a deleted secret = %v; want ErrConflict", err)
	}
	_, err = s.opened(t, creating).Put(t.Context(), "crm", write("w", ""))
	wantError(t, "Put that would make a deleted secret", err, true, true, `secret "crm": it is deleted, and can be recovered`)
}

func failures(t *testing.T, store *Store, prev string) map[string]error {
	t.Helper()
	_, get := store.Get(t.Context(), "crm")
	_, put := store.Put(t.Context(), "crm", write("s3cr3t-value", prev))
	return map[string]error{"Get": get, "Put": put, "CheckWrite": store.CheckWrite(t.Context(), "crm")}
}

func TestLimits(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", "v")
	store := s.opened(t)
	for value, want := range map[string]string{"": "empty", strings.Repeat("s3cr3t", 5000): "longer than 25600 bytes", "s3cr3t\xff": "UTF-8"} {
		_, err := store.Put(t.Context(), "crm", write(value, first.version()))
		wantError(t, "Put", err, true, true, want)
	}
	s.before = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(`{"value": "` + strings.Repeat("s3cr3t", 200_000) + `"}`))
		return true
	}
	_, err := store.Get(t.Context(), "crm")
	wantError(t, "Get of an endless answer", err, false, true, "longer than 1048576 bytes")
	s.before = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(`<html>s3cr3t</html>`))
		return true
	}
	_, err = store.Get(t.Context(), "crm")
	wantError(t, "Get from something else", err, false, true, "not one of a key vault")
}

// Somebody writes between our look and our write.
func TestInBetween(t *testing.T) {
	for name, test := range map[string]struct {
		key, before  string
		foreign      []string
		late         bool // after our write rather than before it
		wantConflict bool
		want         string
	}{
		"whole":                      {key: "crm", before: "v", foreign: []string{"foreign"}, wantConflict: true, want: "foreign"},
		"whole, on top of ours":      {key: "crm", before: "v", foreign: []string{"foreign"}, late: true, wantConflict: true, want: "foreign"},
		"same field":                 {key: "crm#T", before: `{"T": "v"}`, foreign: []string{`{"T": "foreign"}`}, wantConflict: true, want: `{"T": "foreign"}`},
		"other field":                {key: "crm#T", before: `{"T": "v"}`, foreign: []string{`{"T": "v", "O": "o"}`}, want: `{"T": "new", "O": "o"}`},
		"other field, on top":        {key: "crm#T", before: `{"T": "v"}`, foreign: []string{`{"T": "v", "O": "o"}`}, late: true, want: `{"T": "new", "O": "o"}`},
		"the same attempt":           {key: "crm", before: "v", foreign: []string{"new"}, want: "new"},
		"our value and then another": {key: "crm", before: "v", foreign: []string{"new", "foreign"}, wantConflict: true, want: "foreign"},
	} {
		s := newServer(t, pageActions(t)...)
		for i := range 5 { // older versions are no matter
			s.put("crm", fmt.Sprint("older", i))
		}
		first := s.put("crm", test.before)
		foreign := func() {
			for _, value := range test.foreign {
				s.put("crm", value)
			}
		}
		if test.late {
			var done sync.Once
			s.before = func(_ http.ResponseWriter, r *http.Request) bool {
				if s.count("crm") == 7 && r.Method == http.MethodGet {
					done.Do(foreign)
				}
				return false
			}
		} else {
			s.before = atPut(foreign)
		}
		_, err := s.opened(t).Put(t.Context(), test.key, write("new", first.version()))
		if errors.Is(err, rotator.ErrConflict) != test.wantConflict || (err != nil) != test.wantConflict {
			t.Errorf("%s: Put = %v; want conflict %t", name, err, test.wantConflict)
		}
		wantRead(t, s, test.want)
	}
}

// Two others write between our list and our look: what they wrote is no reason to put back an older one.
func TestListOlderThanLook(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", `{"T": "v"}`)
	var done sync.Once
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && !strings.HasSuffix(r.URL.Path, "/versions") {
			done.Do(func() { s.put("crm", `{"T": "v", "O": "1"}`); s.put("crm", `{"T": "v", "O": "2"}`) })
		}
		return false
	}
	if _, err := s.opened(t).Put(t.Context(), "crm#T", write("new", first.version())); err != nil || s.count("crm") != 4 {
		t.Errorf("Put = %v, %d versions; want 4", err, s.count("crm"))
	}
	wantRead(t, s, `{"T": "new", "O": "2"}`)
}

// The answer of a write is lost: it is in doubt, and the same attempt again makes no second version.
func TestLostAnswer(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", "v")
	lost := true
	s.lose = func(r *http.Request) bool { return lost && r.Method == http.MethodPut }
	_, err := s.opened(t).Put(t.Context(), "crm", write("s3cr3t-value", first.version()))
	wantError(t, "Put whose answer is lost", err, false, false)
	s.change(func() { lost = false })
	for range 2 {
		if _, err := s.opened(t).Put(t.Context(), "crm", write("s3cr3t-value", first.version())); err != nil || s.count("crm") != 2 {
			t.Errorf("Put again = %v, and there are %d versions; want 2", err, s.count("crm"))
		}
	}
	// The look after the write fails: the write had its effect all the same.
	now, _ := s.opened(t).Get(t.Context(), "crm")
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if s.count("crm") < 3 || !strings.HasSuffix(r.URL.Path, "/versions") {
			return false
		}
		refuse(w, http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "no")
		return true
	}
	_, err = s.opened(t).Put(t.Context(), "crm", write("s3cr3t-next", now.ID))
	wantError(t, "Put whose look afterwards fails", err, false, false, "readMetadata")
}

// What the vault refuses is classified, and tried once only.
func TestRefusals(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", "v")
	store := s.opened(t)
	for _, test := range []struct {
		status              int
		code, inner         string
		permanent, noEffect bool
		says                string
	}{
		{429, "Throttled", "", false, true, "answered 429"},
		{403, "Forbidden", "ForbiddenByFirewall", true, true, "firewall"},
		{403, "Forbidden", "ForbiddenByConnection", true, true, "firewall"},
		{403, "Forbidden", "ForbiddenByPolicy", true, true, "access policy"},
		{403, "Forbidden", "", true, true, "permission denied"},
		{400, "BadParameter", "", true, true, "answered 400"},
		{409, "Conflict", "ObjectIsBeingDeleted", false, true, "being deleted"},
		{500, "InternalServerError", "", false, false, "answered 500"},
		{503, "ServiceUnavailable", "", false, false, "answered 503"},
		{408, "RequestTimeout", "", false, false, "answered 408"},
	} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			calls := 0
			s.change(func() {
				s.before = func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != method {
						return false
					}
					calls++
					w.Header().Set("Retry-After", "60")
					refuse(w, test.status, test.code, test.inner, "no")
					return true
				}
			})
			_, err := store.Put(t.Context(), "crm", write("s3cr3t-value", first.version()))
			noEffect := test.noEffect || method == http.MethodGet
			wantError(t, fmt.Sprintf("Put with %s answered %d %s", method, test.status, test.inner), err, test.permanent, noEffect, test.says)
			if calls != 1 {
				t.Errorf("%s answered %d was tried %d times; want once", method, test.status, calls)
			}
			if wait := time.Until(rotator.RetryTime(err)); test.status == 429 && (wait < 50*time.Second || wait > time.Minute) {
				t.Errorf("Put answered 429 is to be tried again in %v; want a minute", wait)
			}
		}
	}
	s.before = func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, http.StatusForbidden, "Forbidden", "ForbiddenByFirewall", "no")
		return true
	}
	wantError(t, "Ping behind a firewall", store.Ping(t.Context()), true, true, "firewall")
}

// A value that was current for a moment had an effect, though the write is a conflict.
func TestConflictAfterTheWrite(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	first := s.put("crm", "old")
	seen := ""
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if s.count("crm") == 2 && r.Method == http.MethodGet && seen == "" {
			seen, _ = s.read("crm")
			s.put("crm", "somebody's")
		}
		return false
	}
	_, err := s.opened(t).Put(t.Context(), "crm", write("new", first.version()))
	if seen != "new" || !errors.Is(err, rotator.ErrConflict) || rotator.HadNoEffect(err) {
		t.Errorf("Put = %v, no effect %v, consumers saw %q; want ErrConflict with an effect", err, rotator.HadNoEffect(err), seen)
	}
}

// Only Key Vault's own word says that there is no secret.
func TestNotFoundOfAGateway(t *testing.T) {
	s := newServer(t, pageActions(t)...)
	s.put("crm", "v")
	store := s.opened(t)
	s.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("<html>no such backend</html>"))
		return true
	}
	if _, err := store.Get(t.Context(), "crm"); err == nil || errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Get through a gateway that answers 404 = %v; want an error that is not ErrNotFound", err)
	}
}
