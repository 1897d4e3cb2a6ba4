package httpissuer

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

func TestCheckAnswers(t *testing.T) {
	withBody := func(c *Config) {
		c.Check.Live = "status == 200 && body.active"
		c.Check.Dead = "status == 401 || (status == 403 && body.message.contains('No token'))"
	}
	both := func(c *Config) { c.Check.Live, c.Check.Dead = "status >= 0", "status >= 0" }
	greedy := func(c *Config) { c.Check.Dead = "status >= 400" }
	for _, test := range []struct {
		name    string
		change  func(*Config)
		answer  http.HandlerFunc
		verdict rotator.Verdict
		want    string // of the error
	}{
		{"live", nil, says(200, "not JSON"), rotator.Live, ""},
		{"dead", nil, says(401, ""), rotator.Dead, ""},
		{"neither", nil, says(403, "canary"), rotator.Unknown, "answered 403: neither check.live nor check.dead is true"},
		{"both", both, says(200, ""), rotator.Unknown, "answered 200: check.live and check.dead are both true"},
		{"body says live", withBody, says(200, `{"active": true}`), rotator.Live, ""},
		{"body says not", withBody, says(200, `{"active": false}`), rotator.Unknown, "answered 200: neither check.live nor check.dead is true"},
		{"body without the key", withBody, says(200, `{"canary": 1}`), rotator.Unknown, `check.live: status == 200 && body.active: no such key "active"`},
		{"body of another type", withBody, says(200, `{"active": "canary"}`), rotator.Unknown, "check.live: status == 200 && body.active: the answer holds another type there"},
		{"body that is none, not needed", withBody, says(401, "<html>"), rotator.Dead, ""},
		{"body that is none", withBody, says(403, "<html>"), rotator.Unknown, "check.dead: status == 401 || (status == 403 && body.message.contains('No token')): the answer is not JSON"},
		{"message says dead", withBody, says(403, `{"message": "No token could be found"}`), rotator.Dead, ""},
		{"outage is never dead", greedy, says(502, ""), rotator.Unknown, "answered 502 bad gateway"},
		{"limit is never dead", greedy, says(429, ""), rotator.Unknown, "answered 429 too many requests"},
		{"time-out is never dead", greedy, says(408, ""), rotator.Unknown, "answered 408 request timeout"},
		{"log-in page is never live", nil, says(302, "", "Location", "/login"), rotator.Unknown, "answered 302: neither check.live nor check.dead is true"},
		{"huge", nil, says(200, strings.Repeat("canary", 1<<18)), rotator.Unknown, "read answer of status 200: longer than 1048576 bytes"},
		{"hung up", nil, func(w http.ResponseWriter, _ *http.Request) { hangUp(t, w) }, rotator.Unknown, "EOF"},
		{
			"much work", func(c *Config) { c.Check.Live = "body.all(a, body.all(b, body.all(c, body.all(d, true))))" },
			says(200, "["+strings.Repeat("1,", 2000)+"1]"), rotator.Unknown, "check.live: body.all(a, body.all(b, body.all(c, body.all(d, true)))): takes too much work on this answer",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, calls := serve(t, test.answer)
			c := example(t, url)
			if test.change != nil {
				test.change(&c)
			}
			verdict, err := open1(t, c).Check(t.Context(), check)
			noSecret(t, err)
			want := ""
			if test.want != "" {
				want = "check credential: " + test.want
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			// A GET whose connection dies may be sent once more by net/http.
			if verdict != test.verdict || got != want || calls.Load() > 2 {
				t.Errorf("Check() = %v, %q after %d calls; want %v, %q", verdict, got, calls.Load(), test.verdict, want)
			}
		})
	}
}

// The admin log-in must not answer for the credential.
func TestCheckGoesWithoutTheLogIn(t *testing.T) {
	asked := make(chan http.Header, 1)
	url, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header })
	c := example(t, url)
	c.Headers["X-Admin"] = "yes"
	if verdict, err := open1(t, c).Check(t.Context(), check); verdict != rotator.Live {
		t.Errorf("Check() = %v, %v; want live", verdict, err)
	}
	got := <-asked
	if got.Get("Authorization") != "Bearer "+valueCanary || got.Get("X-Admin") != "" {
		t.Errorf("Check() sent %v; want the credential's header only", got)
	}
	if _, err := open1(t, c).Check(t.Context(), rotator.CheckRequest{Params: params}); !rotator.IsPermanent(err) {
		t.Errorf("Check(no value) = %v; want a Permanent error", err)
	}
}

func TestScopes(t *testing.T) {
	for _, test := range []struct {
		answer http.HandlerFunc
		want   []string
		ok     bool
	}{
		{says(200, `{"token": {"scopes": ["b", "a"]}}`), []string{"b", "a"}, true},
		{says(200, `{"token": {"scopes": "a b"}}`), []string{"a", "b"}, true},
		{says(200, `{"token": {}}`), nil, true}, // the service can't tell
		{says(200, `{"token": {"scopes": [1]}}`), nil, false},
		{says(200, `canary`), nil, false},
		{says(401, `{"token": {"scopes": ["a"]}}`), nil, false},
		{says(500, `{"token": {"scopes": ["a"]}}`), nil, false},
	} {
		url, _ := serve(t, test.answer)
		c := example(t, url)
		c.Check.Scopes = "body.token.scopes"
		got, err := as[rotator.Scoper](t, open1(t, c)).Scopes(t.Context(), check)
		noSecret(t, err)
		if diff := cmp.Diff(test.want, got); diff != "" || (err == nil) != test.ok {
			t.Errorf("Scopes() = %v, %v; want %v", got, err, test.want)
		}
	}
}
