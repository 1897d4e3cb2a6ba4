//go:build unix

package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// exposed says which of some files others could replace or own: their folders
// are writable by others, or they belong to another user than this one or root.
func exposed(files ...string) []string {
	var found []string
	look := func(path string, wrong func(fs.FileInfo, *syscall.Stat_t) string) {
		info, err := os.Stat(path)
		if err != nil {
			return // who opens it says so
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			if text := wrong(info, stat); text != "" && !slices.Contains(found, text) {
				found = append(found, text)
			}
		}
	}
	for _, file := range files {
		folder := filepath.Dir(file)
		look(folder, func(info fs.FileInfo, _ *syscall.Stat_t) string {
			if info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
				return ""
			}
			return fmt.Sprintf("folder %s: others can replace rotatord's files in it; its mode is %s", folder, info.Mode().Perm())
		})
		look(file, func(_ fs.FileInfo, stat *syscall.Stat_t) string {
			if stat.Uid == 0 || int(stat.Uid) == os.Geteuid() {
				return ""
			}
			return fmt.Sprintf("file %s: it belongs to user %d", file, stat.Uid)
		})
	}
	return found
}
