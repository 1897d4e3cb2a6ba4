package instasentsim_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/rotator"
)

var place = instasentsim.Place{Project: "proj_x", Datasource: "ds_y"}

const (
	streamPath = "/v1/project/proj_x/datasource/ds_y/stream"
	tokensPath = "/admin/projects/proj_x/datasources/ds_y/tokens"
	adminToken = "admin-token"
)

// caller calls both sides of a Sim without any network.
type caller struct {
	*testing.T
	*instasentsim.Sim
	admin, api *http.Client
}

func start(t *testing.T, knobs instasentsim.Knobs) *caller {
	sim := instasentsim.New(instasentsim.Options{
		AdminToken: adminToken, ReadToken: "read-token", Knobs: knobs,
		Places: []instasentsim.Place{place, {Project: "proj_x", Datasource: "ds_z"}, {Project: "proj_other"}},
	})
	return &caller{
		t, sim,
		&http.Client{Transport: instasentsim.Transport(sim.Admin())},
		&http.Client{Transport: instasentsim.Transport(sim.API())},
	}
}

func (c *caller) generate(p instasentsim.Place, scopes ...string) instasentsim.Issued {
	c.Helper()
	issued, err := c.Generate(p, "by hand", scopes...)
	if err != nil {
		c.Fatal(err)
	}
	return issued
}

type response struct {
	status int
	header http.Header
	body   string
}

// send is a call with a bearer token; a body makes it JSON. err is that of the connection.
func (c *caller) send(client *http.Client, method, path, token, body string, headers ...string) (response, error) {
	c.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(c.Context(), method, "http://sim"+path, reader)
	if err != nil {
		c.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(raw)}, err
}

func (c *caller) mustSend(client *http.Client, method, path, token, body string, headers ...string) response {
	c.Helper()
	got, err := c.send(client, method, path, token, body, headers...)
	if err != nil {
		c.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (c *caller) stream(token string) response {
	c.Helper()
	return c.mustSend(c.api, http.MethodGet, streamPath, token, "")
}

func TestStatuses(t *testing.T) {
	c := start(t, instasentsim.Knobs{})
	datasource := c.generate(place).Value
	product := c.generate(instasentsim.Place{Project: "proj_x"}).Value
	foreign := c.generate(instasentsim.Place{Project: "proj_other"}).Value
	readOnly := c.generate(instasentsim.Place{Project: "proj_x"}, instasentsim.ScopeProjectRead).Value
	many := "[" + strings.Repeat("{},", 100) + "{}]"
	for _, tc := range []struct {
		name, method, path, token, body string
		headers                         []string
		want                            int
	}{
		{"datasource token", "GET", streamPath, datasource, "", nil, 200},
		{"product token", "GET", streamPath, product, "", nil, 200},
		{"project", "GET", "/v1/project/proj_x", product, "", nil, 200},
		{"project with a datasource token", "GET", "/v1/project/proj_x", datasource, "", nil, 403},
		{"write", "POST", streamPath + "/events", datasource, `[{"a": 1}]`, nil, 202},
		{"write 100", "POST", streamPath + "/contacts", product, strings.Replace(many, "{},", "", 1), nil, 202},
		{"write 101", "POST", streamPath + "/contacts", product, many, nil, 422},
		{"write nothing", "POST", streamPath + "/contacts", product, `[]`, nil, 422},
		{"write no array", "POST", streamPath + "/contacts", product, `{"a": 1}`, nil, 400},
		{"write null", "POST", streamPath + "/contacts", product, `null`, nil, 400},
		{"write no JSON", "POST", streamPath + "/contacts", product, `[{`, nil, 400},
		{"content type", "POST", streamPath + "/events", datasource, `[{}]`, []string{"Content-Type", "text/plain"}, 415},
		{"method", "PUT", streamPath, datasource, "", nil, 405},
		{"no token", "GET", streamPath, "", "", nil, 401},
		{"unknown token", "GET", streamPath, "garbage", "", nil, 401},
		{"basic", "GET", streamPath, "", "", []string{"Authorization", "Basic " + datasource}, 401},
		{"two spaces", "GET", streamPath, "", "", []string{"Authorization", "Bearer  " + datasource}, 401},
		{"trailing", "GET", streamPath, "", "", []string{"Authorization", "Bearer " + datasource + " x"}, 401},
		{"scope", "GET", streamPath, readOnly, "", nil, 403},
		{"foreign datasource", "GET", "/v1/project/proj_x/datasource/ds_z/stream", datasource, "", nil, 404},
		{"foreign project", "GET", streamPath, foreign, "", nil, 404},
		{"unknown datasource", "GET", "/v1/project/proj_x/datasource/ds_none/stream", product, "", nil, 404},
		{"unknown path", "GET", "/v1/nothing", datasource, "", nil, 404},
		{"below", "GET", streamPath + "/contacts/1", datasource, "", nil, 404},
		{"without v1", "GET", strings.TrimPrefix(streamPath, "/v1"), datasource, "", nil, 404},
	} {
		got := c.mustSend(c.api, tc.method, tc.path, tc.token, tc.body, tc.headers...)
		if got.status != tc.want {
			t.Errorf("%s: status %d; want %d (%s)", tc.name, got.status, tc.want, got.body)
		}
		var message struct{ Message string }
		if err := json.Unmarshal([]byte(got.body), &message); err != nil || (got.status >= 400) != (message.Message != "") {
			t.Errorf("%s: body %q; want JSON, with a message if and only if it is an error", tc.name, got.body)
		}
	}
}

func TestTwoLogIns(t *testing.T) {
	c := start(t, instasentsim.Knobs{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://sim"+streamPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	value := "Bearer " + c.generate(place).Value
	req.Header["Authorization"] = []string{value, value}
	resp, err := c.api.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 401 {
		t.Errorf("two Authorization headers: status %d; want 401", resp.StatusCode)
	}
}

func TestStreamAnswer(t *testing.T) {
	c := start(t, instasentsim.Knobs{})
	got := c.stream(c.generate(place).Value)
	var top map[string]map[string]any
	if err := json.Unmarshal([]byte(got.body), &top); err != nil {
		t.Fatal(err)
	}
	keys := make([]string, 0, len(top))
	for key := range top {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if want := []string{"datasource", "organization", "project", "stream", "token"}; !slices.Equal(keys, want) {
		t.Errorf("top-level objects %v; want %v", keys, want)
	}
	if top["project"]["uid"] != "proj_x" || top["datasource"]["uid"] != "ds_y" || top["stream"]["callsTotal"] != 1.0 {
		t.Errorf("stream answered %v", top)
	}
	want := map[string]any{"type": "datasource", "scopes": []any{instasentsim.ScopeStreamRead, instasentsim.ScopeStreamWrite}}
	if diff := cmp.Diff(want, top["token"]); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
}

func TestOutcomePerItem(t *testing.T) {
	c := start(t, instasentsim.Knobs{})
	got := c.mustSend(c.api, "POST", streamPath+"/events", c.generate(place).Value, `[{"a": 1}, 7]`)
	var outcome struct {
		EntitiesSuccess, EntitiesFailures int
		Accepted, Errors                  []struct{ Position int }
	}
	if err := json.Unmarshal([]byte(got.body), &outcome); err != nil {
		t.Fatal(err)
	}
	if got.status != 202 || outcome.EntitiesSuccess != 1 || outcome.EntitiesFailures != 1 ||
		len(outcome.Errors) != 1 || outcome.Errors[0].Position != 1 {
		t.Errorf("answered %d %s; want one accepted, and the second refused", got.status, got.body)
	}
}

func TestDeadStatus(t *testing.T) {
	for _, status := range []int{401, 403} {
		c := start(t, instasentsim.Knobs{DeadStatus: status})
		got := c.stream("garbage")
		if saysNoToken := strings.Contains(got.body, "No token could be found"); got.status != status || saysNoToken != (status == 403) {
			t.Errorf("DeadStatus %d: answered %d %s", status, got.status, got.body)
		}
	}
	c := start(t, instasentsim.Knobs{ForeignStatus: 403})
	got := c.mustSend(c.api, "GET", "/v1/project/proj_x/datasource/ds_z/stream", c.generate(place).Value, "")
	if got.status != 403 || strings.Contains(got.body, "No token") {
		t.Errorf("ForeignStatus 403: answered %d %s", got.status, got.body)
	}
}

// A token begins and ends later than the dashboard says, on fake time.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, instasentsim.Knobs{
			ActivationDelay: rotator.Duration(5 * time.Second), RevocationLag: rotator.Duration(30 * time.Second),
			Latency: rotator.Duration(time.Millisecond),
		})
		issued := c.generate(place)
		expect := func(after time.Duration, want int) {
			t.Helper()
			time.Sleep(after)
			if got := c.stream(issued.Value); got.status != want {
				t.Errorf("status %d; want %d", got.status, want)
			}
		}
		expect(0, 401)
		expect(5*time.Second, 200)
		if err := c.Delete(issued.ID); err != nil {
			t.Fatal(err)
		}
		deleted := time.Now()
		if err := c.Delete(issued.ID); !errors.Is(err, instasentsim.ErrNoToken) {
			t.Errorf("second Delete: %v; want ErrNoToken", err)
		}
		expect(29*time.Second, 200)
		expect(time.Second, 401)
		expect(time.Second, 401)
		stats := c.Stats()
		got := stats.Tokens[0]
		if !got.DeletedAt.Equal(deleted) || got.FirstRefusedAt.Sub(deleted) != 30*time.Second+2*time.Millisecond ||
			got.Calls != 5 || got.Refused != 3 || got.Accepted || got.Fingerprint != rotator.FingerprintOf(issued.Value) {
			t.Errorf("stats of the token: %+v", got)
		}
		if stats.Calls != 5 || stats.Refused != 3 || len(stats.Refusals) != 3 || stats.ByEndpoint["GET stream"] != 5 ||
			stats.Refusals[0].Fingerprint != got.Fingerprint || stats.Refusals[0].Endpoint != "GET stream" {
			t.Errorf("stats: %+v", stats)
		}
		if live := c.Live(place); len(live) != 0 {
			t.Errorf("Live() = %v; want none", live)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, instasentsim.Knobs{RateLimit: 2})
		one, other := c.generate(place).Value, c.generate(place).Value
		wants := []response{{status: 200, body: "1"}, {status: 200, body: "0"}, {status: 429, body: "0"}}
		for i, token := range []string{one, other, one} { // not per token
			got := c.stream(token)
			if got.status != wants[i].status || got.header.Get("X-RateLimit-Remaining") != wants[i].body ||
				got.header.Get("X-RateLimit-Limit") != "2" {
				t.Errorf("call %d: status %d, %v", i, got.status, got.header)
			}
			if got.status == 429 && got.body != "" {
				t.Errorf("429 has the body %q; want none", got.body)
			}
		}
		if got := c.stream("garbage"); got.status != 401 || got.header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("refused call: status %d, %v; want 401 without limits", got.status, got.header)
		}
		if got := c.mustSend(c.api, "POST", streamPath+"/events", one, `[{}]`); got.status != 202 {
			t.Errorf("other endpoint: status %d; want 202", got.status)
		}
		reset, err := strconv.ParseInt(c.stream(one).header.Get("X-RateLimit-Reset"), 10, 64)
		if err != nil || reset <= time.Now().Unix() || reset > time.Now().Unix()+60 {
			t.Fatalf("X-RateLimit-Reset %d, %v; now %d", reset, err, time.Now().Unix())
		}
		time.Sleep(time.Until(time.Unix(reset, 0)))
		if got := c.stream(one); got.status != 200 {
			t.Errorf("after the reset: status %d; want 200", got.status)
		}
		if got := c.Stats().Limited; got != 2 {
			t.Errorf("Limited = %d; want 2", got)
		}
	})
}

func TestFaults(t *testing.T) {
	c := start(t, instasentsim.Knobs{})
	c.LoseNext(instasentsim.SideAdmin, "POST", 1)
	if _, err := c.send(c.admin, "POST", tokensPath, adminToken, `{"name": "lost"}`); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("lost create: %v; want a cut connection", err)
	}
	live := c.Live(place)
	if len(live) != 1 || live[0].Name != "lost" {
		t.Fatalf("Live() = %v; want the token whose answer was lost", live)
	}
	c.FailNext(instasentsim.SideAdmin, "DELETE", 1, 503)
	for _, want := range []int{503, 204} {
		if got := c.mustSend(c.admin, "DELETE", tokensPath+"/"+live[0].ID, adminToken, ""); got.status != want {
			t.Errorf("delete: status %d; want %d", got.status, want)
		}
	}
	token := c.generate(place).Value
	c.FailNext("", "", 2, 429)
	for _, want := range []int{429, 429, 200} {
		got := c.stream(token)
		if got.status != want || (want == 429 && (got.body != "" || got.header.Get("X-RateLimit-Reset") == "")) {
			t.Errorf("status %d, %v, %q; want %d", got.status, got.header, got.body, want)
		}
	}
	if got := c.Stats(); got.Failed != 3 || got.Limited != 2 {
		t.Errorf("stats: %+v; want 3 failed, 2 of them limited", got)
	}
}

// The same over a real connection: it is cut, and the effect is there.
func TestLostAnswerOverNetwork(t *testing.T) {
	c := start(t, instasentsim.Knobs{})
	server := httptest.NewServer(c.Admin())
	defer server.Close()
	c.LoseNext(instasentsim.SideAdmin, "", 1)
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+tokensPath, strings.NewReader(`{"name": "lost"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := server.Client().Do(req)
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("answered %d; want a cut connection", resp.StatusCode)
	}
	if live := c.Live(place); len(live) != 1 {
		t.Errorf("Live() = %v; want one", live)
	}
}

func TestConcurrently(t *testing.T) {
	c := start(t, instasentsim.Knobs{RateLimit: -1})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			id, value := c.create("one of many")
			c.stream(value)
			c.list(nil)
			c.Set(func(k *instasentsim.Knobs) { k.PageSize = 3 })
			if err := c.Delete(id); err != nil {
				t.Error(err)
			}
			if got := c.stream(value); got.status != 401 {
				t.Errorf("deleted token: status %d", got.status)
			}
			c.Stats()
		})
	}
	group.Wait()
	if got := c.Stats(); got.Calls != 40 || got.Refused != 20 || len(c.Live(place)) != 0 {
		t.Errorf("%d calls, %d refused, %d live; want 40, 20, 0", got.Calls, got.Refused, len(c.Live(place)))
	}
}
