package execstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

const ownLogIn = "the program's own log-in"

// open makes a store over the test's own program.
func open(t *testing.T, mode, dir string) rotator.Store {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return openCommand(t, Config{Command: []string{self, "helper", mode, dir}, WriteOnly: mode == modeWriteOnly, PassEnv: []string{logIn, "GORACE"}})
}

func openCommand(t *testing.T, c Config) rotator.Store {
	t.Helper()
	store, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness { return harness(t, "normal") })
}

func TestWriteOnlyConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness { return harness(t, modeWriteOnly) })
}

func harness(t *testing.T, mode string) storetest.Harness {
	t.Helper()
	t.Setenv(logIn, ownLogIn)
	dir := t.TempDir()
	return storetest.Harness{
		Store: open(t, mode, dir), Key: "crm.token", Bad: []string{"", "../crm.token", "a/b", "/etc/passwd", ".hidden", "two\nlines", "\xff"},
		Breaking: open(t, modeBreaking, dir), Unreachable: open(t, modeUnreachable, dir), Refused: open(t, modeRefused, dir),
		Write:   func(t testing.TB, key, value string) { write(t, filepath.Join(dir, key), value) },
		Read:    func(t testing.TB, key string) (string, bool) { return readIf(t, filepath.Join(dir, key)) },
		Secrets: []string{ownLogIn},
		Lacks:   storetest.Lacks{Fields: true, Reading: mode == modeWriteOnly},
	}
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readIf(t testing.TB, file string) (string, bool) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content), err == nil
}
