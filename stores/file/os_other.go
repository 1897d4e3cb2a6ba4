//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Without a lock that other processes respect, and owners that can be kept,
// nothing is written.
func tryLock(*os.File) (bool, error) {
	return false, fmt.Errorf("this system has no lock for directories: %w", errors.ErrUnsupported)
}

func canWrite(dir *os.File) error {
	_, err := tryLock(dir)
	return err
}

func keepsOwner(fs.FileInfo) error { return nil }

func setOwner(*os.File, fs.FileInfo) error { return nil }
