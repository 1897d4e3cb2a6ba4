package testservers_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
)

func TestToxiproxy(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(out, "a whole answer")
	}))
	defer upstream.Close()
	way := testservers.Toxiproxy(t).Proxy(t, "p", strings.TrimPrefix(upstream.URL, "http://"))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() (string, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+way.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return string(body), err
	}
	if body, err := get(); err != nil || body != "a whole answer" {
		t.Errorf("through the proxy: %q, %v", body, err)
	}
	for kind, attributes := range map[string]map[string]int{"down": nil, "reset_peer": {"timeout": 0}, "limit_data": {"bytes": 10}} {
		way.Disturb(t, kind, attributes)
		if body, err := get(); err == nil {
			t.Errorf("with toxic %s: %q; want an error", kind, body)
		}
		way.Restore(t)
		if body, err := get(); err != nil || body != "a whole answer" {
			t.Errorf("after toxic %s: %q, %v", kind, body, err)
		}
	}
}
