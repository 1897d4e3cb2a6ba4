package httpissuer

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

// mistakes splits a joined error and checks that each one names its field.
func mistakes(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var all []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error %v is not joined", err)
	}
	for _, one := range joined.Unwrap() {
		var field *rotator.FieldError
		if !errors.As(one, &field) || field.Path == "" {
			t.Errorf("mistake %q names no field", one)
		}
		all = append(all, one.Error())
	}
	return all
}

func TestExample(t *testing.T) {
	c := example(t, "https://admin.example.com")
	if err := c.Validate(); err != nil {
		t.Errorf("Validate(example.yaml) = %v", err)
	}
	if err := c.CheckParams(rotator.Params{"datasource": datasource}); err != nil {
		t.Errorf("CheckParams(complete) = %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"no base", func(c *Config) { c.BaseURL = "" }, []string{"base_url: is missing"}},
		{"base is no URL", func(c *Config) { c.BaseURL = "admin.example.com" }, []string{"base_url: is no URL; write it like https://admin.example.com"}},
		{"base with log-in", func(c *Config) { c.BaseURL = "https://user:canary@admin.example.com" }, []string{"base_url: must not hold a user or password; put the log-in into headers, with a secret"}},
		{"base with query", func(c *Config) { c.BaseURL = "https://admin.example.com/?x=1" }, []string{"base_url: must not hold a query or a fragment; put queries into the paths of the calls"}},
		{"base without TLS", func(c *Config) { c.BaseURL = "http://admin.example.com" }, []string{"base_url: must be https; or set allow_http: true, and secrets travel in the clear"}},
		{"base without TLS, allowed", func(c *Config) { c.BaseURL, c.AllowHTTP = "http://admin.example.com", true }, nil},
		{"base on this machine", func(c *Config) { c.BaseURL = "http://[::1]:8080/v1/" }, nil},
		{"numbers", func(c *Config) { c.MaxCredentials, c.RateLimit = -1, -1 }, []string{"max_credentials: can't be negative", "rate_limit: must be a number of calls a second"}},
		{"secret from nowhere", func(c *Config) { c.Secrets = map[string]rotator.SecretSource{"admin": {}} }, []string{"secrets.admin: a secret names exactly one of env, file or store, for example {env: NAME}"}},
		{"undeclared secret", func(c *Config) { c.Headers = map[string]string{"Authorization": "Bearer {{ secret `admn` }}"} }, []string{"headers.Authorization: no secret \"admn\"; secrets has admin"}},
		{"computed secret", func(c *Config) { c.Headers = map[string]string{"Authorization": "Bearer {{ secret .token }}"} }, []string{"headers.Authorization: secret takes one name in quotes, such as {{ secret `admin` }}"}},
		{"header's name", func(c *Config) { c.Headers = map[string]string{"X Y": "1", "Host": "h"} }, []string{"headers.Host: is set by the connection itself", "headers.X Y: is no name of a header"}},
		{"unknown function", func(c *Config) { c.Create.Body = "{{ jsn .marker }}" }, []string{"create.body: line 1: function \"jsn\" not defined"}},
		{"parse error", func(c *Config) { c.Create.Body = "{\n{{ json .marker" }, []string{"create.body: line 2: unclosed action"}},
		{"unknown field", func(c *Config) { c.Create.Path = "/x/{{ .id }}" }, []string{"create.path: no field \".id\" here; there are .params, .marker, .token"}},
		{"too deep", func(c *Config) { c.Create.Path = "/x/{{ .params.a.b }}{{ .token.a }}" }, []string{"create.path: field \".params.a.b\" goes too deep", "create.path: field \".token.a\" goes too deep"}},
		{"loop", func(c *Config) { c.Create.Path = "/{{ range .params }}x{{ end }}" }, []string{"create.path: range, with, define, block and template can't be used here"}},
		{"recursion", func(c *Config) { c.Create.Path = "/{{ define `x` }}{{ template `x` }}{{ end }}{{ template `x` }}" }, []string{"create.path: define and block can't be used here"}},
		{"variable", func(c *Config) { c.Create.Path = "/{{ $x := .token }}{{ $x }}" }, []string{"create.path: variables can't be used here", "create.path: \"$x\" can't be used here; fields are .params, .marker, .token"}},
		{"everything at once", func(c *Config) { c.Create.Path = "/{{ . }}" }, []string{"create.path: \".\" can't be used here; fields are .params, .marker, .token"}},
		{"function on a wrong value", func(c *Config) { c.Create.Path = "/{{ slice .token 9 }}" }, []string{"create.path: index out of range: 9"}},
		{"all params in a path", func(c *Config) { c.Create.Path = "/{{ .params }}" }, []string{"create.path: only a single value can be inserted; use json for params as a whole"}},
		{"too long", func(c *Config) {
			c.Create.Headers = map[string]string{"X-Long": strings.Repeat("{{ printf `%999d` 1 }}", 66)}
		}, []string{"create.headers.X-Long: writes more than 65536 bytes"}},
		{"wide", func(c *Config) { c.Create.Headers = map[string]string{"X-Long": "{{ printf `%9999999d` 1 }}"} }, []string{"create.headers.X-Long: printf takes plain verbs here, with widths below 1000"}},
		{"doubling", func(c *Config) {
			c.Create.Headers = map[string]string{"X-Long": "{{ `\"` " + strings.Repeat("| json ", 60) + "}}"}
		}, []string{"create.headers.X-Long: makes more than 65536 bytes"}},
		{"function for web pages", func(c *Config) { c.Create.Path = "/{{ js .token }}" }, []string{"create.path: function \"js\" can't be used here"}},
		{"path without slash", func(c *Config) { c.Create.Path = "@evil.example.com/" }, []string{"create.path: must begin with a slash"}},
		{"path with dots", func(c *Config) { c.Create.Path = "/a/../b" }, []string{"create.path: has a segment of dots only, which leads to another path"}},
		{"path with a space", func(c *Config) { c.Create.Path = "/a?q=b c" }, []string{"create.path: has a character that a URL can't hold; write it as a percent code"}},
		{"path with a fragment", func(c *Config) { c.Create.Path = "/a#b" }, []string{"create.path: has a character that a URL can't hold; write it as a percent code"}},
		{"body that is no JSON", func(c *Config) { c.Create.Body = `{"name": {{ .marker }}}` }, []string{"create.body: is not valid JSON once the values are in; write values as {{ json .token }}"}},
		{"body that is a form", func(c *Config) {
			c.Create.Headers = map[string]string{"content-type": "application/x-www-form-urlencoded"}
			c.Create.Body = "name={{ .marker }}&x={{ query .token }}"
		}, nil},
		{"no marker", func(c *Config) { c.Create.Body = "" }, []string{"create.body: nothing puts .marker into the credential's name; without it a crash leaves a credential that nobody finds"}},
		{"create by GET", func(c *Config) { c.Create.Method = "GET" }, []string{"create.method: must be one of POST, PUT, PATCH, DELETE"}},
		{"expressions", func(c *Config) {
			c.Create.ID, c.Create.Value = "boddy.data.id", ""
			c.List.Name = "item.name ==="
			c.Check.Live, c.Check.Dead = "status", "item.dead"
		}, []string{
			"create.id: column 1: undeclared reference to 'boddy' (did you mean 'body'?); there are body, status, header",
			"create.value: is missing; it is a CEL expression that yields a string",
			"list.name: column 13: syntax error: token recognition error at: '='",
			"list.name: column 14: syntax error: mismatched input '<EOF>'",
			"check.live: yields int; must be a boolean",
			"check.dead: column 1: undeclared reference to 'item'; there are body, status, header",
		}},
		{"cursor that nobody sends", func(c *Config) { c.List.Path = "/x" }, []string{"list.path: must use .cursor, since there is a next_cursor"}},
		{"cursor that nobody reads", func(c *Config) { c.List.NextCursor = "" }, []string{"list.next_cursor: is missing; the path uses .cursor"}},
		{"revoke of what", func(c *Config) { c.Revoke.Path = "/x" }, []string{"revoke.path: neither path nor body uses .id"}},
		{"ping of a token", func(c *Config) {
			c.Ping = &Ping{Path: "/{{ .params.x }}"}
		}, []string{"ping.path: no field \".params.x\" here; there are none"}},
		{"ping with a token's header", func(c *Config) {
			c.Ping, c.Headers["X-For"] = &Ping{Path: "/me"}, "{{ .params.x }}"
		}, []string{"ping: belongs to no token, but the issuer's headers use .params or .token"}},
		{"no check", func(c *Config) { c.Check = nil }, []string{"check: is missing; say how the service is asked whether a credential is live"}},
		{"check of what", func(c *Config) { c.Check.Headers = nil }, []string{"check.headers: nothing uses .value; a check asks with the credential itself"}},
		{"several", func(c *Config) {
			c.BaseURL, c.Create.Path, c.Revoke.Path = "", "", "{{ .id"
			c.List.Items = ""
		}, []string{
			"base_url: is missing", "create.path: is missing",
			"list.items: is missing; it is a CEL expression that yields a list",
			"revoke.path: must begin with a slash",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := example(t, "https://admin.example.com")
			test.change(&c)
			err := c.Validate()
			if diff := cmp.Diff(test.want, mistakes(t, err)); diff != "" {
				t.Errorf("Validate(): -want +got\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("Validate() shows a secret: %v", err)
			}
			if _, err := New(t.Context(), c); (err == nil) != (test.want == nil) {
				t.Errorf("New() = %v; want an error: %v", err, test.want != nil)
			}
		})
	}
}

func TestCheckParams(t *testing.T) {
	c := example(t, "https://admin.example.com")
	c.Create.Path = "/datasources/{{ .params.datasorce }}/tokens"
	c.Revoke.Path = "/{{ if false }}{{ index .params `team-id` }}{{ end }}{{ .id }}"
	want := []string{
		"create.path: no param \"datasorce\"; the token has datasource, limit",
		"revoke.path: no param \"team-id\"; the token has datasource, limit",
		"check.body: is not valid JSON once the values are in; write values as {{ json .token }}",
	}
	c.Check.Body = `{"limit": {{ .params.limit }}}`
	p := rotator.Params{"datasource": "ds", "limit": "a lot"}
	if diff := cmp.Diff(want, mistakes(t, c.CheckParams(p))); diff != "" {
		t.Errorf("CheckParams(): -want +got\n%s", diff)
	}
	made := open1(t, c)
	if diff := cmp.Diff(want, mistakes(t, as[rotator.ParamsChecker](t, made).CheckParams(p))); diff != "" {
		t.Errorf("issuer's CheckParams(): -want +got\n%s", diff)
	}
	whole := maps.Clone(p)
	maps.Copy(whole, rotator.Params{"datasorce": "ds", "team-id": "t", "limit": "5"})
	if err := c.CheckParams(whole); err != nil {
		t.Errorf("CheckParams(whole) = %v", err)
	}
	whole["datasorce"] = ""
	if diff := cmp.Diff([]string{"create.path: an empty value can't stand in a path"}, mistakes(t, c.CheckParams(whole))); diff != "" {
		t.Errorf("CheckParams(empty): -want +got\n%s", diff)
	}
}

func TestAdminAlone(t *testing.T) {
	c := example(t, "https://admin.example.com")
	if err := c.Admin.Validate(); err != nil {
		t.Errorf("Admin.Validate() = %v", err)
	}
	if err := c.Admin.CheckParams(rotator.Params{}); len(mistakes(t, err)) != 3 {
		t.Errorf("Admin.CheckParams(none) = %v; want 3 mistakes", err)
	}
	made, err := NewAdmin(t.Context(), c.Admin)
	if err != nil {
		t.Fatalf("NewAdmin() = %v", err)
	}
	verdict, err := made.Check(t.Context(), rotator.CheckRequest{Value: rotator.NewSecret("v")})
	if verdict != rotator.Unknown || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Check() = %v, %v; want unknown and ErrUnsupported", verdict, err)
	}
}

func TestAbilities(t *testing.T) {
	for _, test := range []struct {
		change                 func(*Config)
		lists, scopes, pinging bool
	}{
		{func(c *Config) { c.List = nil }, false, false, false},
		{func(*Config) {}, true, false, false},
		{func(c *Config) { c.List.Path = "/tokens?cursor={{ .cursor }}" }, true, false, true},
		{func(c *Config) { c.Check.Scopes = "body.scopes" }, true, true, false},
		{func(c *Config) { c.List, c.Check.Scopes = nil, "body.scopes" }, false, true, false},
		{func(c *Config) { c.List, c.Ping = nil, &Ping{Path: "/me"} }, false, false, true},
		{func(c *Config) { c.Check.Scopes, c.Ping = "body.scopes", &Ping{Path: "/me"} }, true, true, true},
		{func(c *Config) { c.List, c.Check.Scopes, c.Ping = nil, "body.scopes", &Ping{Path: "/me"} }, false, true, true},
	} {
		c := example(t, "https://admin.example.com")
		c.MaxCredentials = 7
		test.change(&c)
		made := open1(t, c)
		_, lists := made.(rotator.Lister)
		_, scopes := made.(rotator.Scoper)
		_, pinging := made.(rotator.Pinger)
		if lists != test.lists || scopes != test.scopes || pinging != test.pinging {
			t.Errorf("%+v: Lister %v, Scoper %v, Pinger %v; want %v, %v, %v",
				c, lists, scopes, pinging, test.lists, test.scopes, test.pinging)
		}
		if got := as[rotator.Limiter](t, made).MaxCredentials(); got != 7 {
			t.Errorf("MaxCredentials() = %d; want 7", got)
		}
	}
}
