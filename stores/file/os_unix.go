//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryLock takes the lock of an open directory, which ends with the handle: no
// lock file lies beside the secrets. On file systems that can't lock a
// directory (NFS) it is an error.
func tryLock(dir *os.File) (bool, error) {
	err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
		return false, nil
	}
	return false, err
}

// canWrite tells whether files can be made and replaced in a directory.
func canWrite(dir *os.File) error {
	return unix.Faccessat(int(dir.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

func ownerOf(info fs.FileInfo) (uid, gid int, ok bool) {
	if info == nil {
		return 0, 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}

// keepsOwner refuses to replace a file whose owner would be lost.
func keepsOwner(info fs.FileInfo) error {
	uid, _, ok := ownerOf(info)
	if me := os.Geteuid(); ok && me != 0 && uid != me {
		return fmt.Errorf("belongs to user %d, which user %d can't keep", uid, me)
	}
	return nil
}

// setOwner gives a file the owner and group of another.
func setOwner(file *os.File, old fs.FileInfo) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	uid, gid, ok := ownerOf(old)
	myUID, myGID, known := ownerOf(info)
	if !ok || !known || (uid == myUID && gid == myGID) {
		return nil
	}
	if err := file.Chown(uid, gid); err != nil {
		return fmt.Errorf("keep the owner %d and group %d: %w", uid, gid, cause(err))
	}
	return nil
}
