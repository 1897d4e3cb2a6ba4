package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/rotatord/rotatord/internal/config"
)

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inlineCode = regexp.MustCompile("`[^`\n]+`")
	fence      = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
)

// configurationsOf returns the whole configurations among a page's code blocks,
// each after as many empty lines as put it on its line of the page.
func configurationsOf(page string) []string {
	var whole []string
	for _, at := range fence.FindAllStringIndex(page, -1) {
		opening, block, _ := strings.Cut(page[at[0]:at[1]], "\n")
		block = strings.TrimSuffix(block, "```")
		text := "\n" + block
		if opening == "```yaml" && strings.Contains(text, "\nissuers:") && strings.Contains(text, "\ntokens:") {
			whole = append(whole, strings.Repeat("\n", strings.Count(page[:at[0]], "\n")+1)+block)
		}
	}
	return whole
}

func TestConfigurationsInPagesLoad(t *testing.T) {
	seen := 0
	for _, path := range files(t, ending(".md")) {
		for _, text := range configurationsOf(string(read(t, path))) {
			seen++
			if _, err := config.BuiltIn().Parse(path, []byte(text)); err != nil {
				t.Errorf("a configuration that readers may copy does not load:\n%v", err)
			}
		}
	}
	if seen < 2 {
		t.Errorf("%d configurations were found in the pages; want at least that of the README and that of the guide", seen)
	}
}

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
