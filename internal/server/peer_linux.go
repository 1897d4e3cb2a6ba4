package server

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// peerUID asks the kernel who opened the connection (SO_PEERCRED, unix(7)).
func peerUID(conn net.Conn) (int, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("ask for peer: not a unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask for peer: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("ask for peer: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("ask for peer: %w", credErr)
	}
	return int(cred.Uid), nil
}
