package journal

import "testing"

// TestNetworkKind has the numbers of statfs(2).
func TestNetworkKind(t *testing.T) {
	for magic, remote := range map[uint32]bool{
		0x6969:     true,  // NFS
		0xFF534D42: true,  // CIFS
		0x65735546: true,  // FUSE
		0x01021997: true,  // 9P
		0xEF53:     false, // ext4
		0x01021994: false, // tmpfs
		0x58465342: false, // XFS
		0x9123683E: false, // btrfs
		0x794C7630: false, // overlayfs
		0x2FC12FC1: false, // ZFS
	} {
		if kind := networkKind(magic); (kind != "") != remote {
			t.Errorf("networkKind(%#x) = %q; want remote %v", magic, kind, remote)
		}
	}
}
