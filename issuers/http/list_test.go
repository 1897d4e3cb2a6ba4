package httpissuer

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

func TestListAnswers(t *testing.T) {
	for _, test := range []struct {
		name  string
		serve http.HandlerFunc
		calls int64
		want  string
	}{
		{"not JSON", says(200, "canary"), 1, "list.items: body.data: the answer is not JSON"},
		{"no items", says(200, `{"canary": []}`), 1, `list.items: body.data: no such key "data"`},
		{"items null", says(200, `{"data": null, "next": null}`), 1, "list.items: body.data: is not a list"},
		{"items of another type", says(200, `{"data": {"canary": 1}}`), 1, "list.items: body.data: is not a list"},
		{"item of another type", says(200, `{"data": ["canary"]}`), 1, `list.id: item.id: no such key "id"`},
		{"item without ID", says(200, `{"data": [{"name": "canary"}]}`), 1, `list.id: item.id: no such key "id"`},
		{"item with an empty ID", says(200, `{"data": [{"id": "", "name": "canary"}]}`), 1, "list.id: item.id: is empty or null"},
		{"item without a name", says(200, `{"data": [{"id": 1}]}`), 1, `list.name: item.name: no such key "name"`},
		{"name of another type", says(200, `{"data": [{"id": 1, "name": 2}]}`), 1, "list.name: item.name: is not a string"},
		{"no cursor", says(200, `{"data": []}`), 1, `list.next_cursor: body.next: no such key "next"; where the last page leaves it out, write it with a question mark: body.?next`},
		{"cursor of another type", says(200, `{"data": [], "next": true}`), 1, "list.next_cursor: body.next: is neither a string nor a whole number"},
		{"cursor repeats at once", says(200, `{"data": [], "next": "a"}`), 2, "list.next_cursor repeats, so the list has no end"},
		{"cursor goes in a circle", func(w http.ResponseWriter, r *http.Request) {
			next := map[string]string{"": "a", "a": "b", "b": "c", "c": "a"}[r.URL.Query().Get("cursor")]
			_, _ = fmt.Fprintf(w, `{"data": [], "next": %q}`, next)
		}, 4, "list.next_cursor repeats, so the list has no end"},
		{"never ends", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, `{"data": [], "next": "%sx"}`, r.URL.Query().Get("cursor"))
		}, maxPages, "more than 1000 pages"},
		{"too many", func(w http.ResponseWriter, r *http.Request) {
			items := strings.Repeat(`{"id":1,"name":""},`, 51_000)
			_, _ = fmt.Fprintf(w, `{"data": [%s], "next": "%sx"}`, strings.TrimSuffix(items, ","), r.URL.Query().Get("cursor"))
		}, 2, "more than 100000 credentials"},
		{"second page refused", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") != "" {
				w.WriteHeader(http.StatusForbidden)
			}
			_, _ = fmt.Fprint(w, `{"data": [{"id": 1, "name": "x"}], "next": "a"}`)
		}, 2, "answered 403 forbidden"},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, calls := serve(t, test.serve)
			all, err := as[rotator.Lister](t, open1(t, example(t, url))).List(t.Context(), listing)
			noSecret(t, err)
			if err == nil || all != nil || err.Error() != "list credentials: "+test.want {
				t.Errorf("List() = %d credentials, %v; want %q", len(all), err, test.want)
			}
			if got := calls.Load(); got != test.calls {
				t.Errorf("%d calls; want %d", got, test.calls)
			}
		})
	}
}

// Page numbers: the next cursor is computed from this one.
func TestListByPageNumber(t *testing.T) {
	url, calls := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := map[string]string{
			"":  `{"data": [{"id": 1, "name": "a", "last_used": 1795000000}]}`,
			"2": `{"data": [{"id": 2, "name": null, "last_used": null}]}`,
			"3": `{"data": []}`,
		}[r.URL.Query().Get("page")]
		_, _ = fmt.Fprint(w, page)
	})
	c := example(t, url)
	c.List.Path = "/tokens{{ if .cursor }}?page={{ .cursor }}{{ end }}"
	c.List.NextCursor = `size(body.data) == 0 ? "" : cursor == "" ? "2" : string(int(cursor) + 1)`
	made := open1(t, c)
	got, err := as[rotator.Lister](t, made).List(t.Context(), listing)
	want := []rotator.Credential{{ID: "1", Name: "a", LastUsedAt: time.Unix(1795000000, 0).UTC()}, {ID: "2"}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b rotator.Secret) bool { return a.IsZero() == b.IsZero() })); diff != "" || err != nil {
		t.Errorf("List(): %v, -want +got\n%s", err, diff)
	}
	if got := calls.Load(); got != 3 {
		t.Errorf("%d calls; want 3", got)
	}
	if err := as[rotator.Pinger](t, made).Ping(t.Context()); err != nil || calls.Load() != 4 {
		t.Errorf("Ping() = %v after %d calls; want the list's first page", err, calls.Load())
	}
}

func TestPing(t *testing.T) {
	for _, test := range []struct {
		ok     string
		answer http.HandlerFunc
		effect string
	}{
		{"", says(204, ""), "done"},
		{"", says(401, ""), "permanent"},
		{"", says(302, "", "Location", "/"), "permanent"},
		{"", says(503, ""), "in doubt"},
		{"body.admin", says(200, `{"admin": true}`), "done"},
		{"body.admin", says(200, `{"admin": false}`), "in doubt"},
		{"body.admin", says(200, `canary`), "in doubt"},
		{"body.admin", says(403, `canary`), "permanent"},
		{"status == 404", says(404, ""), "done"},
	} {
		url, _ := serve(t, test.answer)
		c := example(t, url)
		c.Ping = &Ping{Path: "/me", OK: test.ok}
		err := as[rotator.Pinger](t, open1(t, c)).Ping(t.Context())
		noSecret(t, err)
		if got := effect(err); got != test.effect {
			t.Errorf("Ping(ok: %q) = %v, which is %s; want %s", test.ok, err, got, test.effect)
		}
	}
}

func TestCAFile(t *testing.T) {
	c := example(t, "https://admin.example.com")
	c.CAFile = t.TempDir() + "/none.pem"
	_, err := New(t.Context(), c)
	var field *rotator.FieldError
	if !errors.As(err, &field) || field.Path != "ca_file" {
		t.Errorf("New(no such CA) = %v; want a mistake in ca_file", err)
	}
}
