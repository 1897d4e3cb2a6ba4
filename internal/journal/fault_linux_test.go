package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

// smallDisk mounts a disk of the size in the folder; only root can.
func smallDisk(t *testing.T, size string) place {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=700,size="+size); err != nil {
		t.Skipf("a disk of one's own needs root: mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	return place{folder}
}

// TestDiskFull fills the disk below a journal and frees it again: what was
// acknowledged is there, and it goes on by itself.
func TestDiskFull(t *testing.T) {
	p := smallDisk(t, "512k")
	j := p.open(t)
	written, err := j.Append(t.Context(), opened("crm", "01A"))
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(p.folder, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1024))
	}
	_ = f.Close()

	head, acknowledged := written[0].Seq, 1
	next := func() error {
		a := rotator.Append{
			Token: "crm", Rotation: "01A", Head: head,
			Entries: []rotator.Entry{{Kind: rotator.EntryIntent, Why: strings.Repeat("x", 4096)}},
		}
		written, err := j.Append(t.Context(), a)
		if err == nil {
			head, acknowledged = written[0].Seq, acknowledged+1
		}
		return err
	}
	for err = next(); err == nil && acknowledged < 1000; {
		err = next()
	}
	wantError(t, "Append on a full disk", err, "append: ", "disk", "is full", p.db())
	wantError(t, "Append on a full disk again", next(), "is full")
	if entries, err := j.Entries(t.Context(), "01A"); err != nil || len(entries) != acknowledged {
		t.Errorf("Entries on a full disk = %d, %v; want %d", len(entries), err, acknowledged)
	}
	if value, err := j.Unseal(t.Context(), "01A", rotator.SlotNew); err != nil || value.Reveal() != "value of 01A" {
		t.Errorf("Unseal on a full disk = %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := next(); err != nil {
		t.Errorf("Append after space was freed = %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = p.open(t)
	if report, err := j.Verify(t.Context(), journal.Head{}); err != nil || report.Entries != int64(acknowledged) {
		t.Errorf("Verify = %+v, %v; want %d entries", report, err, acknowledged)
	}
}

// TestNoSpaceAtStart begins on a disk that is full.
func TestNoSpaceAtStart(t *testing.T) {
	p := smallDisk(t, "16k")
	err := p.openError(t, p.options())
	wantError(t, "Open on a full disk", err, "open journal: ")
	if err != nil && !strings.Contains(err.Error(), "full") && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Open on a full disk = %v; want it to say so", err)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	p := smallDisk(t, "4m")
	j := p.open(t)
	mustDo(t, see(t, j, "crm"))
	// A backup on a medium that can't be written can be read.
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", p.folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("remount: %v", err)
	}
	wantError(t, "Open on a disk that is read only", p.openError(t, p.options()), "read-only file system", p.db())
	if report, err := p.reader(t).Verify(t.Context(), journal.Head{}); err != nil || report.Entries != 1 {
		t.Errorf("Verify on a disk that is read only = %+v, %v; want 1 entry", report, err)
	}
}

// TestNoHandleIsLeft opens and closes a journal again and again.
func TestNoHandleIsLeft(t *testing.T) {
	handles := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("open files can't be counted here: %v", err)
		}
		return len(entries)
	}
	p := newPlace(t)
	before := handles()
	for range 20 {
		j := p.open(t)
		if err := see(t, j, "crm"); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Seals(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		reader, err := journal.Open(t.Context(), journal.Options{DSN: "sqlite:" + p.db(), ReadOnly: true})
		if err == nil {
			err = reader.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if after := handles(); after > before {
		t.Errorf("%d files are open after 20 openings; %d were before", after, before)
	}
}
