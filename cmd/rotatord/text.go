package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printf writes to a person or a pipe. An error there (the reader went away)
// has nobody to be told to.
func printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// clean makes a text from outside safe for a terminal and for one line:
// control characters and what reorders text are shown as their code points.
func clean(text string) string {
	if strings.IndexFunc(text, unsafeRune) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unsafeRune(r) {
			b.WriteString(codePoint(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func codePoint(r rune) string {
	quoted := strconv.QuoteRuneToASCII(r)
	return quoted[1 : len(quoted)-1]
}

// unsafeRune: Cc, Cf (bidi marks, zero width), line and paragraph separators,
// and bytes that are no UTF-8.
func unsafeRune(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar
}

// printJSON writes one JSON document. What a terminal might take for a command
// is escaped, which JSON allows within strings and has nowhere else.
func printJSON(w io.Writer, data any) error {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(data); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	var b strings.Builder
	for _, r := range plain.String() {
		switch {
		case r == '\n' || !unsafeRune(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16Pair(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

func utf16Pair(r rune) (high, low rune) {
	r -= 0x10000
	return 0xd800 + (r>>10)&0x3ff, 0xdc00 + r&0x3ff
}

// A table lines up columns, two spaces apart, without trailing spaces.
type table struct{ rows [][]string }

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = dash(clean(cell))
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) {
	var text bytes.Buffer
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, cells := range t.rows {
		printf(columns, "%s\n", strings.Join(cells, "\t"))
	}
	_ = columns.Flush() // into memory
	for line := range strings.Lines(text.String()) {
		printf(w, "%s\n", strings.TrimRight(line, " \n"))
	}
}

// dash stands for what is not known or not there.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// length prints a duration in its one or two largest units: 3d, 5h10m, 45s.
func length(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d >= 3*day:
		return strconv.Itoa(int(d/day)) + "d"
	case d >= 10*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return strconv.Itoa(int(d/time.Second)) + "s"
}

// moment prints a time in UTC, to the second; nil is empty.
func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// toSecond cuts fractions off: nobody reads them, and golden files would differ.
func toSecond(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	cut := t.UTC().Truncate(time.Second)
	return &cut
}

// counted prints 1 token, 2 tokens.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
