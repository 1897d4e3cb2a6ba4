package server

import (
	"context"
	"net"
	"os"
	"os/user"
	"strconv"
)

type peerKey struct{}

// UserName is how the journal names the user of a uid: the name, or "uid 1000"
// where this machine has none.
func UserName(uid int) string {
	id := strconv.Itoa(uid)
	if found, err := user.LookupId(id); err == nil && found.Username != "" {
		return found.Username
	}
	return "uid " + id
}

// withPeer is for http.Server.ConnContext: it keeps who opened the connection.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	uid, err := peerUID(conn)
	if err != nil {
		// The socket's mode lets in its owner, which is us, and root.
		uid = os.Geteuid()
	}
	return context.WithValue(ctx, peerKey{}, UserName(uid))
}

// peer returns who opened the request's connection.
func peer(ctx context.Context) string {
	if name, ok := ctx.Value(peerKey{}).(string); ok {
		return name
	}
	return "unknown"
}
