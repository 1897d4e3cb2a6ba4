package httpissuer

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// A service that is broken or means harm costs bounded time and memory, and
// what it gets is an error: never a credential that isn't one, never a shorter list.
func TestHostileService(t *testing.T) {
	bomb := gzipped(t, 256<<20)
	var sent atomic.Int64
	flood := func(w http.ResponseWriter, r *http.Request) {
		chunk := bytes.Repeat([]byte("canary "), 8<<10)
		for left := 10 << 30; left > 0 && r.Context().Err() == nil; left -= len(chunk) {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	page := func(cursor, id func(n int64) string) http.HandlerFunc {
		var n atomic.Int64
		return func(w http.ResponseWriter, _ *http.Request) {
			at := n.Add(1)
			_, _ = fmt.Fprintf(w, `{"data": [{"id": %q, "name": "canary"}], "next": %q}`, id(at), cursor(at))
		}
	}
	fixed := func(text string) func(int64) string { return func(int64) string { return text } }
	counted := func(n int64) string { return fmt.Sprint("c", n) }
	for name, test := range map[string]struct {
		answer      http.HandlerFunc
		issue, list string // what the errors say; empty: not asked
	}{
		"10 GB":                     {flood, "longer than 1048576 bytes", "longer than 1048576 bytes"},
		"gzip bomb":                 {says(200, bomb, "Content-Encoding", "gzip"), "longer than 1048576 bytes", "longer than 1048576 bytes"},
		"half a gzip":               {says(200, bomb[:100], "Content-Encoding", "gzip"), "unexpected EOF", "unexpected EOF"},
		"headers of 1 MB":           {says(200, "{}", "X-Canary", strings.Repeat("x", 1<<20)), "exceeded 65536 bytes", "exceeded 65536 bytes"},
		"JSON 100,000 deep":         {says(200, strings.Repeat("[", 100_000)), "is not JSON", "is not JSON"},
		"objects, very deep":        {says(200, strings.Repeat(`{"data":`, 60_000)), "is not JSON", "is not JSON"},
		"an ID of 600 KB":           {says(200, `{"data": {"id": "`+strings.Repeat("x", 600<<10)+`", "secret": "canary"}}`), "is longer than", ""},
		"endless pages":             {page(counted, counted), "", "more than 1000 pages"},
		"endless pages of the same": {page(counted, fixed("1")), "", "more than 1000 pages"},
		"the same page for ever":    {page(fixed("again"), fixed("1")), "", "repeats"},
		"no list":                   {says(200, `{"data": "canary"}`), "", "is not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			sent.Store(0)
			url, _ := serve(t, test.answer)
			made := open1(t, example(t, url))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			if test.issue != "" {
				_, err := made.Issue(t.Context(), issue)
				noSecret(t, err)
				if err == nil || !strings.Contains(err.Error(), test.issue) {
					t.Errorf("Issue() = %v; want an error that says %q", err, test.issue)
				}
			}
			if test.list != "" {
				_, err := as[rotator.Lister](t, made).List(t.Context(), listing)
				noSecret(t, err)
				if err == nil || !strings.Contains(err.Error(), test.list) {
					t.Errorf("List() = %v; want an error that says %q", err, test.list)
				}
			}
			runtime.ReadMemStats(&after)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 512<<20 {
				t.Errorf("%d MB were allocated", allocated>>20)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			if sent.Load() > 64<<20 {
				t.Errorf("%d MB were taken from the service", sent.Load()>>20)
			}
		})
	}
}

// An expression that a large answer makes expensive stops.
func TestExpensiveExpressions(t *testing.T) {
	many := `{"data": [` + strings.TrimSuffix(strings.Repeat(`"canary",`, 50_000), ",") + `], "text": "` + strings.Repeat("a", 500<<10) + `!"}`
	url, _ := serve(t, says(200, many))
	for _, live := range []string{
		"body.data.all(x, body.data.all(y, x == y))",
		"body.data.map(x, body.data.map(y, x + y)).size() == 0",
		"body.data.exists(x, body.text.matches('(a+)+$'))",
		"(body.text + body.text + body.text + body.text).matches('(a|a)*b')",
	} {
		c := example(t, url)
		c.Check.Live = live
		start := time.Now()
		verdict, err := open1(t, c).Check(t.Context(), check)
		noSecret(t, err)
		if err == nil || verdict != rotator.Unknown {
			t.Errorf("Check with %s = %s, %v; want unknown and an error", live, verdict, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("Check with %s took %s", live, took)
		}
	}
}

// gzipped returns zeros, compressed.
func gzipped(t *testing.T, size int64) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.CopyN(w, zeros{}, size)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
