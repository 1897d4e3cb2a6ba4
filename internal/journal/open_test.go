package journal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

func wantError(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s = nil; want an error with %q", what, parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s = %v; want it to say %q", what, err, part)
		}
	}
}

func (p place) openError(t *testing.T, o journal.Options) error {
	t.Helper()
	j, err := journal.Open(t.Context(), o)
	if err == nil {
		_ = j.Close()
	}
	return err
}

func TestDSN(t *testing.T) {
	for dsn, say := range map[string]string{
		"": "sqlite:PATH", "rotatord.db": "sqlite:PATH", "sqlite:": "no file", "sqlite": "no file", "sqlite::memory:": "no file",
		"postgres://user:secret@host/db": "not supported yet", "mysql://user:secret@host": "sqlite:PATH",
	} {
		err := newPlace(t).openError(t, journal.Options{DSN: dsn})
		wantError(t, "Open("+dsn+")", err, "open journal: ", say)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) = %v; it shows the password", dsn, err)
		}
	}
	p := newPlace(t)
	o := p.options()
	o.SealKeyFile = ""
	wantError(t, "Open without key file", p.openError(t, o), "seal key")
}

// TestOddPath has a path with all that a URI could stumble over.
func TestOddPath(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a b?mode=ro&x#y%41;ä")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(folder)
	o := journal.Options{DSN: "sqlite:ro:tatord?.db", SealKeyFile: "k", NoSync: true}
	j, err := journal.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/") // the path was relative to where it was opened
	if err := see(t, j, "crm"); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "ro:tatord?.db")); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	p := newPlace(t)
	j := p.open(t)
	err := p.openError(t, p.options())
	var locked *journal.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || time.Since(locked.Since) > time.Hour || locked.Command == "" {
		t.Fatalf("second Open = %v; want a LockedError with process %d", err, os.Getpid())
	}
	want := `open journal: "` + p.db() + `" is in use by process `
	if text := err.Error(); !strings.HasPrefix(text, want) || !strings.HasSuffix(text, " since "+locked.Since.Format(time.RFC3339)) {
		t.Errorf("second Open = %v; want %s… since …", err, want)
	}
	// By another name it is the same file.
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(p.db(), link); err != nil {
		t.Fatal(err)
	}
	o := p.options()
	o.DSN = "sqlite:" + link
	if err := p.openError(t, o); !errors.As(err, &locked) {
		t.Errorf("Open by a link = %v; want a LockedError", err)
	}
	if err := see(t, j, "crm"); err != nil {
		t.Errorf("Append after others were refused = %v", err)
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Errorf("Close twice = %v", err)
	}
	if err := p.openError(t, p.options()); err != nil {
		t.Errorf("Open after Close = %v", err)
	}
	// An owner that is just about to say who it is.
	again := p.open(t)
	defer func() { _ = again.Close() }()
	if err := os.WriteFile(p.db()+".lock", []byte(`{"pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, "Open beside a nameless owner", p.openError(t, p.options()), "in use by another process")
}

func TestClosed(t *testing.T) {
	j := newPlace(t).open(t)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := j.Append(t.Context(), opened("crm", "01A"))
	wantError(t, "Append after Close", err, "closed")
	wantError(t, "SetDue after Close", j.SetDue(t.Context(), nil), "closed")
	_, err = j.OpenRotations(t.Context())
	wantError(t, "OpenRotations after Close", err, "closed")
}

func TestReadOnly(t *testing.T) {
	p := newPlace(t)
	o := journal.Options{DSN: "sqlite:" + p.db(), ReadOnly: true}
	if err := p.openError(t, o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open for reading of nothing = %v; want fs.ErrNotExist", err)
	}
	if files, err := os.ReadDir(p.folder); err != nil || len(files) != 0 {
		t.Errorf("Open for reading made %v, %v", files, err)
	}
	if err := os.WriteFile(p.db(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, "Open for reading of an empty file", p.openError(t, o), "no journal yet")

	owner := p.open(t)
	reader := p.reader(t)
	for n := range 3 {
		if err := see(t, owner, "crm"); err != nil {
			t.Fatal(err)
		}
		if entries, err := reader.TokenEntries(t.Context(), "crm"); err != nil || len(entries) != n+1 {
			t.Errorf("a reader sees %d entries, %v; want %d", len(entries), err, n+1)
		}
	}
	_, err := reader.Append(t.Context(), opened("crm", "01A"))
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Append of a reader = %v; want ErrUnsupported", err)
	}
	if err := reader.SetDue(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetDue of a reader = %v; want ErrUnsupported", err)
	}
	if _, err := reader.Unseal(t.Context(), "01A", rotator.SlotNew); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Unseal of a reader = %v; want ErrUnsupported", err)
	}
	// The owner comes and goes; the reader stays.
	epoch := owner.Epoch()
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	again := p.open(t)
	if again.Epoch() != epoch+1 || reader.Epoch() != 0 {
		t.Errorf("epochs are %d, %d, and %d of the reader; want one more, and 0", epoch, again.Epoch(), reader.Epoch())
	}
	if entries, err := reader.TokenEntries(t.Context(), "crm"); err != nil || len(entries) != 3 {
		t.Errorf("a reader sees %d entries, %v; want 3", len(entries), err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := p.reader(t).TokenEntries(t.Context(), "crm"); err != nil || len(entries) != 3 {
		t.Errorf("without an owner a reader sees %d entries, %v; want 3", len(entries), err)
	}
}

func TestSealKey(t *testing.T) {
	sealed := func(t *testing.T, seal bool) place {
		t.Helper()
		p := newPlace(t)
		j := p.open(t)
		if seal {
			if _, err := j.Append(t.Context(), opened("crm", "01A")); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	bad := map[string]struct {
		do  func(p place) error
		say string
	}{
		"short":           {func(p place) error { return os.Truncate(p.key(), 31) }, "exactly 32 bytes, and has 31"},
		"long":            {func(p place) error { return os.Truncate(p.key(), 33) }, "exactly 32 bytes, and has 33"},
		"a folder":        {func(p place) error { return errors.Join(os.Remove(p.key()), os.Mkdir(p.key(), 0o700)) }, "read seal key"},
		"a short old one": {func(p place) error { return os.WriteFile(p.key()+".old", []byte("k"), 0o600) }, "exactly 32 bytes, and has 1"},
	}
	for name, test := range bad {
		t.Run(name, func(t *testing.T) {
			p := sealed(t, true)
			if err := test.do(p); err != nil {
				t.Fatal(err)
			}
			wantError(t, "Open", p.openError(t, p.options()), test.say, p.key())
		})
	}
	other := func(path string) error { return os.WriteFile(path, make([]byte, 32), 0o600) }
	toOld := func(p place) error { return os.Rename(p.key(), p.key()+".old") }
	good := map[string]struct {
		do       func(p place) error
		seal     bool
		opens    bool
		old      bool
		lost     []string
		needsOld []string
	}{
		"as it was":                     {func(place) error { return nil }, true, true, false, nil, nil},
		"missing":                       {func(p place) error { return os.Remove(p.key()) }, true, false, false, []string{"01A"}, nil},
		"missing, nothing sealed":       {func(p place) error { return os.Remove(p.key()) }, false, false, false, nil, nil},
		"another":                       {func(p place) error { return other(p.key()) }, true, false, false, []string{"01A"}, nil},
		"another, nothing sealed":       {func(p place) error { return other(p.key()) }, false, false, false, nil, nil},
		"made old":                      {toOld, true, true, true, nil, []string{"01A"}},
		"another, and this one old":     {func(p place) error { return errors.Join(toOld(p), other(p.key())) }, true, true, true, nil, []string{"01A"}},
		"an old one that nothing needs": {func(p place) error { return other(p.key() + ".old") }, true, true, true, nil, nil},
	}
	for name, test := range good {
		t.Run(name, func(t *testing.T) {
			p := sealed(t, test.seal)
			if err := test.do(p); err != nil {
				t.Fatal(err)
			}
			j := p.open(t)
			defer func() { _ = j.Close() }()
			want := journal.Seals{KeyFile: p.key(), Lost: test.lost, NeedOld: test.needsOld}
			if test.old {
				want.OldFile = p.key() + ".old"
			}
			got, err := j.Seals(t.Context())
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("Seals() = %v; differs (-want +got):\n%s", err, diff)
			}
			value, err := j.Unseal(t.Context(), "01A", rotator.SlotNew)
			if test.opens && (err != nil || value.Reveal() != "value of 01A") {
				t.Errorf("Unseal = %v; want the value", err)
			}
			if !test.opens && (err == nil || test.seal == errors.Is(err, rotator.ErrNotFound)) {
				t.Errorf("Unseal = %v; want an error, and ErrNotFound only for what was never sealed", err)
			}
			if _, err := j.Append(t.Context(), opened("erp", "01B")); err != nil {
				t.Errorf("Append with a value = %v", err)
			}
			if value, err := j.Unseal(t.Context(), "01B", rotator.SlotNew); err != nil || value.Reveal() != "value of 01B" {
				t.Errorf("Unseal of a value of today = %v", err)
			}
		})
	}
	p := newPlace(t)
	if err := os.WriteFile(p.key(), []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.open(t).Close(); err != nil {
		t.Fatal(err)
	}
	if key, err := os.ReadFile(p.key()); err != nil || string(key) != strings.Repeat("k", 32) {
		t.Errorf("a key that was there before the journal is now %q, %v", key, err)
	}
}

// opened opens a rotation with a sealed value.
func opened(token, rotation string) rotator.Append {
	return rotator.Append{
		Token: token, Rotation: rotation,
		Entries: []rotator.Entry{{Kind: rotator.EntryOpened}},
		Summary: &rotator.Summary{ID: rotation, Token: token},
		Seal:    map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret("value of " + rotation)},
	}
}

// TestSealIsBound moves ciphertexts to other rows: they must not open there.
func TestSealIsBound(t *testing.T) {
	p := newPlace(t)
	j := p.open(t)
	for _, id := range []string{"01A", "01B"} {
		if _, err := j.Append(t.Context(), opened("token of "+id, id)); err != nil {
			t.Fatal(err)
		}
	}
	p.exec(t, `UPDATE sealed SET ciphertext = (SELECT ciphertext FROM sealed WHERE rotation = '01A') WHERE rotation = '01B'`)
	_, err := j.Unseal(t.Context(), "01B", rotator.SlotNew)
	wantError(t, "Unseal of another's value", err, "another rotation")
	p.exec(t, `UPDATE sealed SET ciphertext = substr(ciphertext, 1, length(ciphertext) - 1) WHERE rotation = '01A'`)
	_, err = j.Unseal(t.Context(), "01A", rotator.SlotNew)
	wantError(t, "Unseal of a changed value", err, "changed")
}

// TestWipeBesideReader has a reader keep the log: the values leave it later.
func TestWipeBesideReader(t *testing.T) {
	p := newPlace(t)
	j := p.open(t)
	written, err := j.Append(t.Context(), opened("crm", "01A"))
	if err != nil {
		t.Fatal(err)
	}
	ciphertext := p.ciphertexts(t)[0]
	db := p.raw(t)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM entry`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	end := rotator.Append{
		Token: "crm", Rotation: "01A", Head: written[0].Seq, Wipe: true,
		Entries: []rotator.Entry{{Kind: rotator.EntryClosed}},
		Summary: &rotator.Summary{ID: "01A", Token: "crm", ClosedAt: time.Now()},
	}
	if _, err := j.Append(t.Context(), end); err != nil {
		t.Fatalf("Append beside a reader = %v", err)
	}
	if !strings.Contains(string(p.atRest(t)), string(ciphertext)) {
		t.Error("the reader did not keep the log; the test shows nothing")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := see(t, j, "erp"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(p.atRest(t)), string(ciphertext)) {
		t.Error("the ciphertext is still in the log after the next write")
	}
	if err := see(t, j, "erp"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(p.db() + "-wal"); err != nil || info.Size() == 0 {
		t.Errorf("the log is emptied without need: %v, %v", info.Size(), err)
	}
}
