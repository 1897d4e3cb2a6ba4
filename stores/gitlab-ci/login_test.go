package gitlabcistore

import (
	"errors"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

const page = "../../docs/stores/gitlab-ci.md"

var permissionRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([A-Za-z]+)` of the (project|group) \\| `([a-z_]+)` \\|$")

// What the page says is enough, and less is not.
func TestPermissionsOfThePage(t *testing.T) {
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := permissionRow.FindAllStringSubmatch(string(raw), -1)
	if len(rows) != 2 {
		t.Fatalf("%s has %d rows of permissions; want 2", page, len(rows))
	}
	for _, row := range rows {
		key := strings.NewReplacer("project/path", "team/crm.api", "group:path", "group:team/sub").Replace(row[1])
		p, err := parseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		role, scope := row[2], row[4]
		given := func(role, scope string) grant {
			return grant{scopes: []string{scope}, roles: map[string]string{p.key(): role}}
		}
		l := newLab(t)
		store := opened(t, l.server.URL, goodToken)
		l.grants(goodToken, given(role, scope))
		if err := errors.Join(store.Ping(t.Context()), store.CheckWrite(t.Context(), key)); err != nil {
			t.Errorf("Ping and CheckWrite with what the page says = %v; want nil", err)
		}
		for _, value := range []string{"1", "2"} {
			if _, err := put(t, store, key, value); err != nil {
				t.Errorf("Put with what the page says = %v; want nil", err)
			}
		}
		less := map[string]string{"Owner": "Maintainer", "Maintainer": "Developer"}[role]
		l.grants(goodToken, given(less, scope))
		_, err = put(t, store, key, "3")
		wantPermanent(t, "Put as "+less, err, "role "+role, "scope api")
		wantPermanent(t, "CheckWrite as "+less, store.CheckWrite(t.Context(), key), "role "+role)
		l.grants(goodToken, given(role, "read_api"))
		_, err = put(t, store, key, "3")
		wantPermanent(t, "Put with read_api", err, "scope api")
		wantPermanent(t, "CheckWrite with read_api", store.CheckWrite(t.Context(), key), "scope api")
		wantPermanent(t, "Ping with read_api", store.Ping(t.Context()), "scope api")
		l.grants(goodToken, grant{scopes: []string{scope}})
		_, err = store.Get(t.Context(), key)
		wantPermanent(t, "Get of no member", err, "not there")
	}
}

// The operator replaces the token's file, in the middle of a write too.
func TestTokenIsReplaced(t *testing.T) {
	l := newLab(t)
	store := opened(t, l.server.URL, goodToken)
	replaced := false
	l.hooks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && !replaced {
			replaced = true
			l.tokens = map[string]grant{"glpat-new": everything()}
			if err := os.WriteFile(store.config.Token.File, []byte("glpat-new\n"), 0o600); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	if _, err := put(t, store, key, "v"); err != nil || !replaced || l.written() != 2 {
		t.Errorf("Put = %v, replaced %v, %d writes; want nil and 2", err, replaced, l.written())
	}
	l.grants("glpat-other", everything())
	wantPermanent(t, "Ping", store.Ping(t.Context()), "CI_JOB_TOKEN")
	odd := opened(t, l.server.URL, "s3cr3t\nX: y")
	wantPermanent(t, "Ping with no token", odd.Ping(t.Context()), "characters that no token has")
}

func TestRateLimits(t *testing.T) {
	reset := strconv.FormatInt(time.Now().Add(5*time.Minute).Unix(), 10)
	for name, headers := range map[string]map[string]string{
		"Retry-After": {"Retry-After": "300", "RateLimit-Reset": "1"},
		"reset":       {"RateLimit-Remaining": "0", "RateLimit-Reset": reset},
	} {
		l := newLab(t)
		l.hooks(func(w http.ResponseWriter, r *http.Request) bool {
			for k, v := range headers {
				w.Header().Set(k, v)
			}
			if r.Method == http.MethodPost {
				http.Error(w, "Retry later s3cr3t", http.StatusTooManyRequests)
			}
			return r.Method == http.MethodPost
		})
		_, err := put(t, opened(t, l.server.URL, goodToken), key, "v")
		wait := time.Until(rotator.RetryTime(err))
		if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || wait < 4*time.Minute || wait > 5*time.Minute || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Put = %v, no effect %v, again in %v; want 5 minutes", name, err, rotator.HadNoEffect(err), wait)
		}
	}
}
