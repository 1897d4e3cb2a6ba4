package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// canaries are what was pasted into the bad files. They look like secrets of
// common services, so that no message may hold them.
var canaries = []string{
	"eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LWNhbmFyeQ",
	"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
	"hvs.CAESIJ1x8Qw3Zt9canary",
}

// leak returns a piece of a canary that the text holds, or "".
func leak(text string) string {
	for _, canary := range canaries {
		for i := 0; i+10 <= len(canary); i++ {
			if piece := canary[i : i+10]; strings.Contains(text, piece) {
				return piece
			}
		}
	}
	return ""
}

// TestBadFiles compares what is said of each file in testdata/bad with the
// file of the same name that ends in .golden.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d bad files, error %v; want at least 40", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(file)
			var mistakes *config.MistakesError
			if !errors.As(err, &mistakes) {
				t.Fatalf("Load = %v; want mistakes", err)
			}
			mistakes.File = filepath.Base(file)
			got := mistakes.Error() + "\n"
			if piece := leak(got); piece != "" {
				t.Errorf("a message holds %q of a canary:\n%s", piece, got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}
