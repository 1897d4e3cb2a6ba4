package repotest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/stores"
)

const storesIndex = "docs/stores/README.md"

// wantedHeadings are what the page of every store has a section about.
func wantedHeadings() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"permissions": regexp.MustCompile(`(?im)^##+ .*(permission|allowed|may do|must be able)`),
		"evidence":    regexp.MustCompile(`(?im)^##+ .*evidence`),
	}
}

// Each type of store has a page, which shows the example that the binary prints.
func TestEveryStoreHasAPage(t *testing.T) {
	kind := stores.Types()
	for _, name := range kind.Types() {
		t.Run(name, func(t *testing.T) {
			path := "docs/stores/" + name + ".md"
			raw, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Fatalf("%s: there is no such page; it is what a user of the store reads", path)
			}
			page := string(raw)
			example := strings.TrimRight(kind[name].Example, "\n")
			if !strings.Contains(page, "\n```yaml\n"+example+"\n```\n") {
				t.Errorf("%s: has no yaml block that is stores/%s/example.yaml, letter by letter", path, name)
			}
			text := fence.ReplaceAllString(page, "")
			for what, heading := range wantedHeadings() {
				if !heading.MatchString(text) {
					t.Errorf("%s: has no heading about %s", path, what)
				}
			}
		})
	}
}

// A summary is what `rotatord docs stores` prints: one or two sentences.
func TestEveryStoreHasASummary(t *testing.T) {
	const longest = 300
	kind := stores.Types()
	for _, name := range kind.Types() {
		if text := kind[name].Summary(); !strings.HasSuffix(text, ".") || len(text) > longest {
			t.Errorf("stores/%s/example.yaml: begins with %q; want a comment of one or two sentences that say what the place is", name, text)
		}
	}
}

var (
	storeRow  = regexp.MustCompile("(?m)^\\| \\[`([^`]+)`\\]\\(([^)]+)\\) \\|")
	statusRow = regexp.MustCompile(`(?m)^\| \[?stores[^|]* \| ([^|]*) \|`)
	backticks = regexp.MustCompile("`([^`]+)`")
)

// The index of the stores' pages and the README's table name the types that there are.
func TestListsOfStores(t *testing.T) {
	types := stores.Types().Types()
	var listed []string
	for _, row := range storeRow.FindAllStringSubmatch(string(read(t, storesIndex)), -1) {
		listed = append(listed, row[1])
		if row[2] != row[1]+".md" {
			t.Errorf("%s: the row of %s links to %s", storesIndex, row[1], row[2])
		}
	}
	if diff := cmp.Diff(types, listed); diff != "" {
		t.Errorf("%s: the table does not list the types of stores in order (-want +got):\n%s", storesIndex, diff)
	}
	row := statusRow.FindStringSubmatch(string(read(t, "README.md")))
	if row == nil {
		t.Fatal("README.md: has no row of stores in the table under Status")
	}
	var named []string
	for _, name := range backticks.FindAllStringSubmatch(row[1], -1) {
		named = append(named, name[1])
	}
	slices.Sort(named)
	if diff := cmp.Diff(types, named); diff != "" {
		t.Errorf("README.md: the row of stores under Status does not name the types that there are (-want +got):\n%s", diff)
	}
}
