package execstore

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // reads what the example in Python writes

	"github.com/rotatord/rotatord/stores/storetest"
)

const page = "../../docs/stores/exec.md"

// example takes the program in a language out of the page.
func example(t *testing.T, language string) string {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(raw), "\n```"+language+"\n#!")
	program, _, ends := strings.Cut(rest, "\n```\n")
	if !begins || !ends {
		t.Fatalf("%s has no program in %s", page, language)
	}
	file := filepath.Join(t.TempDir(), "program")
	write(t, file, "#!"+program+"\n")
	return file
}

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the example needs %s, which is not on this machine", program)
		}
	}
}

// What dies before it answers, whatever was done.
var breaking = Config{Command: []string{"sh", "-c", "head -c 40 >/dev/null; kill -KILL $$"}}

func TestExampleInShell(t *testing.T) {
	need(t, "sh", "jq", "flock", "sha256sum")
	program := example(t, "sh")
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		dir := t.TempDir()
		return storetest.Harness{
			Store: openCommand(t, Config{Command: []string{"sh", program, dir}}), Breaking: openCommand(t, breaking),
			Key: "crm.token", Bad: []string{"", "../crm.token", "/etc/passwd", ".lock", "Crm", "crm.token\n"},
			Write: func(t testing.TB, key, value string) { write(t, filepath.Join(dir, key), value) },
			Read:  func(t testing.TB, key string) (string, bool) { return readIf(t, filepath.Join(dir, key)) },
			Lacks: storetest.Lacks{Service: true, Fields: true},
		}
	})
}

func TestExampleInPython(t *testing.T) {
	need(t, "python3")
	program := example(t, "python")
	// What is found may be a script that looks for the real one at each start.
	python, err := exec.CommandContext(t.Context(), "python3", "-c", "import sqlite3, sys; print(sys.executable)").Output()
	if err != nil {
		t.Skipf("the example needs Python 3 with sqlite3: %v", err)
	}
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		file := filepath.Join(t.TempDir(), "secrets.db")
		db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		_, err = db.ExecContext(t.Context(), "CREATE TABLE secrets (key TEXT PRIMARY KEY, value TEXT NOT NULL, at TEXT NOT NULL)")
		if err != nil {
			t.Fatal(err)
		}
		return storetest.Harness{
			Store: openCommand(t, Config{Command: []string{strings.TrimSpace(string(python)), program, file}}), Breaking: openCommand(t, breaking),
			Key: "crm/token", Bad: []string{"", "../crm", "Crm", "crm'--"},
			Write: func(t testing.TB, key, value string) {
				if _, err := db.ExecContext(t.Context(), "INSERT OR REPLACE INTO secrets VALUES (?, ?, '2026-01-31T10:00:00Z')", key, value); err != nil {
					t.Fatal(err)
				}
			},
			Read: func(t testing.TB, key string) (string, bool) {
				var values []string
				rows, err := db.QueryContext(t.Context(), "SELECT value FROM secrets WHERE key = ?", key)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = rows.Close() }()
				for rows.Next() {
					var value string
					if err := rows.Scan(&value); err != nil {
						t.Fatal(err)
					}
					values = append(values, value)
				}
				if err := rows.Err(); err != nil {
					t.Fatal(err)
				}
				return strings.Join(values, ""), len(values) > 0
			},
			Lacks: storetest.Lacks{Service: true, Fields: true},
		}
	})
}
