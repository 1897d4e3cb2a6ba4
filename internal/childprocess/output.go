package childprocess

import (
	"bytes"
	"strings"
	"unicode"
)

// Output keeps the first MaxBytes of what a program prints and swallows the
// rest, so that a talkative one neither blocks nor fills the memory.
type Output struct {
	MaxBytes int

	kept bytes.Buffer
	cut  bool
}

// Bytes returns what was kept.
func (o *Output) Bytes() []byte { return o.kept.Bytes() }

// Cut tells whether there was more than was kept.
func (o *Output) Cut() bool { return o.cut }

// Write implements io.Writer; it never fails.
func (o *Output) Write(p []byte) (int, error) {
	room := min(len(p), o.MaxBytes-o.kept.Len())
	o.kept.Write(p[:room])
	if room < len(p) {
		o.cut = true
	}
	return len(p), nil
}

const maxLineRunes = 200

// OneLine makes a program's text fit to be shown: valid, without control
// characters (a terminal would obey them), and short.
func OneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > maxLineRunes {
		text = string(runes[:maxLineRunes-1]) + "…"
	}
	return text
}
