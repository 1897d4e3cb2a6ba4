//go:build !linux

package server

import (
	"errors"
	"net"
)

// peerUID can't tell here; the caller falls back on the socket's owner.
func peerUID(net.Conn) (int, error) { return 0, errors.ErrUnsupported }
