//go:build unix

package journal_test

import (
	"os"
	"syscall"
	"testing"
)

func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o277} {
		p := newPlace(t)
		before := syscall.Umask(umask)
		j := p.open(t)
		err := see(t, j, "crm")
		syscall.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(p.folder)
		if err != nil || len(files) != 5 {
			t.Errorf("files are %v, %v; want database, log, index, lock, key", files, err)
		}
		for _, file := range files {
			if info, err := file.Info(); err != nil || info.Mode() != 0o600 {
				t.Errorf("with umask %#o %s has mode %v, %v; want 0600", umask, file.Name(), info.Mode(), err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{p.db(), p.key()} {
			if err := os.Chmod(file, 0o640); err != nil {
				t.Fatal(err)
			}
			wantError(t, "Open with mode 0640 of "+file, p.openError(t, p.options()), "0640", "chmod 600 "+file)
			if err := os.Chmod(file, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.openError(t, p.options()); err != nil {
			t.Errorf("Open after chmod 600 = %v", err)
		}
	}
}
