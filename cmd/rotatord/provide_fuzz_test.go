package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/rotatord/rotatord/internal/server"
)

// FuzzProvide pipes anything into provide: what is taken is what was piped in,
// less one line end, and fits into a header; what is refused is not shown.
func FuzzProvide(f *testing.F) {
	for _, text := range []string{
		"", "\n", "\r\n", " \t", "sk_live_0123456789", "sk_live_0123456789\n", "sk_live_0123456789\r\n", "two\nlines", "a\rb",
		"\ufeffwith a mark", "esc\x1b[31mape", "\xff\xfe not utf-8", "zero\x00byte", "é日本\u202e", "\u0085\u2028",
		strings.Repeat("x", server.MaxValue), strings.Repeat("x", server.MaxValue) + "\r\n", strings.Repeat("x", server.MaxValue+1),
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, whole bool) {
		var in io.Reader = bytes.NewReader(raw)
		if !whole && len(raw) < 1<<10 {
			in = iotest.OneByteReader(in)
		}
		a := &app{in: in, out: t.Output(), errOut: t.Output()}
		value, err := a.readValue(t.Context(), "crm-sync")
		if err != nil {
			// Short inputs are in the message's own words.
			if len(raw) > 60 && strings.Contains(err.Error(), string(raw)) {
				t.Errorf("readValue(%q) = %v; the error shows the value", raw, err)
			}
			if !value.IsZero() {
				t.Errorf("readValue(%q) = a value and %v", raw, err)
			}
			return
		}
		got := value.Reveal()
		if rest, ok := strings.CutPrefix(string(raw), got); !ok || rest != "" && rest != "\n" && rest != "\r" && rest != "\r\n" {
			t.Errorf("readValue(%q) = %q; want it whole, less one line end", raw, got)
		}
		if got == "" || len(got) > server.MaxValue || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\r\n\x1b") {
			t.Errorf("readValue(%q) = %q; want it refused", raw, got)
		}
	})
}
