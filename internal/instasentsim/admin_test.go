package instasentsim_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/rotator"
)

func TestAdmin(t *testing.T) {
	c := start(t, instasentsim.Knobs{PageSize: 2, MaxTokens: 5, MaxTokensStatus: 409})
	for _, tc := range []struct {
		method, path, token, body, kind string
		want                            int
	}{
		{"POST", tokensPath, "", `{"name": "a"}`, "", 401},
		{"POST", tokensPath, "wrong", `{"name": "a"}`, "", 401},
		{"POST", tokensPath, "read-token", `{"name": "a"}`, "", 403},
		{"GET", tokensPath, "read-token", "", "", 200},
		{"POST", tokensPath, adminToken, `{"name": " "}`, "", 422},
		{"POST", tokensPath, adminToken, `{"nme": "a"}`, "", 400},
		{"POST", tokensPath, adminToken, `nonsense`, "", 400},
		{"POST", tokensPath, adminToken, `{"name": "a"}`, "text/plain", 415},
		{"POST", tokensPath, adminToken, `{"name": "a", "type": "other"}`, "", 422},
		{"POST", "/admin/projects/proj_x/tokens", adminToken, `{"name": "a", "type": "datasource"}`, "", 422},
		{"POST", "/admin/projects/proj_x/tokens", adminToken, `{"name": "a"}`, "", 201},
		{"POST", "/admin/projects/proj_x/datasources/none/tokens", adminToken, `{"name": "a"}`, "", 404},
		{"GET", "/admin/projects/proj_x/datasources/none/tokens", adminToken, "", "", 404},
		{"GET", tokensPath + "?cursor=odd", adminToken, "", "", 400},
		{"DELETE", tokensPath + "/tok_none", adminToken, "", "", 404},
		{"PUT", tokensPath, adminToken, "", "", 405},
		{"GET", tokensPath + "/tok_none", adminToken, "", "", 405},
		{"GET", "/admin/me", adminToken, "", "", 200},
		{"GET", "/admin/me", "", "", "", 401},
		{"GET", "/admin/other", adminToken, "", "", 404},
	} {
		headers := []string{}
		if tc.kind != "" {
			headers = []string{"Content-Type", tc.kind}
		}
		got := c.mustSend(c.admin, tc.method, tc.path, tc.token, tc.body, headers...)
		if got.status != tc.want {
			t.Errorf("%s %s %s: status %d; want %d", tc.method, tc.path, tc.body, got.status, tc.want)
		}
	}
	var ids, values []string
	for i := range 5 {
		id, value := c.create(fmt.Sprint("token ", i))
		ids, values = append(ids, id), append(values, value)
		if got := c.stream(value); got.status != 200 {
			t.Errorf("new token: status %d", got.status)
		}
	}
	if got := c.mustSend(c.admin, "POST", tokensPath, adminToken, `{"name": "one too many"}`); got.status != 409 {
		t.Errorf("sixth token: status %d; want 409", got.status)
	}
	listed, pages := c.list(values)
	if !slices.Equal(listed, ids) || pages != 3 {
		t.Errorf("listed %v on %d pages; want %v on 3", listed, pages, ids)
	}
	for _, want := range []int{204, 404} {
		if got := c.mustSend(c.admin, "DELETE", tokensPath+"/"+ids[1], adminToken, ""); got.status != want {
			t.Errorf("delete: status %d; want %d", got.status, want)
		}
	}
	if got := c.stream(values[1]); got.status != 401 {
		t.Errorf("deleted token: status %d; want 401", got.status)
	}
	if listed, _ := c.list(values); !slices.Equal(listed, slices.Delete(slices.Clone(ids), 1, 2)) {
		t.Errorf("after the delete: listed %v", listed)
	}
	c.Set(func(k *instasentsim.Knobs) { k.ListUnsupported = true })
	if got := c.mustSend(c.admin, "GET", tokensPath, adminToken, ""); got.status != 405 {
		t.Errorf("unsupported list: status %d; want 405", got.status)
	}
}

func (c *caller) create(name string) (id, value string) {
	c.Helper()
	body, _ := json.Marshal(map[string]any{"name": name})
	got := c.mustSend(c.admin, "POST", tokensPath, adminToken, string(body))
	var made struct {
		Data struct{ ID, Secret, Name string }
	}
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || got.status != 201 || made.Data.Name != name {
		c.Fatalf("create: %d %s", got.status, got.body)
	}
	return made.Data.ID, made.Data.Secret
}

// list reads all pages, and sees that no value is on them.
func (c *caller) list(values []string) (ids []string, pages int) {
	c.Helper()
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		got := c.mustSend(c.admin, "GET", tokensPath+"?cursor="+cursor, adminToken, "")
		var page struct {
			Data []struct{ ID string }
			Next string
		}
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != 200 {
			c.Fatalf("list: %d %s", got.status, got.body)
		}
		for _, each := range page.Data {
			ids = append(ids, each.ID)
		}
		for _, value := range values {
			if strings.Contains(got.body, value) {
				c.Errorf("the list shows a value")
			}
		}
		cursor = page.Next
	}
	return ids, pages
}

func TestControl(t *testing.T) {
	c := start(t, instasentsim.Knobs{PageSize: 7})
	if got := c.mustSend(c.admin, "PATCH", "/sim/knobs", "read-token", `{}`); got.status != 403 {
		t.Errorf("knobs with the reading token: status %d; want 403", got.status)
	}
	c.mustSend(c.admin, "PATCH", "/sim/knobs", adminToken, `{"dead_status": 403, "revocation_lag": "2s"}`)
	want := instasentsim.Knobs{PageSize: 7, DeadStatus: 403, RevocationLag: rotator.Duration(2 * time.Second)}
	if diff := cmp.Diff(want, c.Knobs()); diff != "" {
		t.Errorf("Knobs() (-want +got):\n%s", diff)
	}
	c.mustSend(c.admin, "POST", "/sim/faults", adminToken, `{"side": "api", "status": 500}`)
	if got := c.stream("garbage"); got.status != 500 {
		t.Errorf("status %d; want the fault's 500", got.status)
	}
	c.mustSend(c.admin, "POST", "/sim/faults", adminToken, `{"side": "api", "status": 500, "times": 9}`)
	c.mustSend(c.admin, "DELETE", "/sim/faults", adminToken, "")
	value := c.generate(place).Value
	if got := c.stream(value); got.status != 200 {
		t.Errorf("status %d after the faults were cleared; want 200", got.status)
	}
	stats := c.mustSend(c.admin, "GET", "/sim/stats", adminToken, "")
	if !strings.Contains(stats.body, string(rotator.FingerprintOf(value))) || strings.Contains(stats.body, value) {
		t.Errorf("stats have no fingerprint, or a value: %s", stats.body)
	}
	if !json.Valid([]byte(stats.body)) || !strings.Contains(stats.body, `"calls":2`) {
		t.Errorf("stats: %s", stats.body)
	}
}
