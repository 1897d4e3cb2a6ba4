//go:build unix

package filestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

// place makes a store's directory, beside a file that nobody may touch and with
// links that lead to it.
func place(t *testing.T) string {
	t.Helper()
	outside := filepath.Join(t.TempDir(), "outside.token")
	dir := filepath.Join(filepath.Dir(outside), "dir")
	write(t, outside, "outside")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	link(t, "../outside.token", filepath.Join(dir, "relative.token"))
	link(t, outside, filepath.Join(dir, "absolute.token"))
	link(t, "..", filepath.Join(dir, "up"))
	t.Cleanup(func() {
		if got := read(t, outside); got != "outside" {
			t.Errorf("the file outside of dir holds %q", got)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".*.rotatord"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
	})
	return dir
}

func bad(more ...string) []string {
	return append(more, "../outside.token", "sub/../../outside.token", "sub/../crm.token", "/etc/passwd", "", "sub/", "./x",
		"relative.token", "absolute.token", "up/outside.token", "crm.token#FIELD", "crm.env#", "crm.env#A-B", "crm.json#a..b")
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	store, err := New(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return store.(*Store)
}

// breaking opens a store whose writes end when half of the content is there.
func breaking(t *testing.T, dir string) *Store {
	t.Helper()
	store := open(t, dir)
	store.sync = func(file *os.File) error { return errors.Join(file.Truncate(3), syscall.ENOSPC) }
	return store
}

func TestWholeFile(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		dir := place(t)
		at := func(key string) string { return filepath.Join(dir, key) }
		return storetest.Harness{
			Store: open(t, dir), Key: "crm.token", Bad: bad(), Breaking: breaking(t, dir),
			Write: func(t testing.TB, key, value string) { write(t, at(key), value) },
			Read:  func(t testing.TB, key string) (string, bool) { return readIf(t, at(key)) },
			Lacks: storetest.Lacks{Service: true, Fields: true},
		}
	})
}

func TestEnv(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		dir := place(t)
		file := filepath.Join(dir, "crm.env")
		name := func(key string) string { return strings.TrimPrefix(key, "crm.env#") }
		return storetest.Harness{
			Store: open(t, dir), Key: "crm.env#TOKEN", Bad: bad(), Breaking: breaking(t, dir),
			Sibling: func(i int) string { return fmt.Sprintf("crm.env#OTHER_%d", i) },
			Write: func(t testing.TB, key, value string) {
				variables := source(t, file)
				variables[name(key)] = value
				var text strings.Builder
				for name, value := range variables {
					escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
					_, _ = fmt.Fprintf(&text, "export %s=\"%s\" # foreign\n", name, escape.Replace(value))
				}
				write(t, file, text.String())
			},
			Read: func(t testing.TB, key string) (string, bool) {
				value, ok := source(t, file)[name(key)]
				return value, ok
			},
			Lacks: storetest.Lacks{Service: true},
		}
	})
}

// source lets a shell read a .env file, as many start scripts do, and returns
// the variables that the tests use.
func source(t testing.TB, file string) map[string]string {
	t.Helper()
	variables := map[string]string{}
	if _, ok := readIf(t, file); !ok {
		return variables
	}
	const script = `. "$1"; i=0; for name in TOKEN $(seq -f OTHER_%g 0 19); do
		eval "[ -z \"\${$name+set}\" ] || printf '%s\\0%s\\0' $name \"\$$name\""; done`
	command := exec.CommandContext(t.Context(), "sh", "-euc", script, "sh", file)
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("sh does not read the file: %v\n%s", err, read(t, file))
	}
	parts := strings.Split(string(output), "\x00")
	for i := 0; i+1 < len(parts); i += 2 {
		variables[parts[i]] = parts[i+1]
	}
	return variables
}

func TestJSON(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		dir := place(t)
		file := filepath.Join(dir, "crm.json")
		load := func(t testing.TB) map[string]map[string]any {
			content, ok := readIf(t, file)
			decoded := map[string]map[string]any{}
			if err := json.Unmarshal([]byte(content), &decoded); ok && err != nil {
				t.Fatalf("%v in %s", err, content)
			}
			return decoded
		}
		name := func(key string) string { return strings.TrimPrefix(key, "crm.json#instasent.") }
		return storetest.Harness{
			Store: open(t, dir), Key: "crm.json#instasent.token", Bad: bad(), Breaking: breaking(t, dir),
			Sibling: func(i int) string { return fmt.Sprintf("crm.json#instasent.other%d", i) },
			Write: func(t testing.TB, key, value string) {
				decoded := load(t)
				if decoded["instasent"] == nil {
					decoded["instasent"] = map[string]any{}
				}
				decoded["instasent"][name(key)] = value
				text, err := json.MarshalIndent(decoded, "", "\t")
				if err != nil {
					t.Fatal(err)
				}
				write(t, file, string(text))
			},
			Read: func(t testing.TB, key string) (string, bool) {
				value, ok := load(t)["instasent"][name(key)].(string)
				return value, ok
			},
			Lacks: storetest.Lacks{Service: true},
		}
	})
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	content, ok := readIf(t, file)
	if !ok {
		t.Fatalf("%s is not there", file)
	}
	return content
}

func readIf(t testing.TB, file string) (string, bool) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content), err == nil
}

func link(t testing.TB, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// put puts a value over whatever is there and returns the error.
func put(t testing.TB, store rotator.Store, key, value string) error {
	t.Helper()
	now, err := store.Get(t.Context(), key)
	if err != nil && !errors.Is(err, rotator.ErrNotFound) {
		return err
	}
	_, err = store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret(value), Prev: now.ID, Attempt: "a"})
	return err
}
