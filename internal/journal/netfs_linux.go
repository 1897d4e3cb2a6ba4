package journal

import (
	"fmt"
	"syscall"
)

// networkFileSystem names the network file system that a folder is on; empty:
// it is a local one.
func networkFileSystem(folder string) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(folder, &st); err != nil {
		return "", fmt.Errorf("look at the file system of %q: %w", folder, err)
	}
	return networkKind(uint32(st.Type)), nil //nolint:gosec // the numbers have 32 bits
}

// networkKind knows the file systems by the numbers of statfs(2). FUSE does not
// tell what is behind it, so it counts as remote.
func networkKind(magic uint32) string {
	switch magic {
	case 0x6969:
		return "NFS"
	case 0x517B, 0xFF534D42, 0xFE534D42:
		return "SMB"
	case 0x65735546:
		return "FUSE: sshfs, s3fs or the like"
	case 0x01021997:
		return "9P"
	case 0x5346414F, 0x6B414653:
		return "AFS"
	case 0x00C36400:
		return "Ceph"
	case 0x0BD00BD0:
		return "Lustre"
	case 0x01161970:
		return "GFS2"
	case 0x7461636F:
		return "OCFS2"
	case 0x73757245:
		return "Coda"
	}
	return ""
}
