package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

// see appends an entry of a token as a whole.
func see(t testing.TB, j *journal.Journal, token string) error {
	t.Helper()
	head, err := j.TokenHead(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	_, err = j.Append(t.Context(), rotator.Append{Token: token, Head: head, Entries: []rotator.Entry{{Kind: rotator.EntrySeen}}})
	return err
}

func TestOpenFaults(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, p place) // to a journal with ten entries
		dsn  func(p place) string        // empty: that journal
		say  []string
	}{
		{"folder is missing", nil, func(p place) string { return filepath.Join(p.folder, "no", "where", "x.db") }, []string{"does not exist", "mkdir -m 700 -p", "no/where"}},
		{"folder is a file", nil, func(p place) string { return filepath.Join(p.db(), "x.db") }, []string{"is not a folder"}},
		{"file is a folder", nil, func(p place) string { return p.folder }, []string{"is not a file"}},
		{"link leads nowhere", func(t *testing.T, p place) {
			t.Helper()
			mustDo(t, os.Symlink("gone", filepath.Join(p.folder, "link")))
		}, func(p place) string { return filepath.Join(p.folder, "link") }, []string{"leads nowhere"}},
		{"lock is a link", func(t *testing.T, p place) {
			t.Helper()
			mustDo(t, errors.Join(os.Remove(p.db()+".lock"), os.Symlink("elsewhere", p.db()+".lock")))
		}, nil, []string{p0lock}},
		{"not a database", func(t *testing.T, p place) {
			t.Helper()
			mustDo(t, os.WriteFile(p.db(), []byte(strings.Repeat("not a database\n", 500)), 0o600))
		}, nil, []string{"is not a journal", "backup"}},
		{"another's database", func(t *testing.T, p place) {
			t.Helper()
			mustDo(t, os.Remove(p.db()))
			mustDo(t, os.WriteFile(p.db(), nil, 0o600))
			p.exec(t, `CREATE TABLE theirs (x)`)
		}, nil, []string{"not a journal of rotatord"}},
		{"newer schema", func(t *testing.T, p place) {
			t.Helper()
			p.exec(t, `UPDATE rotatord_schema SET version = 99`)
		}, nil, []string{"newer rotatord", "schema 99"}},
		{"own row is missing", func(t *testing.T, p place) {
			t.Helper()
			p.exec(t, `DELETE FROM meta`)
		}, nil, []string{"own row is missing", "backup"}},
		{"own row is damaged", func(t *testing.T, p place) {
			t.Helper()
			p.exec(t, `UPDATE meta SET head_hash = x'00'`)
		}, nil, []string{"own row is damaged", "backup"}},
		{"cut off", func(t *testing.T, p place) {
			t.Helper()
			mustDo(t, os.Truncate(p.db(), 8192))
		}, nil, []string{"is damaged", "backup"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := written(t)
			if test.do != nil {
				test.do(t, p)
			}
			o := p.options()
			if test.dsn != nil {
				o.DSN = "sqlite:" + test.dsn(p)
			}
			wantError(t, "Open", p.openError(t, o), append(test.say, "open journal: ")...)
			if test.name == "lock is a link" {
				return // readers take no lock
			}
			o.ReadOnly = true
			err := p.openError(t, o)
			if err == nil && strings.HasPrefix(test.name, "own row") {
				return // found when it is read
			}
			wantError(t, "Open for reading", err, "open journal: ")
		})
	}
}

// p0lock is what the operating system says of a link that is not followed.
const p0lock = "too many levels of symbolic links"

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOlderSchemaForReading(t *testing.T) {
	p := written(t)
	p.exec(t, `UPDATE rotatord_schema SET version = 0`)
	err := p.openError(t, journal.Options{DSN: "sqlite:" + p.db(), ReadOnly: true})
	wantError(t, "Open for reading of a schema that has no tables", err, "no journal yet")
}

// TestCorruptPage overwrites pages in the middle: what is hurt is named, the
// rest goes on, and nothing panics.
func TestCorruptPage(t *testing.T) {
	p := newPlace(t)
	j := p.open(t)
	for n := range 200 {
		a := opened(fmt.Sprint("token ", n), fmt.Sprint("rotation ", n))
		a.Entries[0].Why = strings.Repeat("why ", 100)
		if _, err := j.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	mustDo(t, j.Close())
	whole, err := os.ReadFile(p.db())
	mustDo(t, err)
	const page = 4096
	found := 0
	for n := page; n+page <= len(whole); n += page {
		hurt := append([]byte(nil), whole...)
		for i := range page {
			hurt[n+i] ^= byte(i*7 + 1)
		}
		mustDo(t, os.WriteFile(p.db(), hurt, 0o600))
		j, err := journal.Open(t.Context(), p.options())
		if err != nil {
			wantError(t, "Open", err, p.db())
			found++
			continue
		}
		if _, err := j.Verify(t.Context(), journal.Head{}); err != nil {
			wantError(t, "Verify", err, "damaged")
			found++
		} else {
			t.Errorf("Verify with page %d overwritten = nil", n/page+1)
		}
		_, _ = j.Append(t.Context(), opened("crm", "01A"))
		_, _ = j.OpenRotations(t.Context())
		_, _ = j.Unseal(t.Context(), "rotation 7", rotator.SlotNew)
		_, _ = j.Entries(t.Context(), "rotation 7")
		_ = j.SetDue(t.Context(), map[string]time.Time{"crm": time.Now()})
		_ = j.Close()
	}
	if found < 10 {
		t.Errorf("%d pages were tried; want more", found)
	}
}

func TestFileRemovedWhileOpen(t *testing.T) {
	for name, do := range map[string]func(p place) error{
		"removed":     func(p place) error { return os.Remove(p.db()) },
		"renamed":     func(p place) error { return os.Rename(p.db(), p.db()+".old") },
		"replaced":    func(p place) error { return replace(p.db()) },
		"log removed": func(p place) error { return os.Remove(p.db() + "-wal") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			j := p.open(t)
			mustDo(t, see(t, j, "crm"))
			mustDo(t, do(p))
			err := see(t, j, "crm")
			wantError(t, "Append", err, "removed or replaced", p.db())
			if !rotator.HadNoEffect(err) {
				t.Errorf("Append = %v; want an error that says that nothing was written", err)
			}
			wantError(t, "SetDue", j.SetDue(t.Context(), map[string]time.Time{"crm": time.Now()}), "removed or replaced")
		})
	}
}

// replace puts a copy in a file's place, as a restore from a backup does.
func replace(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// TestManyTokens is the size that a large installation has.
func TestManyTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 tokens take a while")
	}
	const tokens = 100_000
	j := newPlace(t).open(t)
	now := time.Now()
	due := make(map[string]time.Time, tokens)
	for n := range tokens {
		// The dates are in another order than the names.
		due[fmt.Sprintf("token-%06d", n*7919%tokens)] = now.Add(time.Duration(n-10) * time.Hour)
	}
	start := time.Now()
	mustDo(t, j.SetDue(t.Context(), due))
	set := time.Since(start)
	start = time.Now()
	found, err := j.Due(t.Context(), now)
	if err != nil || len(found) != 11 {
		t.Errorf("Due = %d, %v; want 11", len(found), err)
	}
	looked := time.Since(start)
	start = time.Now()
	mustDo(t, j.SetDue(t.Context(), due))
	t.Logf("SetDue of %d tokens took %v, Due %v, SetDue of the same %v", tokens, set, looked, time.Since(start))
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			p := place{b.TempDir()}
			o := p.options()
			o.NoSync = false
			j, err := journal.Open(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = j.Close() }()
			b.SetParallelism(writers)
			b.ResetTimer()
			var count atomic.Int64
			b.RunParallel(func(next *testing.PB) {
				for next.Next() {
					if err := see(b, j, fmt.Sprint(count.Add(1))); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
