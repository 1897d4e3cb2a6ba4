package instasent_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/issuers/instasent"
	"github.com/rotatord/rotatord/issuers/issuertest"
	"github.com/rotatord/rotatord/rotator"
)

func TestManualAsksAPerson(t *testing.T) {
	issuer := open(t, instasent.Config{})
	product := rotator.Params{"project": "proj_x", "kind": "product"}
	old := rotator.Credential{
		ID: "tok_1", Name: "crm", Fingerprint: "0123456789abcdef",
		IssuedAt: time.Date(2025, 11, 2, 9, 30, 0, 0, time.UTC),
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"issue", func() error {
			_, err := issuer.Issue(t.Context(), rotator.IssueRequest{Token: "crm-sync", Params: params, Marker: "rotatord/crm-sync/01H"})
			return err
		}, []string{"https://dashboard.instasent.com", "project proj_x → Datasources → ds_y → Credentials", "Generate token", "rotatord/crm-sync/01H", "`rotatord provide crm-sync`"}},
		{"issue product", func() error {
			_, err := issuer.Issue(t.Context(), rotator.IssueRequest{Token: "crm-sync", Params: product, Marker: "rotatord/crm-sync/01H"})
			return err
		}, []string{"project proj_x → Project settings → API tokens", "same scopes", "rotatord/crm-sync/01H"}},
		{"revoke", func() error {
			return issuer.Revoke(t.Context(), rotator.RevokeRequest{Token: "crm-sync", Params: params, Credential: old})
		}, []string{"project proj_x → Datasources → ds_y → Credentials", "delete", "tok_1", "named crm", "2025-11-02", "0123456789abcdef"}},
		{"revoke an unknown one", func() error {
			return issuer.Revoke(t.Context(), rotator.RevokeRequest{Token: "crm-sync", Params: params})
		}, []string{"that was in use before"}},
	} {
		var ask *rotator.PersonNeeded
		if err := tc.do(); !errors.As(err, &ask) {
			t.Errorf("%s: error %v; want PersonNeeded", tc.name, err)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(ask.Ask, want) {
				t.Errorf("%s: asks %q; want %q in it", tc.name, ask.Ask, want)
			}
		}
	}
	if _, ok := issuer.(rotator.Lister); ok {
		t.Error("a manual issuer is a Lister")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := issuer.Issue(ctx, rotator.IssueRequest{Params: params}); !errors.Is(err, context.Canceled) {
		t.Errorf("Issue with a cancelled context: %v", err)
	}
}

func TestPing(t *testing.T) {
	for _, tc := range []struct {
		status    int
		ok, final bool
	}{{401, true, false}, {403, true, false}, {200, false, true}, {404, false, true}, {503, false, false}} {
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.Header.Get("Authorization") != "" {
				t.Error("Ping sent a credential")
			}
			w.WriteHeader(tc.status)
			_, _ = w.Write([]byte(canary))
		}))
		pinger := open(t, instasent.Config{APIURL: server.URL}).(rotator.Pinger)
		for range 2 {
			err := pinger.Ping(t.Context())
			if (err == nil) != tc.ok || rotator.IsPermanent(err) != tc.final {
				t.Errorf("Ping() at status %d: %v; want ok %v, permanent %v", tc.status, err, tc.ok, tc.final)
			}
			if err != nil {
				noSecret(t, err.Error())
			}
		}
		if want := map[bool]int32{true: 1, false: 2}[tc.ok]; asked.Load() != want {
			t.Errorf("status %d: two pings asked %d times; want %d", tc.status, asked.Load(), want)
		}
		server.Close()
	}
}

func TestCheckParams(t *testing.T) {
	issuer := open(t, instasent.Config{}).(rotator.ParamsChecker)
	for _, tc := range []struct {
		params rotator.Params
		want   string // all mistakes, a line each; empty: none
	}{
		{rotator.Params{"project": "proj_x", "datasource": "ds_y"}, ""},
		{rotator.Params{"project": "proj_x", "datasource": "ds_y", "kind": "product"}, ""},
		{rotator.Params{"project": "proj_x", "kind": "product"}, ""},
		{nil, "project: is missing; the dashboard shows it\ndatasource: is missing; the dashboard shows it"},
		{rotator.Params{"project": "..", "datasource": "a/b"}, "project: \"..\" is no UID; use the one that the dashboard shows\n" +
			"datasource: \"a/b\" is no UID; use the one that the dashboard shows"},
		{rotator.Params{"project": "proj_x", "datasource": "ds y", "kind": "other"}, "kind: no kind \"other\"; use datasource or product\n" +
			"datasource: \"ds y\" is no UID; use the one that the dashboard shows"},
		{rotator.Params{"project": "p", "datasource": "d", "data_source": "d"}, "data_source: no such param; there are project, datasource and kind"},
	} {
		got := ""
		if err := issuer.CheckParams(tc.params); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("CheckParams(%v) (-want +got):\n%s", tc.params, diff)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		yaml string
		want string // in the error; empty: none
	}{
		{`{}`, ""},
		{`{api_url: "http://127.0.0.1:8080/v1"}`, ""},
		{`{api_url: "http://sim:8080/v1", allow_http: true}`, ""},
		{`{api_url: "http://api.instasent.com/v1"}`, "api_url: must be https"},
		{`{api_url: "api.instasent.com"}`, "api_url: not a URL"},
		{`{api_url: "https://user:hunter2@api.instasent.com"}`, "api_url: must have no user"},
		{`{api_url: "https://api.instasent.com/v1?key=hunter2"}`, "api_url: must have no user, query or fragment"},
		{`{admin: {type: manual}}`, ""},
		{`{admin: {type: robot}}`, `admin.type: no admin of type "robot"`},
		{`{admin: {type: manual, base_url: "https://x"}}`, "admin.type: admin has settings"},
		{`{admin: {base_url: "https://x"}}`, "admin.type: admin has settings"},
		{`{admin: {type: http}}`, "admin: base_url: "},
		{`{admin: {type: http}}`, "\ncreate.path: "},
	} {
		var c instasent.Config
		if err := yaml.Load([]byte(tc.yaml), &c, yaml.WithKnownFields()); err != nil {
			t.Fatal(err)
		}
		err := c.Validate()
		switch {
		case (err == nil) != (tc.want == ""), err != nil && !strings.Contains(err.Error(), tc.want):
			t.Errorf("Validate(%s) = %v; want %q", tc.yaml, err, tc.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("Validate(%s) = %v shows a secret", tc.yaml, err)
		}
		if _, newErr := instasent.New(t.Context(), c); (newErr == nil) != (err == nil) {
			t.Errorf("New(%s): %v; Validate: %v", tc.yaml, newErr, err)
		}
	}
}

// load reads an example strictly.
func load(t *testing.T, text string) instasent.Config {
	t.Helper()
	var entry struct {
		Type             string `yaml:"type"`
		instasent.Config `yaml:",inline"`
	}
	if err := yaml.Load([]byte(text), &entry, yaml.WithKnownFields()); err != nil {
		t.Fatalf("load: %v\n%s", err, text)
	}
	if entry.Type != "instasent" {
		t.Errorf("the example is of type %q", entry.Type)
	}
	return entry.Config
}

// withAdminAPI is the example with its other admin.
func withAdminAPI() string {
	var lines []string
	commented := false
	for line := range strings.Lines(instasent.Example) {
		switch {
		case strings.HasPrefix(line, "admin:"):
			continue
		case strings.HasPrefix(line, "# admin:"):
			commented = true
		}
		if commented {
			line = strings.TrimPrefix(line, "# ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

func TestExample(t *testing.T) {
	for _, text := range []string{instasent.Example, withAdminAPI()} {
		if err := load(t, text).Validate(); err != nil {
			t.Errorf("Validate: %v\n%s", err, text)
		}
	}
}

const closedPort = "http://127.0.0.1:1"

var place = instasentsim.Place{Project: "proj_x", Datasource: "ds_y"}

// harness is an issuer at a simulated Instasent: the example's second half when
// it is automatic, else one with a person.
func harness(t *testing.T, automatic bool, knobs instasentsim.Knobs) (issuertest.Harness, *instasentsim.Sim) {
	t.Helper()
	sim, apiURL := simulate(t, instasentsim.Options{ReadToken: "only-for-reading", Knobs: knobs})
	admin := httptest.NewServer(sim.Admin())
	t.Cleanup(admin.Close)
	t.Setenv("INSTASENT_ADMIN_TOKEN", sim.AdminToken())
	t.Setenv("WRONG_ADMIN_TOKEN", "wrong-admin-token")
	h := issuertest.Harness{
		Token: "crm-sync", Params: params,
		Canaries: func() []string {
			return append(sim.Values(), sim.AdminToken(), "wrong-admin-token", "Simulated Organisation")
		},
		Live: func() []string {
			var ids []string
			for _, each := range sim.Live(place) {
				ids = append(ids, each.ID)
			}
			return ids
		},
		Unclear: func(on bool) {
			sim.ClearFaults()
			if on {
				sim.Inject(instasentsim.Fault{Side: instasentsim.SideAPI, Status: http.StatusServiceUnavailable, Times: 100})
			}
		},
	}
	if !automatic {
		h.Issuer = open(t, instasent.Config{APIURL: apiURL})
		h.Refused = open(t, instasent.Config{APIURL: closedPort})
		h.Person = &issuertest.Person{
			Generate: func(t testing.TB, name string) rotator.Credential {
				made, err := sim.Generate(place, name)
				if err != nil {
					t.Error(err)
				}
				return rotator.Credential{ID: made.ID, Name: made.Name, Value: rotator.NewSecret(made.Value), IssuedAt: time.Now()}
			},
			Delete: func(t testing.TB, c rotator.Credential) {
				if err := sim.Delete(c.ID); err != nil && !errors.Is(err, instasentsim.ErrNoToken) {
					t.Error(err)
				}
			},
		}
		return h, sim
	}
	at := func(apiURL, adminURL, secret string) rotator.Issuer {
		c := load(t, withAdminAPI())
		c.APIURL, c.Admin.HTTP.BaseURL = apiURL, adminURL
		c.Admin.HTTP.Secrets = map[string]rotator.SecretSource{"admin": {Env: secret}}
		return open(t, c)
	}
	h.Issuer = at(apiURL, admin.URL, "INSTASENT_ADMIN_TOKEN")
	h.Denied = at(apiURL, admin.URL, "WRONG_ADMIN_TOKEN")
	h.Refused = at(closedPort, closedPort, "INSTASENT_ADMIN_TOKEN")
	h.LoseAnswer = func() { sim.LoseNext(instasentsim.SideAdmin, http.MethodPost, 1) }
	h.PageSize = 3
	return h, sim
}

func TestConformance(t *testing.T) {
	for name, knobs := range map[string]instasentsim.Knobs{"401": {PageSize: 3}, "403": {PageSize: 3, DeadStatus: 403}} {
		for _, automatic := range []bool{true, false} {
			t.Run(map[bool]string{true: "http ", false: "manual "}[automatic]+name, func(t *testing.T) {
				issuertest.Run(t, func(t *testing.T) issuertest.Harness {
					h, _ := harness(t, automatic, knobs)
					return h
				})
			})
		}
	}
}

func TestAdminAPI(t *testing.T) {
	h, sim := harness(t, true, instasentsim.Knobs{PageSize: 2})
	issuer := h.Issuer
	var made []rotator.Credential
	for _, rotation := range []string{"01", "02", "03"} {
		got, err := issuer.Issue(t.Context(), rotator.IssueRequest{Token: "crm", Params: params, Marker: rotator.Marker("crm", rotation)})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, got)
	}
	listed, err := issuer.(rotator.Lister).List(t.Context(), rotator.ListRequest{Token: "crm", Params: params})
	if err != nil || len(listed) != 3 {
		t.Fatalf("List() = %v, %v; want 3", listed, err)
	}
	for i, got := range listed {
		if got.ID != made[i].ID || got.Name != made[i].Name {
			t.Errorf("List()[%d] = %+v; want %+v", i, got, made[i].Record())
		}
	}
	scopes, err := issuer.(rotator.Scoper).Scopes(t.Context(), rotator.CheckRequest{Params: params, Value: made[0].Value})
	want := []string{instasentsim.ScopeStreamRead, instasentsim.ScopeStreamWrite, "type:datasource"}
	if diff := cmp.Diff(want, scopes); diff != "" || err != nil {
		t.Errorf("Scopes(): %v, (-want +got):\n%s", err, diff)
	}
	for range 2 {
		if err := issuer.Revoke(t.Context(), rotator.RevokeRequest{Params: params, Credential: made[1].Record()}); err != nil {
			t.Errorf("Revoke: %v", err)
		}
	}
	if got := sim.Live(place); len(got) != 2 || got[0].ID != made[0].ID || got[1].ID != made[2].ID {
		t.Errorf("live after the revoke: %+v", got)
	}
	err = issuer.Revoke(t.Context(), rotator.RevokeRequest{Params: params, Credential: rotator.Credential{Fingerprint: "0123456789abcdef"}})
	if _, ok := errors.AsType[*rotator.PersonNeeded](err); !ok {
		t.Errorf("Revoke without an ID: %v; want PersonNeeded", err)
	}
	if got := issuer.(rotator.Limiter).MaxCredentials(); got != 0 {
		t.Errorf("MaxCredentials() = %d; want 0", got)
	}
	if err := issuer.(rotator.Pinger).Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v", err)
	}
	c := load(t, withAdminAPI())
	c.Admin.HTTP.Ping = nil
	if _, ok := open(t, c).(rotator.Pinger); ok {
		t.Error("without a call that tries the log-in it is a Pinger")
	}
}

// What the admin API can't do, the issuer doesn't claim.
func TestAdminAPIWithoutAList(t *testing.T) {
	c := load(t, withAdminAPI())
	c.Admin.HTTP.List, c.Admin.HTTP.MaxCredentials = nil, 2
	issuer := open(t, c)
	if _, ok := issuer.(rotator.Lister); ok {
		t.Error("without list it is a Lister")
	}
	if _, ok := issuer.(rotator.Pinger); !ok {
		t.Error("with ping it is no Pinger")
	}
	if got := issuer.(rotator.Limiter).MaxCredentials(); got != 2 {
		t.Errorf("MaxCredentials() = %d; want 2", got)
	}
	checker := issuer.(rotator.ParamsChecker)
	if err := checker.CheckParams(rotator.Params{"project": "proj_x", "kind": "product"}); err == nil {
		t.Error("CheckParams: the templates need a datasource; want an error")
	}
	if err := checker.CheckParams(rotator.Params{"project": "p", "datasource": "d", "team": "crm"}); err != nil {
		t.Errorf("CheckParams with one more param, for templates: %v", err)
	}
}
