package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// MaxBytes is the longest document that is read.
const MaxBytes = 10 << 20

// quoted is what the parser quotes of the document; the shorter ones are its own signs.
var quoted = regexp.MustCompile(`\s*'[^']{4,}'|\s*"[^"]{4,}"`)

// Parse reads one document of UTF-8. Aliases and merge keys are resolved in the
// tree that it returns. With mistakes, the tree holds what could be read, and
// is nil if nothing could.
func Parse(raw []byte) (*yaml.Node, []Mistake) {
	if len(raw) > MaxBytes {
		return nil, []Mistake{{Text: fmt.Sprintf("the file is longer than %d MiB", MaxBytes>>20)}}
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if at := invalidUTF8(raw); at >= 0 {
		line, column := lineOf(raw, at)
		return nil, []Mistake{{Line: line, Column: column, Text: "not UTF-8"}}
	}
	root, mistake := load(raw)
	if mistake != nil {
		return nil, []Mistake{*mistake}
	}
	if isNull(root) {
		return nil, []Mistake{{Line: 1, Column: 1, Text: "the file is empty"}}
	}
	expander := expander{size: map[*yaml.Node]int{}}
	expander.expand(Place{Node: root}, 0)
	return root, expander.mistakes
}

func load(raw []byte) (*yaml.Node, *Mistake) {
	loader, err := yaml.NewLoader(bytes.NewReader(raw))
	if err != nil {
		return nil, &Mistake{Text: "can't be read as YAML"}
	}
	var document, second yaml.Node
	if err := loader.Load(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return &yaml.Node{}, nil
		}
		return nil, syntaxMistake(raw, err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &Mistake{Line: max(second.Line, 1), Column: max(second.Column, 1), Text: "a second document begins here; the configuration is one document"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxMistake(raw, err)
	}
	if document.Kind == yaml.DocumentNode && len(document.Content) == 1 {
		return document.Content[0], nil
	}
	return &document, nil
}

// syntaxMistake takes over the parser's position and what it says of the
// grammar, but nothing that it quotes.
func syntaxMistake(raw []byte, err error) *Mistake {
	var loadErr *yaml.LoadError
	if !errors.As(err, &loadErr) {
		return &Mistake{Text: "not YAML: the document can't be parsed"}
	}
	mistake := &Mistake{Line: loadErr.Mark.Line, Column: loadErr.Mark.Column}
	if mistake.Line > 0 {
		mistake.Column = max(mistake.Column, 1)
	}
	lines := bytes.Split(raw, []byte("\n"))
	if n := mistake.Line; n >= 1 && n <= len(lines) && strings.Contains(indentOf(lines[n-1]), "\t") {
		mistake.Text = "a tab can't indent YAML; use spaces"
		return mistake
	}
	text := quoted.ReplaceAllString(loadErr.Message, "")
	if loadErr.ContextMsg != "" {
		text = quoted.ReplaceAllString(loadErr.ContextMsg, "") + ": " + text
	}
	mistake.Text = "not YAML: " + strings.Join(strings.Fields(text), " ")
	return mistake
}

func indentOf(line []byte) string {
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

func invalidUTF8(raw []byte) int {
	if utf8.Valid(raw) {
		return -1
	}
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

func lineOf(raw []byte, at int) (line, column int) {
	before := raw[:at]
	return bytes.Count(before, []byte("\n")) + 1, at - bytes.LastIndexByte(before, '\n')
}
