package httpissuer

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Whatever a service answers: no panic, and a credential is whole or an error.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"data": {"id": 1, "secret": "canary-v", "expires_at": 1795000000}}`, `{"data": {"id": "", "secret": []}}`,
		`{"data": [{"id": 9007199254740993, "name": "x", "last_used": null}], "next": ""}`, `[[[[`, `1e999`, `null`, "\xff", ``,
	} {
		f.Add(200, body)
	}
	c := example(f, "https://admin.example.com")
	c.Create.Scopes, c.Check.Live = "body.data.scopes", "status == 200 && body.active"
	compiled, err := compile(c, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		answer := webclient.Answer{Status: status, Header: http.Header{"X-A": {body}}, Body: []byte(body)}
		made, err := compiled.create.read(t.Context(), answer, "marker")
		if (err == nil) != (made.ID != "" && made.Value.Reveal() != "") {
			t.Errorf("create.read(%q) = %+v, %v", body, made, err)
		}
		noSecret(t, err)
		vars := variables(answer)
		items, err := compiled.list.items.list(t.Context(), vars)
		noSecret(t, err)
		for _, item := range items {
			vars["item"] = item
			one, err := compiled.list.read(t.Context(), vars)
			if (err == nil) != (one.ID != "") {
				t.Errorf("list.read(%q) = %+v, %v", body, one, err)
			}
			noSecret(t, err)
		}
		_, err = compiled.check.live.bool(t.Context(), vars)
		noSecret(t, err)
	})
}

// Whatever an operator writes and a service calls its IDs: no panic, and an
// accepted path leads below the base.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{
		"/a/{{ .id }}", "/a?b={{ query .id }}#", "/{{ if .id }}{{ .id | urlpath }}{{ end }}", "/{{ index .params `x` }}",
		"/{{ secret `admin` }}", "/{{ printf `%9999999d` 1 }}", "/{{ range .params }}", "//evil.example.com/{{ .id }}", "/{{ slice .id 1 }}",
	} {
		for _, id := range []string{"1", "../x", "a/b?c#d", "@evil", "%2e%2e", "\x00"} {
			f.Add(text, id)
		}
	}
	f.Fuzz(func(t *testing.T, text, id string) {
		c := &call{name: "revoke", method: http.MethodDelete, bodyIn: inJSON}
		for _, to := range []place{inJSON, inForm, verbatim, inPath} {
			parsed, err := parseTemplate(text, to, []string{"params", "id"}, map[string]bool{"admin": true})
			if err != nil {
				return
			}
			c.path = parsed
			out, err := parsed.render(fields{"params": map[string]string{"x": "y"}, "id": id}, func(string) (string, error) { return "s", nil })
			if err == nil && len(out) > maxRendered {
				t.Errorf("%q writes %d bytes", text, len(out))
			}
		}
		if !strings.HasPrefix(text, "/") {
			return
		}
		f := fields{"params": map[string]string{"x": "y"}, "id": id}
		req, err := c.request(t.Context(), "https://admin.example.com/v1", f, func(string) (string, error) { return "s", nil })
		if err != nil {
			if !rotator.IsPermanent(err) {
				t.Errorf("request(%q, %q) = %v; want a Permanent error", text, id, err)
			}
			return
		}
		back, err := url.Parse("https://admin.example.com" + req.URL.RequestURI())
		if err != nil || req.URL.Host != "admin.example.com" || !strings.HasPrefix(back.Path, "/v1/") || strings.Contains(back.Path+"/", "/../") {
			t.Errorf("request(%q, %q) goes to %v", text, id, req.URL)
		}
	})
}

// A value inserted into a path without escaper is one segment and itself again.
func FuzzValueInPath(f *testing.F) {
	for _, id := range []string{"1", "..", "a/b", "a b+c", "%2F", "ñ"} {
		f.Add(id)
	}
	parsed, err := parseTemplate("/a/{{ .id }}/b?c={{ .id }}", inPath, []string{"id"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		out, err := parsed.render(fields{"id": id}, nil)
		if err == nil {
			err = checkPath(out)
		}
		if err != nil {
			return
		}
		at, err := url.Parse("https://h" + out)
		if err != nil {
			t.Fatalf("url.Parse(%q) = %v", out, err)
		}
		segments := strings.Split(at.EscapedPath(), "/")
		if len(segments) != 4 {
			t.Fatalf("%q makes %q", id, out)
		}
		if back, _ := url.PathUnescape(segments[2]); back != id || at.Query().Get("c") != id {
			t.Errorf("%q comes back as %q and %q", id, back, at.Query().Get("c"))
		}
	})
}

// Whatever an operator writes: no panic, in bounded work, and no answer's text in an error.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		"body.data.id", "body.?data.?id", "body[body.data.secret]", "int(body.data.secret)", "timestamp(body.data.secret)",
		"body.list.map(x, body.list.map(y, x + y))", "header['x-a']", "status == 200 ? body : null", "body.data.secret + 1", "[body].exists(x, x.y)",
	} {
		f.Add(text)
	}
	env, err := newEnv()
	if err != nil {
		f.Fatal(err)
	}
	body, _ := json.Marshal(map[string]any{
		"data": map[string]any{"id": 1, "secret": "canary"}, "list": []int{1, 2, 3},
	})
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "canary") {
			return
		}
		for _, want := range []kind{aBool, anID, aText, aTime, aList, scopes} {
			e, err := compileExpr(env, "create.value", text, want)
			if err != nil {
				return
			}
			vars := variables(webclient.Answer{Status: 200, Header: http.Header{"X-A": {"canary"}}, Body: body})
			_, err = e.bool(t.Context(), vars)
			noSecret(t, err)
			_, err = e.id(t.Context(), vars)
			noSecret(t, err)
			_, err = e.string(t.Context(), vars)
			noSecret(t, err)
			_, err = e.time(t.Context(), vars)
			noSecret(t, err)
			_, err = e.list(t.Context(), vars)
			noSecret(t, err)
			_, err = e.strings(t.Context(), vars)
			noSecret(t, err)
		}
	})
}
