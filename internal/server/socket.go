package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// maxSocketPath is the longest path of a unix socket in bytes: sun_path of
// unix(7) less its final zero, on the strictest system (macOS has 104).
const maxSocketPath = 103

// ErrPathTooLong tells that the path does not fit into a unix socket's address.
var ErrPathTooLong = errors.New("the path is too long for a unix socket")

// CheckSocketPath reports a path that no unix socket can have.
func CheckSocketPath(path string) error {
	if len(path) > maxSocketPath {
		return fmt.Errorf("listen on %q: %w: %d bytes, at most %d", path, ErrPathTooLong, len(path), maxSocketPath)
	}
	return nil
}

// ListenSocket opens the unix socket with mode 0600. A socket that is there
// already is taken for one that a dead process left, and is removed: call it
// only while you hold the journal's lock. Closing the listener removes the file.
func ListenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// On Linux the socket file takes its mode from the socket, so that it is
		// never open to others, not even for a moment; elsewhere this fails and
		// the Chmod below does it.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, shortCause(err))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %q: %w", path, shortCause(err)), listener.Close())
	}
	return listener, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen on %q: %w", path, shortCause(err))
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("listen on %q: a file that is no socket is in the way", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("listen on %q: %w", path, shortCause(err))
	}
	return nil
}

// shortCause drops what net and os say around an errno: the caller names the path.
func shortCause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
