package journal_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/internal/journal/journaltest"
	"github.com/rotatord/rotatord/rotator"
)

// A place is a folder for a journal.
type place struct{ folder string }

func newPlace(t *testing.T) place { t.Helper(); return place{t.TempDir()} }

func (p place) db() string  { return filepath.Join(p.folder, "rotatord.db") }
func (p place) key() string { return filepath.Join(p.folder, "rotatord.key") }

func (p place) options() journal.Options {
	return journal.Options{DSN: "sqlite:" + p.db(), SealKeyFile: p.key(), NoSync: true}
}

func (p place) open(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), p.options())
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// raw opens the database behind the journal's back.
func (p place) raw(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+p.db()+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (p place) exec(t *testing.T, statements ...string) {
	t.Helper()
	db := p.raw(t)
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSQLite(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Subject {
		t.Helper()
		p := newPlace(t)
		first := p.open(t)
		opened := []*journal.Journal{first}
		reopen := func(o journal.Options) (*journal.Journal, error) {
			// Only without its lock can there be a second owner.
			if err := os.Remove(p.db() + ".lock"); err != nil {
				t.Fatal(err)
			}
			j, err := journal.Open(t.Context(), o)
			if err == nil {
				opened = append(opened, j)
			}
			return j, err
		}
		return journaltest.Subject{
			Journal: first,
			Reopen: func() rotator.Journal {
				j, err := reopen(p.options())
				if err != nil {
					t.Fatalf("Open() again = %v", err)
				}
				return j
			},
			OtherKey: func() rotator.Journal {
				o := p.options()
				o.SealKeyFile = filepath.Join(t.TempDir(), "other.key")
				if err := os.WriteFile(o.SealKeyFile, make([]byte, 32), 0o600); err != nil {
					t.Fatal(err)
				}
				j, err := reopen(o)
				if err != nil {
					t.Fatalf("Open() with another key = %v", err)
				}
				return j
			},
			AtRest:      func() []byte { return p.atRest(t) },
			Ciphertexts: func() [][]byte { return p.ciphertexts(t) },
			Close: func() error {
				var errs []error
				for _, j := range opened {
					errs = append(errs, j.Close())
				}
				return errors.Join(errs...)
			},
		}
	})
}

// atRest returns the bytes of all files of the journal but the key.
func (p place) atRest(t *testing.T) []byte {
	t.Helper()
	files, err := filepath.Glob(p.db() + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the journal: %v, %v", files, err)
	}
	var all []byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	return all
}

func (p place) ciphertexts(t *testing.T) [][]byte {
	t.Helper()
	db := p.raw(t)
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(context.Background(), `SELECT ciphertext FROM sealed ORDER BY rotation, slot`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var all [][]byte
	for rows.Next() {
		var one []byte
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
