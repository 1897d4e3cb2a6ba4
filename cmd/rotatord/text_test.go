package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"crm-sync":            "crm-sync",
		"año → 日本":            "año → 日本",
		"\x1b[2Jgone":         `\x1b[2Jgone`,
		"two\nlines\r\ttab":   `two\nlines\r\ttab`,
		"\u009b31m":           `\u009b31m`,
		"abc\u202ecba":        `abc\u202ecba`,
		"zero\u200bwidth":     `zero\u200bwidth`,
		"bad \xff byte":       `bad \ufffd byte`,
		"line\u2028separator": `line\u2028separator`,
		"tag\U000e0041":       `tag\U000e0041`,
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q; want %q", text, got, want)
		}
	}
}

func TestPrintJSONKeepsValuesAndHidesControls(t *testing.T) {
	text := "a\x1b[2J\u009b\u202e\U000e0041 <ñ> \x7f"
	var out bytes.Buffer
	if err := printJSON(&out, []string{text}); err != nil {
		t.Fatal(err)
	}
	if bad := strings.IndexFunc(strings.ReplaceAll(out.String(), "\n", ""), unsafeRune); bad >= 0 {
		t.Errorf("printJSON(%q) = %q; want no control characters", text, out.String())
	}
	var back []string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[0] != text {
		t.Errorf("printJSON(%q) is read back as %q, %v", text, back, err)
	}
}

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s",
		2*time.Hour + 3*time.Minute: "2h03m", 11 * time.Hour: "11h", 71 * time.Hour: "71h",
		72 * time.Hour: "3d", 400 * 24 * time.Hour: "400d",
	} {
		if got := length(d); got != want {
			t.Errorf("length(%s) = %q; want %q", d, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	for _, test := range []struct {
		line    string
		columns int
		want    string
	}{{"short", 10, "short"}, {"exactly-10", 10, "exactly-10"}, {"more than 10", 10, "more than "}, {"日本語", 4, "日本"}} {
		if got := fit(test.line, test.columns); got != test.want {
			t.Errorf("fit(%q, %d) = %q; want %q", test.line, test.columns, got, test.want)
		}
	}
}

func TestCutValue(t *testing.T) {
	for text, want := range map[string]string{"abc": "abc", "abc\n": "abc", "abc\r\n": "abc", "a b": "a b", " x": " x"} {
		got, err := cutValue(text)
		if err != nil || got.Reveal() != want {
			t.Errorf("cutValue(%q) = %q, %v; want %q", text, got.Reveal(), err, want)
		}
	}
	for _, text := range []string{"", "\n", "  \n", "pasted\ntwice", "pasted\n\n", "a\x00b", "\x1b[200~abc", "bad\xff", strings.Repeat("x", 70_000)} {
		_, err := cutValue(text)
		if err == nil {
			t.Errorf("cutValue(%.20q) = nil; want an error", text)
		} else if strings.Contains(err.Error(), "pasted") || strings.Contains(err.Error(), "xxx") {
			t.Errorf("cutValue(%.20q) = %v; it shows the value", text, err)
		}
	}
}
