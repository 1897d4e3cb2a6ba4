package httpissuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

const valueCanary = "canary-new-value"

// serve answers every request with h and counts them.
func serve(t testing.TB, h http.HandlerFunc) (string, *atomic.Int64) {
	t.Helper()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		h(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, &calls
}

func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// endless trickles an answer until the client gives up.
func endless(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusOK)
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(`{"data":`)); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(time.Millisecond):
		}
	}
}

// noSecret fails on an error that shows a canary in any format.
func noSecret(t *testing.T, err error) {
	t.Helper()
	if shown := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(shown, "canary") {
		t.Errorf("the error shows a secret: %s", shown)
	}
}

var (
	params  = rotator.Params{"datasource": "ds"}
	issue   = rotator.IssueRequest{Token: "crm", Params: params, Marker: rotator.Marker("crm", "01A")}
	listing = rotator.ListRequest{Token: "crm", Params: params}
	check   = rotator.CheckRequest{Token: "crm", Params: params, Value: rotator.NewSecret(valueCanary)}
)

func revoking(id string) rotator.RevokeRequest {
	return rotator.RevokeRequest{Token: "crm", Params: params, Credential: rotator.Credential{ID: id}}
}

// effect says how an error classifies itself.
func effect(err error) string {
	switch {
	case err == nil:
		return "done"
	case rotator.IsPermanent(err):
		return "permanent"
	case rotator.HadNoEffect(err):
		return "unsent"
	}
	return "in doubt"
}

func TestIssueAnswers(t *testing.T) {
	whole := `{"data": {"id": 1, "secret": "` + valueCanary + `", "expires_at": %s}}`
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		effect string
		want   string // of the error
	}{
		{"whole", says(201, fmt.Sprintf(whole, `"2027-01-02T03:04:05+01:00"`)), "done", ""},
		{"not JSON", says(200, "<html>"+valueCanary), "in doubt", "create.id: body.data.id: the answer is not JSON"},
		{"nothing", says(204, ""), "in doubt", "create.id: body.data.id: the answer is not JSON"},
		{"more after the JSON", says(200, fmt.Sprintf(whole, "1")+"{}"), "in doubt", "create.id: body.data.id: the answer is not JSON"},
		{"no data", says(200, `{"canary": 1}`), "in doubt", `create.id: body.data.id: no such key "data"`},
		{"no ID", says(200, `{"data": {"secret": "canary"}}`), "in doubt", `create.id: body.data.id: no such key "id"`},
		{"ID of another type", says(200, `{"data": {"id": {"canary": 1}, "secret": "canary"}}`), "in doubt", "create.id: body.data.id: is neither a string nor a whole number"},
		{"ID with a fraction", says(200, `{"data": {"id": 1.5, "secret": "canary"}}`), "in doubt", "create.id: body.data.id: is neither a string nor a whole number"},
		{"ID is null", says(200, `{"data": {"id": null, "secret": "canary"}}`), "in doubt", "create.id: body.data.id: is empty or null"},
		{"no value", says(200, `{"data": {"id": "x"}}`), "in doubt", `create.value: body.data.secret: no such key "secret"`},
		{"empty value", says(200, `{"data": {"id": "x", "secret": ""}}`), "in doubt", "create.value: body.data.secret: is empty or null"},
		{"value of another type", says(200, `{"data": {"id": "x", "secret": 12345}}`), "in doubt", "create.value: body.data.secret: is not a string"},
		{"expiry that is none", says(200, fmt.Sprintf(whole, `"canary"`)), "in doubt", "create.expires_at: body.data.expires_at: is not an RFC 3339 time"},
		{"expiry in milliseconds", says(200, fmt.Sprintf(whole, `1795000000000`)), "in doubt", "create.expires_at: body.data.expires_at: is not in Unix seconds; divide milliseconds by 1000"},
		{"huge", says(200, strings.Repeat(valueCanary, 1<<17)), "in doubt", "read answer of status 200: longer than 1048576 bytes"},
		{"huge refusal", says(403, strings.Repeat(valueCanary, 1<<17)), "permanent", "answered 403 forbidden"},
		{"bad request", says(400, valueCanary), "permanent", "answered 400 bad request"},
		{"log-in refused", says(401, valueCanary), "permanent", "answered 401 unauthorized"},
		{"conflict", says(409, valueCanary), "permanent", "answered 409 conflict"},
		{"request time-out", says(408, valueCanary), "in doubt", "answered 408 request timeout"},
		{"too many", says(429, valueCanary), "unsent", "answered 429 too many requests"},
		{"broken", says(500, valueCanary), "in doubt", "answered 500 internal server error"},
		{"redirect", says(302, "", "Location", "/login?canary"), "permanent", "answered 302 found"},
		{"redirect to another host", says(307, "", "Location", "https://canary.example.com/"), "permanent", "answered 307 temporary redirect"},
		{"hung up", func(w http.ResponseWriter, _ *http.Request) { hangUp(t, w) }, "in doubt", "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, calls := serve(t, test.answer)
			made, err := open1(t, example(t, url)).Issue(t.Context(), issue)
			noSecret(t, err)
			if got := effect(err); got != test.effect {
				t.Errorf("Issue() = %v, which is %s; want %s", err, got, test.effect)
			}
			if err != nil && err.Error() != "create credential: "+test.want {
				t.Errorf("Issue() = %q; want %q", err, "create credential: "+test.want)
			}
			if err != nil && made.Known() {
				t.Errorf("Issue() = %+v besides an error", made)
			}
			if got := calls.Load(); got != 1 {
				t.Errorf("%d calls; want 1", got)
			}
		})
	}
}

func TestEndlessAnswer(t *testing.T) {
	url, _ := serve(t, endless)
	c := example(t, url)
	c.Timeout = rotator.Duration(50 * time.Millisecond)
	_, err := open1(t, c).Issue(t.Context(), issue)
	noSecret(t, err)
	if got := effect(err); got != "in doubt" || !strings.Contains(err.Error(), "read answer of status 200") {
		t.Errorf("Issue() = %v, which is %s; want in doubt while the answer is read", err, got)
	}
}

func TestRetryTime(t *testing.T) {
	at := time.Now().Add(time.Minute).Truncate(time.Second)
	url, _ := serve(t, says(429, "", "X-RateLimit-Reset", strconv.FormatInt(at.Unix(), 10)))
	made := open1(t, example(t, url))
	_, err := made.Issue(t.Context(), issue)
	if got := rotator.RetryTime(err); !got.Equal(at) {
		t.Errorf("Issue(429): retry at %v; want %v", got, at)
	}
	verdict, err := made.Check(t.Context(), check)
	if got := rotator.RetryTime(err); verdict != rotator.Unknown || !got.Equal(at) {
		t.Errorf("Check(429) = %v, %v, retry at %v; want unknown and %v", verdict, err, got, at)
	}
}

// What services answer for IDs and times, and what becomes of it.
func TestIssueReads(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		id, expires, scopes string // JSON
		wantID              string
		wantExpires         time.Time
		wantScopes          []string
	}{
		{`"a/b"`, `null`, `null`, "a/b", time.Time{}, nil},
		{`0`, `""`, `[]`, "0", time.Time{}, []string{}},
		{`9007199254740993`, `0`, `["a", "b"]`, "9007199254740993", time.Time{}, []string{"a", "b"}},
		{`18446744073709551615`, `"2027-01-02T04:04:05+01:00"`, `"a  b"`, "18446744073709551615", at, []string{"a", "b"}},
		{`123456789012345678901234567890`, strconv.FormatInt(at.Unix(), 10), `""`, "123456789012345678901234567890", at, []string{}},
		{`-1`, strconv.FormatInt(at.Unix(), 10) + ".5", `null`, "-1", at, nil},
	} {
		url, _ := serve(t, says(201, fmt.Sprintf(`{"data": {"id": %s, "secret": "v\n", "expires_at": %s, "scopes": %s, "name": "n"}}`, test.id, test.expires, test.scopes)))
		c := example(t, url)
		c.Create.Scopes, c.Create.Name = "body.data.scopes", "body.data.name"
		got, err := open1(t, c).Issue(t.Context(), issue)
		if err != nil {
			t.Errorf("Issue(ID %s) = %v", test.id, err)
			continue
		}
		if since := time.Since(got.IssuedAt); since < 0 || since > time.Hour {
			t.Errorf("Issue(ID %s) was at %v; want now", test.id, got.IssuedAt)
		}
		got.IssuedAt = time.Time{}
		want := rotator.Credential{
			ID: test.wantID, Name: "n", Value: rotator.NewSecret("v\n"), Fingerprint: rotator.FingerprintOf("v\n"),
			ExpiresAt: test.wantExpires, Scopes: test.wantScopes,
		}
		same := cmp.Comparer(func(a, b rotator.Secret) bool { return a.Reveal() == b.Reveal() })
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("Issue(ID %s): -want +got\n%s", test.id, diff)
		}
	}
	url, _ := serve(t, says(201, `{"data": {"id": 1, "secret": "v"}}`))
	if got, err := open1(t, example(t, url)).Issue(t.Context(), issue); err != nil || !got.ExpiresAt.IsZero() || got.Name != issue.Marker {
		t.Errorf("Issue(without expiry and name) = %+v, %v; want neither an expiry nor an error, and the marker as name", got, err)
	}
}

func TestRevokeAnswers(t *testing.T) {
	for _, test := range []struct {
		answer http.HandlerFunc
		effect string
	}{
		{says(200, "<html>"), "done"},
		{says(202, ""), "done"},
		{says(204, ""), "done"},
		{says(200, strings.Repeat("x", 2<<20)), "done"},
		{says(404, "canary"), "done"},
		{says(410, ""), "done"},
		{says(302, "", "Location", "/login"), "permanent"},
		{says(400, ""), "permanent"},
		{says(401, ""), "permanent"},
		{says(403, ""), "permanent"},
		{says(429, ""), "unsent"},
		{says(500, ""), "in doubt"},
		{says(503, "", "Retry-After", "5"), "in doubt"},
		{func(w http.ResponseWriter, _ *http.Request) { hangUp(t, w) }, "in doubt"},
	} {
		url, _ := serve(t, test.answer)
		err := open1(t, example(t, url)).Revoke(t.Context(), revoking("x"))
		noSecret(t, err)
		if got := effect(err); got != test.effect {
			t.Errorf("Revoke() = %v, which is %s; want %s", err, got, test.effect)
		}
	}
}

// An ID comes from the service or from a person: whatever it holds, the call
// ends this credential or none.
func TestIDsStayInTheirPlace(t *testing.T) {
	for _, test := range []struct{ id, want string }{
		{"plain-1_2.3~4", "/datasources/ds/tokens/plain-1_2.3~4"},
		{"a/b", "/datasources/ds/tokens/a%2Fb"},
		{"a?b=c&d#e", "/datasources/ds/tokens/a%3Fb%3Dc%26d%23e"},
		{"a b+c%2F", "/datasources/ds/tokens/a%20b%2Bc%252F"},
		{"ñ\n", "/datasources/ds/tokens/%C3%B1%0A"},
		{"...", "/datasources/ds/tokens/..."},
		{"..", ""},
		{".", ""},
		{"../x", ""},
		{"a/../../x", ""},
		{`a\..\x`, ""},
		{"", ""},
	} {
		asked := make(chan string, 1)
		url, calls := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked <- r.RequestURI
			w.WriteHeader(http.StatusNoContent)
		})
		err := open1(t, example(t, url)).Revoke(t.Context(), revoking(test.id))
		if test.want == "" {
			if !rotator.IsPermanent(err) || calls.Load() != 0 {
				t.Errorf("Revoke(%q) = %v after %d calls; want a Permanent error and none", test.id, err, calls.Load())
			}
			continue
		}
		if err != nil {
			t.Errorf("Revoke(%q) = %v", test.id, err)
			continue
		}
		if got := <-asked; got != test.want {
			t.Errorf("Revoke(%q) asked for %q; want %q", test.id, got, test.want)
		}
	}
}

// In a body, an empty ID would go unnoticed by the escaping of paths.
func TestRevokeWithoutID(t *testing.T) {
	url, calls := serve(t, says(204, ""))
	c := example(t, url)
	c.Revoke = Revoke{Method: "POST", Path: "/revoke", Body: `{"id": {{ json .id }}}`}
	if err := open1(t, c).Revoke(t.Context(), revoking("")); !rotator.IsPermanent(err) || calls.Load() != 0 {
		t.Errorf("Revoke(no ID) = %v after %d calls; want a Permanent error and none", err, calls.Load())
	}
}

func TestBodiesEscape(t *testing.T) {
	const id = `x", "all": "true&y=1`
	for _, test := range []struct{ kind, body, want string }{
		{"", `{"id": "{{ .id }}"}`, `{"id": "x\", \"all\": \"true&y=1"}`},
		{"application/vnd.x+json", `{"id": {{ json .id }}}`, `{"id": "x\", \"all\": \"true&y=1"}`},
		{"application/x-www-form-urlencoded", `id={{ .id }}`, `id=x%22%2C+%22all%22%3A+%22true%26y%3D1`},
		{"application/x-www-form-urlencoded", `id={{ query .id }}`, `id=x%22%2C%20%22all%22%3A%20%22true%26y%3D1`},
		{"text/plain", `{{ .id }}`, id},
	} {
		asked := make(chan [2]string, 1)
		url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body := make([]byte, 1000)
			n, _ := r.Body.Read(body)
			asked <- [2]string{r.Header.Get("Content-Type"), string(body[:n])}
			w.WriteHeader(http.StatusNoContent)
		})
		c := example(t, url)
		c.Revoke = Revoke{Method: "POST", Path: "/revoke", Body: test.body}
		if test.kind != "" {
			c.Headers["Content-Type"] = test.kind
		}
		c.Create.Headers = map[string]string{"Content-Type": "application/json"}
		if err := open1(t, c).Revoke(t.Context(), revoking(id)); err != nil {
			t.Errorf("Revoke(%s) = %v", test.body, err)
			continue
		}
		want := [2]string{test.kind, test.want}
		if test.kind == "" {
			want[0] = "application/json"
		}
		if got := <-asked; got != want {
			t.Errorf("Revoke(%s) sent %q; want %q", test.body, got, want)
		}
	}
}

func TestBeforeTheCall(t *testing.T) {
	url, calls := serve(t, says(500, ""))
	for _, test := range []struct {
		name, effect, want string
		change             func(*Config)
	}{
		{
			"secret that isn't there", "unsent", `create.headers.Authorization: secret "admin": read secret: environment variable "ROTATORD_TEST_NONE" is not set`,
			func(c *Config) { c.Secrets["admin"] = rotator.SecretSource{Env: "ROTATORD_TEST_NONE"} },
		},
		{
			"secret of two lines", "permanent", "create.headers.Authorization: holds a control character, such as a line break",
			func(c *Config) { c.Secrets["admin"] = secretFile(t, "canary\r\nX-Evil: canary") },
		},
		{
			"secret in the URL, refused", "unsent", "",
			func(c *Config) {
				c.Create.Path, c.BaseURL = "/tokens?key={{ secret `admin` }}", nobody(t)
			},
		},
		{
			"param that is missing", "permanent", `create.path: no param "nothing"`,
			func(c *Config) { c.Create.Path = "/{{ .params.nothing }}" },
		},
	} {
		c := example(t, url)
		test.change(&c)
		_, err := open1(t, c).Issue(t.Context(), issue)
		noSecret(t, err)
		if effect(err) != test.effect || test.want != "" && err.Error() != "create credential: "+test.want {
			t.Errorf("%s: Issue() = %v, which is %s; want %s, %q", test.name, err, effect(err), test.effect, test.want)
		}
	}
	if got := calls.Load(); got != 0 {
		t.Errorf("%d calls; want none", got)
	}
}

func TestRateLimit(t *testing.T) {
	url, calls := serve(t, says(204, ""))
	c := example(t, url)
	c.RateLimit = 1e-6
	made := open1(t, c)
	if err := made.Revoke(t.Context(), revoking("x")); err != nil {
		t.Errorf("Revoke(first) = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := made.Revoke(ctx, revoking("x")); effect(err) != "unsent" {
		t.Errorf("Revoke(beyond the limit) = %v, which is %s; want unsent", err, effect(err))
	}
	if got := calls.Load(); got != 1 {
		t.Errorf("%d calls; want 1", got)
	}
}

func TestCancelledWhileItRuns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server doesn't see the client go
		cancel()
		<-r.Context().Done()
	})
	_, err := open1(t, example(t, url)).Issue(ctx, issue)
	if !errors.Is(err, context.Canceled) || effect(err) != "in doubt" {
		t.Errorf("Issue() = %v, which is %s; want context.Canceled, in doubt", err, effect(err))
	}
}
