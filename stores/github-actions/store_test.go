package githubactionsstore

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

const (
	key    = "acme/crm#INSTASENT_TOKEN"
	orgKey = "org:acme#INSTASENT_TOKEN"
)

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "github-actions" {
		t.Errorf("the example is of type %q, %v; want github-actions", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	env := rotator.SecretSource{Env: "X"}
	fine := Config{BaseURL: "http://hub:8080/api/v3", AllowHTTP: true, Visibility: "all", Auth: Auth{Method: "token", Token: env}}
	if err := fine.Validate(); err != nil {
		t.Errorf("Validate() = %v; want nil", err)
	}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing": {Config{}, []string{`auth.method: "" is not one of app, token`}},
		"app": {
			Config{BaseURL: "hub", Visibility: "public", Auth: Auth{Method: "app", Token: env, InstallationID: -1}},
			[]string{"base_url: must be a URL", `visibility: "public"`, "auth.app_id: is needed", "auth.private_key: is needed", "auth.token: does not go", "auth.installation_id: must be"},
		},
		"token": {
			Config{BaseURL: "https://u:s3cr3t@hub?q", Auth: Auth{Method: "token", Token: rotator.SecretSource{Env: "A", File: "b"}, AppID: "1"}},
			[]string{"base_url: must not have a user", "auth.app_id: does not go", "auth.token: a secret names exactly one"},
		},
		"pages":  {Config{BaseURL: "https://github.com", Auth: Auth{Method: "token", Token: env}}, []string{"base_url: is the address of the pages"}},
		"no TLS": {Config{BaseURL: "http://hub/api/v3", Auth: Auth{Method: "token", Token: env}}, []string{"base_url: must be https"}},
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
	if !errors.Is(err, errors.ErrUnsupported) {
		return rotator.Version{}, err
	}
	return store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret(value), Prev: now.ID, Attempt: "a"})
}

func mustPut(t *testing.T, store *Store, key, value string) rotator.Version {
	t.Helper()
	version, err := put(t, store, key, value)
	if err != nil {
		t.Fatalf("Put(%q) = %v; want no error", key, err)
	}
	return version
}

func (h *hub) writes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(h.asked), func(a string) bool { return !strings.HasPrefix(a, "PUT ") }))
}

// The version is the time of GitHub; of a secret that is not there it is empty.
func TestEvidence(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	version, err := store.Get(t.Context(), key)
	if !errors.Is(err, errors.ErrUnsupported) || version != (rotator.Version{}) {
		t.Errorf("Get of no secret = %v, %v; want the zero version", version, err)
	}
	secret := h.set(t, key, "old")
	version, err = store.Get(t.Context(), key)
	if !errors.Is(err, errors.ErrUnsupported) || !version.At.Equal(secret.updated) || version.ID != secret.updated.Format(time.RFC3339) {
		t.Errorf("Get = %q at %v, %v; want the time of the last update, %v", version.ID, version.At, err, secret.updated)
	}
	made := mustPut(t, store, key, "new")
	if again, _ := store.Get(t.Context(), key); again != made || !made.At.After(version.At) {
		t.Errorf("after a Put that answers %v Get answers %v", made, again)
	}
	for _, lost := range []string{"acme/other#A", "acme/crm@staging#A", "org:other#A"} {
		version, err := store.Get(t.Context(), lost)
		if !rotator.IsPermanent(err) || errors.Is(err, errors.ErrUnsupported) || version.ID != "" || !strings.Contains(err.Error(), "not there") {
			t.Errorf("Get(%q) = %v; want an error: there is no such place", lost, err)
		}
	}
}

// Times have whole seconds: two writes never fall into the same one.
func TestSameSecond(t *testing.T) {
	h := newHub(t)
	h.realTime = true
	store := opened(t, h.server.URL, goodToken)
	seen := map[string]bool{}
	for _, value := range []string{"1", "2", "3"} {
		seen[mustPut(t, store, key, value).ID] = true
	}
	if len(seen) != 3 {
		t.Errorf("3 writes one after another have the versions %v; want 3", seen)
	}

	h.realTime, h.stopped = false, true // a clock that does not go on, or an answer from a copy that lags behind
	h.secrets[path(t, key)].updated = h.clock
	_, err := put(t, store, key, "4")
	if err == nil || rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "not show it yet") {
		t.Errorf("Put that can't be told apart = %v, no effect %v; want one in doubt", err, rotator.HadNoEffect(err))
	}
}

func TestAttemptTwice(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	w := rotator.Write{Value: rotator.NewSecret("v"), Attempt: "a"}
	one, err := store.Put(t.Context(), key, w)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := store.Put(t.Context(), key, w); err != nil || again != one || h.writes() != 1 {
		t.Errorf("the same attempt again = %v, %v after %d writes; want %v and 1", again, err, h.writes(), one)
	}
	h.set(t, key, "of somebody else")
	if _, err := store.Put(t.Context(), key, w); !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("the same attempt after a foreign write = %v; want ErrConflict", err)
	}

	// After a crash nothing is remembered: the time is read, and the value written again.
	after := opened(t, h.server.URL, goodToken)
	if _, err := after.Put(t.Context(), key, w); !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("the same attempt of a new process = %v; want ErrConflict", err)
	}
	mustPut(t, after, key, "v")
	if value, _ := h.read(t, key); value != "v" || len(h.secrets) != 1 {
		t.Errorf("there are %d secrets, with value %q; want one with v", len(h.secrets), value)
	}
}

func TestOrganisationKeepsWhoMayUseIt(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	mustPut(t, store, orgKey, "made")
	secret := h.secrets[path(t, orgKey)]
	if secret.visibility != "private" {
		t.Errorf("a new secret is visible to %q; want private", secret.visibility)
	}
	secret.visibility = "all"
	mustPut(t, store, orgKey, "2")
	many := make([]int64, 2*pageSize+7)
	for i := range many {
		many[i] = int64(1000 + i)
	}
	for _, ids := range [][]int64{many, many[:pageSize], {}} {
		if secret.visibility != "all" && secret.visibility != "selected" {
			t.Errorf("the visibility became %q", secret.visibility)
		}
		secret.visibility, secret.repositories = "selected", slices.Clone(ids)
		mustPut(t, store, orgKey, "of "+string(rune('a'+len(ids))))
		if diff := cmp.Diff(ids, secret.repositories); diff != "" || secret.visibility != "selected" {
			t.Errorf("the selected repositories changed (-before +after), visibility %q:\n%s", secret.visibility, diff)
		}
	}
	secret.repositories, h.selects = []int64{1, 2, 3}, []int64{3} // the last is hidden from the log-in
	_, err := put(t, store, orgKey, "s3cr3t")
	for call, err := range map[string]error{"Put": err, "CheckWrite": store.CheckWrite(t.Context(), orgKey)} {
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "2 of 3") || len(secret.repositories) != 3 {
			t.Errorf("%s with a hidden repository = %v, %v are left; want a permanent error", call, err, secret.repositories)
		}
	}

	nobody := opened(t, h.server.URL, goodToken, func(c *Config) { c.Visibility = "selected" })
	mustPut(t, nobody, "org:acme#OTHER", "v")
	if made := h.secrets[path(t, "org:acme#OTHER")]; made.visibility != "selected" || len(made.repositories) != 0 {
		t.Errorf("with visibility: selected it is visible to %q, %v; want selected, nobody", made.visibility, made.repositories)
	}
}

// GitHub exchanges its key between two calls: nothing was written, and the next try does it.
func TestStaleKey(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken)
	exchanged := false
	h.hooks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && !exchanged {
			exchanged = true
			h.newKey()
		}
		return false
	})
	if _, err := put(t, store, key, "v"); err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "public key") {
		t.Errorf("Put with a stale key = %v; want one without effect that can be tried again", err)
	}
	mustPut(t, store, key, "v")
}

func TestRefusedWrites(t *testing.T) {
	h := newHub(t)
	store := opened(t, h.server.URL, goodToken, func(c *Config) { c.Create = false })
	_, err := put(t, store, key, "s3cr3t")
	for call, err := range map[string]error{"Put": err, "CheckWrite": store.CheckWrite(t.Context(), key)} {
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "create: true") {
			t.Errorf("%s of no secret without create = %v; want a permanent error that names it", call, err)
		}
	}
	store = opened(t, h.server.URL, goodToken)
	mustPut(t, store, key, strings.Repeat("x", maxValue))
	for _, value := range []string{"", strings.Repeat("s3cr3t", maxValue/6+1)} {
		if _, err := put(t, store, key, value); !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("Put of %d bytes = %v; want a permanent error", len(value), err)
		}
	}
	h.hooks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			h.answer(w, http.StatusUnprocessableEntity, map[string]string{"message": "no"})
		}
		return r.Method == http.MethodPut
	})
	for full, limit := range map[string]string{"acme/crm#FULL": "at most 100", "org:acme#FULL": "at most 1000"} {
		if _, err := put(t, store, full, "v"); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), limit) || !strings.Contains(err.Error(), "422") {
			t.Errorf("Put into a full place = %v; want a permanent error with the limit", err)
		}
	}
}

func TestRateLimits(t *testing.T) {
	reset := time.Now().Add(5 * time.Minute).Truncate(time.Second)
	for name, test := range map[string]struct {
		status  int
		headers map[string]string
		body    string
		from    time.Duration // until the wanted time, at least
		to      time.Duration
	}{
		"primary":                   {403, map[string]string{"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": itoa(reset)}, `{"message":"API rate limit exceeded"}`, 4 * time.Minute, 5 * time.Minute},
		"primary, 429":              {429, map[string]string{"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": itoa(reset)}, `{}`, 4 * time.Minute, 5 * time.Minute},
		"secondary":                 {403, map[string]string{"Retry-After": "90", "X-Ratelimit-Remaining": "4000"}, `{"message":"s3cr3t"}`, 80 * time.Second, 90 * time.Second},
		"secondary without headers": {403, nil, `{"message":"You have exceeded a secondary rate limit s3cr3t"}`, 50 * time.Second, time.Minute},
		"secondary, 429":            {429, nil, `{"documentation_url":"https://docs.github.com/rest/x#secondary-rate-limits"}`, 50 * time.Second, time.Minute},
	} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			h := newHub(t)
			store := opened(t, h.server.URL, goodToken)
			h.hooks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != method {
					return false
				}
				for k, v := range test.headers {
					w.Header().Set(k, v)
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
				return true
			})
			_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("v")})
			wait := time.Until(rotator.RetryTime(err))
			if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || wait < test.from || wait > test.to || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s, %s: %v, no effect %v, again in %v; want %v", name, method, err, rotator.HadNoEffect(err), wait, test.to)
			}
		}
	}
}

func itoa(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// The answer of a write is lost, or that of the look after it: both are in doubt.
func TestLostAnswers(t *testing.T) {
	for _, lost := range []string{"write", "look", "unavailable"} {
		h := newHub(t)
		wrote := atomic.Bool{}
		between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut:
				wrote.Store(true)
				if lost == "write" {
					h.server.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
					panic(http.ErrAbortHandler)
				}
			case wrote.Load() && lost == "look":
				panic(http.ErrAbortHandler)
			case wrote.Load() && lost == "unavailable":
				w.Header().Set("Retry-After", "60")
				http.Error(w, "s3cr3t", http.StatusTooManyRequests)
				return
			}
			h.server.Config.Handler.ServeHTTP(w, r)
		}))
		t.Cleanup(between.Close)
		store := opened(t, between.URL, goodToken)
		_, err := put(t, store, key, "s3cr3t-value")
		if err == nil || rotator.HadNoEffect(err) || rotator.IsPermanent(err) || strings.Contains(err.Error(), "http") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Put = %v, no effect %v; want one in doubt, without URL and value", lost, err, rotator.HadNoEffect(err))
		}
		if wait := rotator.RetryTime(err); (lost == "unavailable") == wait.IsZero() {
			t.Errorf("%s: Put asks to come back at %v", lost, wait)
		}
		mustPut(t, opened(t, h.server.URL, goodToken), key, "s3cr3t-value")
		if len(h.secrets) != 1 {
			t.Errorf("%s: there are %d secrets; want 1", lost, len(h.secrets))
		}
	}
}

// A renamed repository is not followed: a PUT behind a 301 would become a GET.
func TestMoved(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		h := newHub(t)
		store := opened(t, h.server.URL, goodToken)
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			h.hooks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == method {
					http.Redirect(w, r, base+"/repositories/1/actions/secrets/A", status)
				}
				return r.Method == method
			})
			_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("v")})
			if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "moved") || strings.Contains(err.Error(), "repositories") {
				t.Errorf("Put when %s answers %d = %v; want a permanent error", method, status, err)
			}
		}
	}
}

// What is not GitHub is no answer, and never a version.
func TestStrangeAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"a page": "<html>s3cr3t</html>", "nothing": "", "no time": `{"name":"A"}`, "too long": `{"name":"` + strings.Repeat("s3cr3t", 1<<18) + `"}`, "a list": "[1]",
	} {
		h := newHub(t)
		store := opened(t, h.server.URL, goodToken)
		h.hooks(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = bytes.NewBufferString(body).WriteTo(w)
			return true
		})
		version, err := store.Get(t.Context(), key)
		if err == nil || errors.Is(err, errors.ErrUnsupported) || rotator.IsPermanent(err) || version.ID != "" || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Get = %v, %v; want an error that can be tried again", name, version, err)
		}
	}
}

// A 5xx of the write is in doubt, one of a look before it had no effect.
func TestServerErrors(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		h := newHub(t)
		store := opened(t, h.server.URL, goodToken)
		h.hooks(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == method {
				h.answer(w, http.StatusBadGateway, map[string]string{"message": "Server Error"})
			}
			return r.Method == method
		})
		_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("v")})
		if err == nil || rotator.IsPermanent(err) || rotator.HadNoEffect(err) != (method == http.MethodGet) || !strings.Contains(err.Error(), "502") ||
			strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("Put when %s answers 502 = %v, no effect %v", method, err, rotator.HadNoEffect(err))
		}
	}
}
