package registry_test

import (
	"testing"

	"github.com/rotatord/rotatord/internal/registry"
)

func TestSummary(t *testing.T) {
	for example, want := range map[string]string{
		"# One place. Two\n# sentences.\n#\n# More.\ntype: x\n":            "One place. Two sentences.",
		"# One place, v1.2. A `key` is one of\n#   a.token  a file.\n# x.": "One place, v1.2.",
		"# One place.\ntype: x # no\n":                                     "One place.",
		"# No sentence\n\n# One.":                                          "No sentence",
		"type: x\n":                                                        "",
	} {
		if got := (registry.Entry[any]{Example: example}).Summary(); got != want {
			t.Errorf("Summary() of %q = %q; want %q", example, got, want)
		}
	}
}
