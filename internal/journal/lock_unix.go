//go:build unix

package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// flock takes the lock of a file or says at once that somebody else has it.
// The kernel gives it up when the process ends, however it ends.
func flock(f *os.File) (taken bool, err error) {
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	return true, nil
}

const noFollow = syscall.O_NOFOLLOW
