//go:build unix

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExposed(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "rotatord.key")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o755: false, 0o775: true, 0o777: true, 0o777 | os.ModeSticky: false} {
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(exposed(file, filepath.Join(folder, "none")), "\n")
		if (got != "") != want || want && (!strings.Contains(got, folder+": others can replace") || strings.Count(got, "\n") > 0) {
			t.Errorf("exposed in a folder with mode %v = %q; want one warning: %t", mode, got, want)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	if err := os.Chown(file, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := exposed(file); len(got) != 1 || !strings.Contains(got[0], "belongs to user 65534") {
		t.Errorf("exposed of another's file = %q; want it named", got)
	}
}
