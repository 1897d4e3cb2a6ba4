package instasent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/issuers/instasent"
	"github.com/rotatord/rotatord/rotator"
)

// canary stands in every answer: no error may pass it on.
const canary = "canary-of-the-body"

// checked is the value that is checked: no error may pass it on either.
const checked = "eyJhbGciOi.canary-of-the-credential"

var params = rotator.Params{"project": "proj_x", "datasource": "ds_y"}

func open(t *testing.T, c instasent.Config) rotator.Issuer {
	t.Helper()
	issuer, err := instasent.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// answering is an API that answers every call alike, and sees that it is asked properly.
func answering(t *testing.T, path string, status int, body string, header ...string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.EscapedPath() != path || r.URL.RawQuery != "" ||
			r.Header.Get("Authorization") != "Bearer "+checked {
			t.Errorf("asked %s %s with Authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1"
}

func check(t *testing.T, apiURL string, p rotator.Params) (rotator.Verdict, error) {
	t.Helper()
	return open(t, instasent.Config{APIURL: apiURL}).Check(t.Context(), rotator.CheckRequest{
		Token: "crm-sync", Params: p, Value: rotator.NewSecret(checked),
	})
}

func stream(project, datasource string) string {
	return fmt.Sprintf(`{"organization": {"name": %q, "account": {"funds": 7}}, "project": {"id": 12345678901234567890, "uid": %q},
		"datasource": {"id": "abc", "uid": %q}, "stream": {}, "token": {"type": "datasource", "scopes": ["b", "a"]}}`, canary, project, datasource)
}

func TestCheckTellsEveryStatusApart(t *testing.T) {
	const permanent, transient, fine = "permanent", "transient", "none"
	html := "<html>" + canary + "</html>"
	message := func(text string) string { return fmt.Sprintf(`{"message": %q, "more": %q}`, text, canary) }
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   rotator.Verdict
		err    string
		says   string // in the error
	}{
		{"live", 200, stream("proj_x", "ds_y"), rotator.Live, fine, ""},
		{"live by internal IDs", 200, `{"project": {"id": "proj_x"}, "datasource": {"id": "ds_y", "uid": "other"}}`, rotator.Live, fine, ""},
		{"another project", 200, stream("proj_other", "ds_y"), rotator.Live, permanent, `project "proj_x", datasource "ds_y": the token is live, but the service answered for project "proj_other", datasource "ds_y"`},
		{"another datasource", 200, stream("proj_x", "ds_other"), rotator.Live, permanent, `answered for project "proj_x", datasource "ds_other"`},
		{"no JSON", 200, html, rotator.Unknown, transient, "not the API's JSON"},
		{"nothing", 200, "", rotator.Unknown, transient, "not the API's JSON"},
		{"other JSON", 200, `{"ok": true}`, rotator.Unknown, transient, "without the project"},
		{"a list", 200, `[]`, rotator.Unknown, transient, "not the API's JSON"},
		{"odd IDs", 200, `{"project": {"uid": {}}, "datasource": {"uid": ["ds_y"]}}`, rotator.Unknown, transient, "without the project"},
		{"no datasource", 200, `{"project": {"uid": "proj_x"}}`, rotator.Unknown, transient, "without the project"},
		{"odd token", 200, `{"project": {"uid": "proj_x"}, "datasource": {"uid": "ds_y"}, "token": "odd"}`, rotator.Live, fine, ""},
		{"too long", 200, strings.Repeat(" ", 2<<20), rotator.Unknown, transient, "longer than"},
		{"accepted", 202, stream("proj_x", "ds_y"), rotator.Unknown, transient, "answered 202"},
		{"no content", 204, "", rotator.Unknown, transient, "answered 204"},
		{"redirect without a target", 302, html, rotator.Unknown, permanent, "answered 302"},
		{"bad request", 400, message("bad"), rotator.Unknown, transient, "answered 400"},
		{"dead", 401, message("Invalid credentials."), rotator.Dead, fine, ""},
		{"dead without a body", 401, "", rotator.Dead, fine, ""},
		{"forbidden dead", 403, message("No token could be found."), rotator.Dead, fine, ""},
		{"forbidden dead in capitals", 403, message("NO TOKEN COULD BE FOUND"), rotator.Dead, fine, ""},
		{"forbidden dead as error", 403, `{"error": "no token found"}`, rotator.Dead, fine, ""},
		{"forbidden dead in errors", 403, `{"message": null, "errors": ["odd", {"detail": "Token not found"}]}`, rotator.Dead, fine, ""},
		{"forbidden", 403, message("Not privileged to request the resource."), rotator.Live, permanent, "scope"},
		{"forbidden without a body", 403, "", rotator.Live, permanent, "scope"},
		{"forbidden by a firewall", 403, html + "no token could be found", rotator.Unknown, transient, "not the API's"},
		{"not found", 404, message("Resource not found."), rotator.Unknown, permanent, `project "proj_x", datasource "ds_y": answered 404`},
		{"unprocessable", 422, message("odd"), rotator.Unknown, transient, "answered 422"},
		{"limited", 429, "", rotator.Unknown, transient, "answered 429"},
		{"broken", 500, message("oops"), rotator.Unknown, transient, "answered 500"},
		{"bad gateway", 502, html, rotator.Unknown, transient, "answered 502"},
		{"away", 503, "", rotator.Unknown, transient, "answered 503"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			apiURL := answering(t, "/v1/project/proj_x/datasource/ds_y/stream", tc.status, tc.body)
			got, err := check(t, apiURL, params)
			if got != tc.want {
				t.Errorf("Check() = %v, %v; want %v", got, err, tc.want)
			}
			kind := fine
			if err != nil {
				kind = map[bool]string{true: permanent, false: transient}[rotator.IsPermanent(err)]
			}
			if kind != tc.err || (err != nil && !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("Check() error %v (%s); want %s with %q", err, kind, tc.err, tc.says)
			}
			if err != nil {
				noSecret(t, err.Error())
			}
		})
	}
}

func noSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{canary, checked, "127.0.0.1"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q holds %q", text, secret)
		}
	}
}

func TestCheckOfAProject(t *testing.T) {
	product := rotator.Params{"project": "proj_x", "kind": "product"}
	for _, tc := range []struct {
		body string
		want rotator.Verdict
		says string
	}{
		{`{"entity": {"uid": "proj_x"}, "metadata": {"scopes": ["b", "a"]}}`, rotator.Live, ""},
		{`{"entity": {"uid": "proj_other"}}`, rotator.Live, `answered for project "proj_other"`},
		{`{"project": {"uid": "proj_x"}}`, rotator.Unknown, "without the project"},
	} {
		got, err := check(t, answering(t, "/v1/project/proj_x", 200, tc.body), product)
		if got != tc.want || (err == nil) != (tc.says == "") || (err != nil && !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("Check(%s) = %v, %v; want %v, %q", tc.body, got, err, tc.want, tc.says)
		}
	}
	// With a datasource, the stream is asked for both kinds.
	product = rotator.Params{"project": "proj_x", "datasource": "ds y&", "kind": "product"}
	if got, err := check(t, "http://127.0.0.1:1/v1", product); got != rotator.Unknown || !rotator.IsPermanent(err) {
		t.Errorf("Check(%v) = %v, %v; want unknown and a permanent error", product, got, err)
	}
	product["datasource"] = "ds:y&"
	body := stream("proj_x", "ds:y&")
	if got, err := check(t, answering(t, "/v1/project/proj_x/datasource/ds:y&/stream", 200, body), product); got != rotator.Live || err != nil {
		t.Errorf("Check(%v) = %v, %v; want live", product, got, err)
	}
}

func TestScopes(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		params rotator.Params
		want   []string
		fails  bool
	}{
		{200, stream("proj_x", "ds_y"), params, []string{"a", "b", "type:datasource"}, false},
		{200, `{"entity": {"uid": "proj_x"}, "metadata": {"scopes": ["b", "a", "b"]}}`, rotator.Params{"project": "proj_x", "kind": "product"}, []string{"a", "b"}, false},
		{200, `{"project": {"uid": "proj_x"}, "datasource": {"uid": "ds_y"}}`, params, nil, false},
		{200, `{"project": {"uid": "proj_x"}, "datasource": {"uid": "ds_y"}, "token": {"scopes": "a b"}}`, params, nil, false},
		{401, "", params, nil, true},
		{500, "", params, nil, true},
	} {
		path := "/v1/project/proj_x"
		if tc.params["datasource"] != "" {
			path += "/datasource/ds_y/stream"
		}
		issuer := open(t, instasent.Config{APIURL: answering(t, path, tc.status, tc.body)})
		got, err := issuer.(rotator.Scoper).Scopes(t.Context(), rotator.CheckRequest{Params: tc.params, Value: rotator.NewSecret(checked)})
		if diff := cmp.Diff(tc.want, got); diff != "" || (err != nil) != tc.fails {
			t.Errorf("Scopes() of %d %s: error %v, (-want +got):\n%s", tc.status, tc.body, err, diff)
		}
	}
}

func TestCheckWaitsForTheReset(t *testing.T) {
	reset := time.Now().Add(40 * time.Second).Truncate(time.Second)
	apiURL := answering(t, "/v1/project/proj_x/datasource/ds_y/stream", 429, "",
		"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(reset.Unix()))
	_, err := check(t, apiURL, params)
	if got := rotator.RetryTime(err); !got.Equal(reset) {
		t.Errorf("RetryTime(%v) = %v; want %v", err, got, reset)
	}
}

func TestCheckWithoutAnAnswer(t *testing.T) {
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	issuer := open(t, instasent.Config{APIURL: hang.URL, Timeout: rotator.Duration(50 * time.Millisecond)})
	request := rotator.CheckRequest{Params: params, Value: rotator.NewSecret(checked)}
	if got, err := issuer.Check(t.Context(), request); got != rotator.Unknown || err == nil || rotator.IsPermanent(err) {
		t.Errorf("time-out: Check() = %v, %v; want unknown and an error to try again", got, err)
	}
	refusing := httptest.NewServer(nil)
	refusing.Close()
	got, err := check(t, refusing.URL, params)
	if got != rotator.Unknown || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) {
		t.Errorf("refused connection: Check() = %v, %v; want unknown and an error to try again", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := issuer.Check(ctx, request); got != rotator.Unknown || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: Check() = %v, %v; want unknown, context.Canceled", got, err)
	}
	for _, odd := range []rotator.Secret{{}, rotator.NewSecret(""), rotator.NewSecret(checked + "\n"), rotator.NewSecret("tökén")} {
		request.Value = odd
		got, err := issuer.Check(t.Context(), request)
		if got != rotator.Unknown || !rotator.IsPermanent(err) {
			t.Errorf("odd value: Check() = %v, %v; want unknown and a permanent error", got, err)
			continue
		}
		noSecret(t, err.Error())
	}
}

// A redirect may lead to a log-in page, and must not take the credential to another host.
func TestCheckDoesNotFollowToAnotherHost(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(stream("proj_x", "ds_y")))
	}))
	defer other.Close()
	apiURL := answering(t, "/v1/project/proj_x/datasource/ds_y/stream", 302, "", "Location", other.URL)
	if got, err := check(t, apiURL, params); got != rotator.Unknown || err == nil || asked.Load() != 0 {
		t.Errorf("Check() = %v, %v, other host asked %d times; want unknown, an error, 0", got, err, asked.Load())
	}
}

// What a check says of the simulated Instasent, whichever way that refuses.
func TestCheckAgainstTheSimulator(t *testing.T) {
	for _, knobs := range []instasentsim.Knobs{{}, {DeadStatus: 403}, {ForeignStatus: 403}} {
		sim, apiURL := simulate(t, instasentsim.Options{Knobs: knobs})
		issuer := open(t, instasent.Config{APIURL: apiURL})
		verdict := func(value string, p rotator.Params) (rotator.Verdict, error) {
			return issuer.Check(t.Context(), rotator.CheckRequest{Params: p, Value: rotator.NewSecret(value)})
		}
		made, err := sim.Generate(place, "by hand")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := verdict(made.Value, params); got != rotator.Live || err != nil {
			t.Errorf("%+v: live token: %v, %v", knobs, got, err)
		}
		elsewhere, wantElsewhere := rotator.Params{"project": "proj_x", "datasource": "ds_z"}, rotator.Unknown
		if knobs.ForeignStatus == 403 {
			wantElsewhere = rotator.Live
		}
		if got, err := verdict(made.Value, elsewhere); got != wantElsewhere || !rotator.IsPermanent(err) {
			t.Errorf("%+v: token of another datasource: %v, %v; want %v and a permanent error", knobs, got, err, wantElsewhere)
		}
		if got, err := verdict(made.Value, rotator.Params{"project": "proj_x", "kind": "product"}); got != rotator.Live || !rotator.IsPermanent(err) {
			t.Errorf("%+v: scope missing: %v, %v; want live and a permanent error", knobs, got, err)
		}
		if err := sim.Delete(made.ID); err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{made.Value, "garbage"} {
			if got, err := verdict(value, params); got != rotator.Dead || err != nil {
				t.Errorf("%+v: dead token: %v, %v", knobs, got, err)
			}
		}
	}
}

// simulate serves both sides of a simulated Instasent and returns the API's base URL.
func simulate(t *testing.T, o instasentsim.Options) (*instasentsim.Sim, string) {
	o.Places = append(o.Places,
		instasentsim.Place{Project: "proj_x", Datasource: "ds_y"}, instasentsim.Place{Project: "proj_x", Datasource: "ds_z"})
	sim := instasentsim.New(o)
	api := httptest.NewServer(sim.API())
	t.Cleanup(api.Close)
	return sim, api.URL + "/v1"
}
