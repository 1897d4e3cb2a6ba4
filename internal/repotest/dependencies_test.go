package repotest

import (
	"regexp"
	"strings"
	"testing"
)

const dependenciesPage = "docs/dependencies.md"

// dependencyRow is a row of a table whose first cell is one module.
var dependencyRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\| ([^|]*) \\|$")

func TestDependenciesPageIsGoMod(t *testing.T) {
	listed := map[string]string{} // module → licence
	for _, row := range dependencyRow.FindAllStringSubmatch(string(read(t, dependenciesPage)), -1) {
		if _, twice := listed[row[1]]; twice {
			t.Errorf("%s: lists %s twice", dependenciesPage, row[1])
		}
		if strings.TrimSpace(row[2]) == "" {
			t.Errorf("%s: does not say why %s is there", dependenciesPage, row[1])
		}
		listed[row[1]] = strings.TrimSpace(row[3])
	}
	var direct []module
	for _, m := range requirements(t) {
		if !m.Indirect {
			direct = append(direct, m)
		}
	}
	for _, m := range withFolders(t, direct) {
		licence, ok := listed[m.Path]
		delete(listed, m.Path)
		if !ok {
			t.Errorf("%s: lacks %s, which go.mod requires", dependenciesPage, m.Path)
			continue
		}
		found, _ := licencesOf(m) // what is wrong is the other test's
		if want := strings.Join(found, ", "); m.Dir != "" && licence != want {
			t.Errorf("%s: the licence of %s is %q; want %q", dependenciesPage, m.Path, licence, want)
		}
	}
	for path := range listed {
		t.Errorf("%s: lists %s, which go.mod does not require directly", dependenciesPage, path)
	}
}
