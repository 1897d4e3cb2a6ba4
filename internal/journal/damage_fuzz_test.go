package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

// FuzzDamagedFile writes anything over a part of a journal's file, and reads
// it. Whatever is there must not end the process; and what Verify finds in
// order, with the head noted, is what was written.
func FuzzDamagedFile(f *testing.F) {
	whole, noted, want := sample(f)
	f.Add(uint32(0), []byte{})
	f.Add(uint32(0), []byte("no journal"))
	f.Add(uint32(16), []byte{0xff, 0xff})
	f.Add(uint32(100), []byte{5, 0, 0, 0, 0})
	for _, text := range []string{`"attempt":3`, "intent", "of erp", "CREATE TABLE", "sealed"} {
		f.Add(uint32(max(bytes.Index(whole, []byte(text)), 0)), []byte("X"))
	}
	f.Fuzz(func(t *testing.T, at uint32, over []byte) {
		damaged := bytes.Clone(whole)
		copy(damaged[int(at)%len(damaged):], over)
		path := filepath.Join(t.TempDir(), "rotatord.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(t.Context(), journal.Options{DSN: "sqlite:" + path, ReadOnly: true})
		if err != nil {
			return
		}
		defer func() { _ = j.Close() }()
		_, _ = j.Tokens(t.Context())
		_, _ = j.OpenRotations(t.Context())
		_, _ = j.Entries(t.Context(), "of crm")
		var got bytes.Buffer
		_, err = j.Verify(t.Context(), noted)
		if errExport := j.Export(t.Context(), &got, ""); err == nil && (errExport != nil || got.String() != want) {
			t.Errorf("Verify = nil after %d bytes at %d, but Export = %v:\n%s\nwant\n%s", len(over), at, errExport, got.String(), want)
		}
	})
}

// sample returns a journal's file, its head and all its entries.
func sample(f *testing.F) (whole []byte, head journal.Head, lines string) {
	f.Helper()
	folder := f.TempDir()
	path := filepath.Join(folder, "rotatord.db")
	j, err := journal.Open(f.Context(), journal.Options{DSN: "sqlite:" + path, SealKeyFile: filepath.Join(folder, "rotatord.key"), NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{"crm", "erp"} {
		var seq int64
		for n := range 5 {
			entries, err := j.Append(f.Context(), rotator.Append{
				Token: token, Rotation: "of " + token, Head: seq,
				Entries: []rotator.Entry{{Kind: rotator.EntryIntent, Step: rotator.StepStore, Attempt: n + 1}},
				Summary: &rotator.Summary{ID: "of " + token, Token: token},
				Seal:    map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret("v")},
			})
			if err != nil {
				f.Fatal(err)
			}
			seq = entries[0].Seq
		}
	}
	report, errVerify := j.Verify(f.Context(), journal.Head{})
	var out bytes.Buffer
	errExport := j.Export(f.Context(), &out, "")
	if err := j.Close(); err != nil || errVerify != nil || errExport != nil {
		f.Fatal(err, errVerify, errExport)
	}
	whole, err = os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	return whole, report.Head, out.String()
}
