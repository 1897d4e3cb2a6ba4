//go:build unix

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCoreDump keeps the kernel from writing this process's memory, with the
// secrets in it, to a file. Commands of exec deployers start with the same
// limit; the hard one stays, so that they may raise theirs.
func noCoreDump() error {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_CORE, &limit)
	if err == nil {
		limit.Cur = 0
		err = unix.Setrlimit(unix.RLIMIT_CORE, &limit)
	}
	if err != nil {
		return fmt.Errorf("switch core dumps off: %w", err)
	}
	return undumpable()
}
