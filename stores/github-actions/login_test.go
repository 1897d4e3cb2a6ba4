package githubactionsstore

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

const page = "../../docs/stores/github-actions.md"

// permissionRow is a row of the page's table of permissions.
var permissionRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (repository|organisation): `([a-z_]+): ([a-z]+)` \\| `([a-z:]+)` \\|$")

// What the page says is enough, and less is not.
func TestPermissionsOfThePage(t *testing.T) {
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := permissionRow.FindAllStringSubmatch(string(raw), -1)
	if len(rows) != 3 {
		t.Fatalf("%s has %d rows of permissions; want 3", page, len(rows))
	}
	for _, row := range rows {
		form, permission, level, scope := row[1], row[3], row[4], row[5]
		key := strings.NewReplacer("owner/repo", "acme/crm", "environment", "production", "ORG", "acme").Replace(form)
		for name, test := range map[string]struct {
			given, less grant
			hidden      bool // CheckWrite can't tell
		}{
			"fine-grained": {grant{may: map[string]string{permission: level}}, grant{may: map[string]string{permission: "read"}}, true},
			"classic":      {grant{classic: []string{"gist", scope}}, grant{classic: []string{"gist", "public_repo"}}, false},
			"app":          {grant{may: map[string]string{permission: level}}, grant{may: map[string]string{permission: "read"}}, false},
		} {
			t.Run(form+" "+name, func(t *testing.T) {
				h := newHub(t)
				store := opened(t, h.server.URL, goodToken)
				if name == "app" {
					store = opened(t, h.server.URL, "", h.app(t))
				}
				h.grants(goodToken, test.given)
				if err := errors.Join(store.Ping(t.Context()), store.CheckWrite(t.Context(), key)); err != nil {
					t.Errorf("Ping and CheckWrite = %v; want nil", err)
				}
				mustPut(t, store, key, "1")
				mustPut(t, store, key, "2")

				if name == "app" {
					store.session.now = nil
				}
				h.grants(goodToken, test.less)
				err := store.CheckWrite(t.Context(), key)
				if test.hidden && err != nil || !test.hidden && !rotator.IsPermanent(err) {
					t.Errorf("CheckWrite with less = %v; want one that is permanent, or nil where nobody can tell", err)
				}
				before, _ := h.read(t, key)
				_, err = store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("3"), Prev: h.secrets[path(t, key)].updated.Format(time.RFC3339)})
				p, _ := parseKey(key)
				if after, _ := h.read(t, key); !rotator.IsPermanent(err) || after != before || !strings.Contains(err.Error(), p.kind().permission) {
					t.Errorf("Put with less = %v; want a permanent error that names %s", err, p.kind().permission)
				}
				h.grants(goodToken, grant{may: map[string]string{"metadata": "read"}})
				if name == "app" {
					store.session.now = nil
				}
				if _, err := store.Get(t.Context(), key); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), p.kind().permission) {
					t.Errorf("Get with nothing = %v; want a permanent error that names %s", err, p.kind().permission)
				}
			})
		}
	}
}

func TestApp(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, "", h.app(t))
	work := func(what, value string) string {
		t.Helper()
		if _, err := put(t, store, key, value); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return store.session.now.token
	}
	first := work("the first call", "1")
	if again := work("the second call", "2"); again != first {
		t.Error("the second call logged in again")
	}
	store.session.now.ends = time.Now().Add(renewBefore - time.Second)
	second := work("a call shortly before the token's end", "3")
	if second == first {
		t.Error("a token near its end is used")
	}
	h.revokeAll()
	h.tokens["ghs_another"] = grant{}
	if third := work("a call after the token was revoked", "4"); third == second {
		t.Error("the revoked token is used")
	}

	h.refuse = true
	h.revokeAll()
	if _, err := store.Get(t.Context(), key); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("Get of a suspended installation = %v; want a permanent error", err)
	}
	h.refuse = false
	var err error
	if h.appKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if err := store.Ping(t.Context()); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "private_key") {
		t.Errorf("Ping with the key of another App = %v; want a permanent error", err)
	}
	wrong := opened(t, h.server.URL, "", h.app(t), func(c *Config) { c.Auth.PrivateKey = secretFile(t, "s3cr3t but no key") })
	if err := wrong.Ping(t.Context()); !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Ping with no key = %v; want a permanent error without it", err)
	}
	lost := opened(t, h.server.URL, "", h.app(t), func(c *Config) { c.Auth.InstallationID = 1 })
	if err := lost.Ping(t.Context()); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "installation 1") {
		t.Errorf("Ping of no installation = %v; want a permanent error", err)
	}
}

// The operator replaces the token's file: it is taken up when the old one is refused, in the middle of a write too.
func TestTokenIsReplaced(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	mustPut(t, store, key, "1")
	replaced := false
	h.hooks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && !replaced {
			replaced = true
			delete(h.tokens, goodToken)
			h.tokens["ghp_new"] = everything()
			if err := os.WriteFile(store.config.Auth.Token.File, []byte("ghp_new\n"), 0o600); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	mustPut(t, store, key, "2")
	if value, _ := h.read(t, key); value != "2" || !replaced {
		t.Errorf("the value is %q, replaced %v; want 2", value, replaced)
	}
	h.revokeAll()
	if err := store.Ping(t.Context()); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "token is refused") {
		t.Errorf("Ping with a revoked token = %v; want a permanent error", err)
	}
}

func TestServerWithoutLimits(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	h.hooks(func(w http.ResponseWriter, _ *http.Request) bool {
		h.answer(w, http.StatusNotFound, map[string]string{"message": "Rate limiting is not enabled."})
		return true
	})
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v; want nil", err)
	}
}

func TestSingleSignOn(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	h.hooks(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("X-GitHub-SSO", "required; url=https://github.com/orgs/acme/sso?authorization_request=s3cr3t")
		h.answer(w, http.StatusForbidden, map[string]string{"message": "Resource protected by organization SAML enforcement."})
		return true
	})
	if err := store.CheckWrite(t.Context(), key); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "single sign-on") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("CheckWrite = %v; want a permanent error that names single sign-on", err)
	}
}
