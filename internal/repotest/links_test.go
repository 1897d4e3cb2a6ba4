package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inlineCode = regexp.MustCompile("`[^`\n]+`")
	fence      = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

// commandsOf returns the console blocks and the inline code of a page.
func commandsOf(page string) []string {
	var blocks []string
	for _, block := range fence.FindAllString(page, -1) {
		if strings.HasPrefix(strings.TrimSpace(block), "```console") {
			blocks = append(blocks, block)
		}
	}
	return append(blocks, inlineCode.FindAllString(fence.ReplaceAllString(page, ""), -1)...)
}

// anchorsOf returns the anchors that GitHub makes of a page's headings.
func anchorsOf(page string) []string {
	var anchors []string
	for line := range strings.Lines(fence.ReplaceAllString(page, "")) {
		hashes, title, ok := strings.Cut(line, " ")
		if !ok || strings.Trim(hashes, "#") != "" || hashes == "" {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(title))
		anchors = append(anchors, anchor)
	}
	return anchors
}

func TestLinksBetweenPagesResolve(t *testing.T) {
	for _, path := range files(t, ending(".md")) {
		page := inlineCode.ReplaceAllString(fence.ReplaceAllString(string(read(t, path)), ""), "")
		for _, match := range link.FindAllStringSubmatch(page, -1) {
			target := match[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue // another site: not ours to hold
			}
			file, anchor, _ := strings.Cut(target, "#")
			resolved := path
			if file != "" {
				resolved = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(filepath.Join(root, resolved)); err != nil {
				t.Errorf("%s: link to %q: there is no such file", path, target)
				continue
			}
			if anchor != "" && !slices.Contains(anchorsOf(string(read(t, resolved))), anchor) {
				t.Errorf("%s: link to %q: there is no such heading", path, target)
			}
		}
	}
}

func TestAnchors(t *testing.T) {
	got := anchorsOf("# One `two`: three\n```\n# no heading\n```\n## P1–P7, held\n")
	want := []string{"one-two-three", "p1p7-held"}
	if !slices.Equal(got, want) {
		t.Errorf("anchorsOf = %q; want %q", got, want)
	}
}

// Every page of docs/ is reachable from the README or from another page of docs/.
func TestEveryPageIsLinked(t *testing.T) {
	linked := map[string]bool{}
	pages := files(t, ending(".md"))
	for _, path := range pages {
		for _, match := range link.FindAllStringSubmatch(string(read(t, path)), -1) {
			file, _, _ := strings.Cut(match[1], "#")
			linked[filepath.Join(filepath.Dir(path), file)] = true
		}
	}
	for _, path := range pages {
		if strings.HasPrefix(path, "docs/") && !linked[path] {
			t.Errorf("%s: no page links to it", path)
		}
	}
}
