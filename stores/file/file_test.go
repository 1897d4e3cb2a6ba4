//go:build unix

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "file" {
		t.Errorf("the example is of type %q, %v; want file", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, mode := range []string{"", "0600", "640", "0o444"} {
		if err := (Config{Dir: "d", Mode: mode}).Validate(); err != nil {
			t.Errorf("Validate() of mode %q = %v; want nil", mode, err)
		}
	}
	for _, mode := range []string{"rw", "0800", "1777", "0200", "-1"} {
		err := Config{Mode: mode}.Validate()
		if err == nil || !strings.Contains(err.Error(), "mode: ") || !strings.Contains(err.Error(), "dir: ") {
			t.Errorf("Validate() of no dir and mode %q = %v; want both mistakes", mode, err)
		}
	}
}

func TestModeAndOwnerAreKept(t *testing.T) {
	dir := t.TempDir()
	store, err := New(t.Context(), Config{Dir: dir, Mode: "0640"})
	if err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (fs.FileMode, uint32, uint32) {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		return info.Mode(), owner.Uid, owner.Gid
	}
	old := syscall.Umask(0o077) // must not matter
	defer syscall.Umask(old)
	if err := put(t, store, "new.token", "v"); err != nil {
		t.Fatal(err)
	}
	if mode, _, _ := stat("new.token"); mode != 0o640 {
		t.Errorf("a new file has mode %v; want 0640", mode)
	}
	write(t, filepath.Join(dir, "old.token"), "v")
	if err := os.Chmod(filepath.Join(dir, "old.token"), 0o604); err != nil {
		t.Fatal(err)
	}
	_, uid, gid := stat("old.token")
	if os.Geteuid() == 0 { // only root can give files away
		uid, gid = 4321, 1234
		if err := os.Chown(filepath.Join(dir, "old.token"), int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(t, store, "old.token", "w"); err != nil {
		t.Fatal(err)
	}
	if mode, u, g := stat("old.token"); mode != 0o604 || u != uid || g != gid {
		t.Errorf("after a write the file has mode %v, owner %d:%d; want 0604, %d:%d", mode, u, g, uid, gid)
	}
}

// The way in which Kubernetes lays out a volume: the links stay, their target is replaced.
func TestLinksAreFollowed(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "..2026_01", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "..2026_01", "crm.token"), "old")
	link(t, "..2026_01", filepath.Join(dir, "..data"))
	link(t, "..data/crm.token", filepath.Join(dir, "crm.token"))
	link(t, "../../crm.token", filepath.Join(dir, "..2026_01", "deep", "again.token"))
	link(t, "loop.token", filepath.Join(dir, "loop.token"))
	link(t, "not-there.token", filepath.Join(dir, "dangling.token"))
	store := open(t, dir)
	for key, real := range map[string]string{
		"crm.token": "..2026_01/crm.token", "..data/deep/again.token": "..2026_01/crm.token", "dangling.token": "not-there.token",
	} {
		if err := put(t, store, key, "by "+key); err != nil {
			t.Errorf("Put(%q) = %v", key, err)
			continue
		}
		if got := read(t, filepath.Join(dir, real)); got != "by "+key {
			t.Errorf("after Put(%q) %s holds %q", key, real, got)
		}
		for _, link := range []string{"crm.token", "..data", "..2026_01/deep/again.token"} {
			if info, err := os.Lstat(filepath.Join(dir, link)); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("after Put(%q) %s is %v, %v; want a link", key, link, info.Mode(), err)
			}
		}
	}
	if err := put(t, store, "loop.token", "v"); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("Put through a loop of links = %v; want an error that says so", err)
	}
}

func TestWrongKindsOfFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "dir.token"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.token"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "file"), "v")
	store := open(t, dir)
	for key, want := range map[string]string{"dir.token": "is a directory", "pipe.token": "not a regular file", "file/x.token": "not a directory"} {
		_, err := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("v")})
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("Put(%q) = %v; want a permanent error with %q", key, err, want)
		}
		if err := store.CheckWrite(t.Context(), key); !rotator.IsPermanent(err) {
			t.Errorf("CheckWrite(%q) = %v; want a permanent error", key, err)
		}
	}
	missing := open(t, filepath.Join(dir, "missing"))
	_, getErr := missing.Get(t.Context(), "crm.token")
	if err := missing.Ping(t.Context()); err == nil || getErr == nil || errors.Is(getErr, rotator.ErrNotFound) || !rotator.HadNoEffect(err) {
		t.Errorf("without the directory Ping() = %v, Get() = %v; want errors that can be retried", err, getErr)
	}
	err := put(t, store, "missing/crm.token", "v")
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) {
		t.Errorf("Put below a missing directory = %v; want one that can be retried", err)
	}
}

// Another program changes another variable while we write: both changes are there.
func TestForeignEditWhileWriting(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "crm.env")
	write(t, file, "A=1\nTOKEN=old\n")
	store := open(t, dir)
	before, err := store.Get(t.Context(), "crm.env#TOKEN")
	if err != nil {
		t.Fatal(err)
	}
	edited := false
	store.sync = func(f *os.File) error {
		if !edited {
			edited = true
			write(t, file, "A=2\nTOKEN=old\n")
		}
		return f.Sync()
	}
	w := rotator.Write{Value: rotator.NewSecret("new"), Prev: before.ID}
	if _, err := store.Put(t.Context(), "crm.env#TOKEN", w); err != nil {
		t.Errorf("Put = %v", err)
	}
	if got := read(t, file); got != "A=2\nTOKEN=new\n" {
		t.Errorf("the file holds %q; want both changes", got)
	}
	store.sync = func(f *os.File) error {
		write(t, file, "A=2\nTOKEN=foreign\n")
		return f.Sync()
	}
	w = rotator.Write{Value: rotator.NewSecret("newer"), Prev: versionID("new")}
	if _, err := store.Put(t.Context(), "crm.env#TOKEN", w); !errors.Is(err, rotator.ErrConflict) {
		t.Errorf("Put beside a change of the same variable = %v; want ErrConflict", err)
	}
	if got := read(t, file); got != "A=2\nTOKEN=foreign\n" {
		t.Errorf("the file holds %q; want the foreign change", got)
	}
}

func TestCrashLeavesOneFileAtMost(t *testing.T) {
	dir := t.TempDir()
	leftover := filepath.Join(dir, tempName("crm.token"))
	write(t, leftover, "a value that a crash left here")
	if err := put(t, open(t, dir), "crm.token", "v"); err != nil {
		t.Fatal(err)
	}
	if _, ok := readIf(t, leftover); ok {
		t.Errorf("the leftover of a crash is still there")
	}
}

// The content is on the disk before the rename, and the rename before Put returns.
// A directory that can't be synced leaves the write in doubt, and the next attempt syncs it.
func TestSyncs(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	var synced []string
	broken := true
	store.sync = func(f *os.File) error {
		content, _ := readIf(t, filepath.Join(dir, "crm.token"))
		info, err := f.Stat()
		if err != nil {
			return err
		}
		synced = append(synced, fmt.Sprintf("directory %v, the file holds %q", info.IsDir(), content))
		if info.IsDir() && broken {
			return syscall.EIO
		}
		return f.Sync()
	}
	if err := put(t, store, "crm.token", "v"); err == nil || rotator.HadNoEffect(err) {
		t.Errorf("Put whose directory is not synced = %v, no effect %v; want one in doubt", err, rotator.HadNoEffect(err))
	}
	broken = false
	if err := put(t, store, "crm.token", "v"); err != nil {
		t.Errorf("Put again = %v", err)
	}
	want := []string{`directory false, the file holds ""`, `directory true, the file holds "v"`, `directory true, the file holds "v"`}
	if diff := cmp.Diff(want, synced); diff != "" {
		t.Errorf("synced (-want +got):\n%s", diff)
	}
}

// childKey makes this test binary a process that writes and says how it went.
const childKey = "ROTATORD_FILE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childKey); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

// child runs TestChild in a process of its own and returns what it printed.
func runChild(t *testing.T, dir, task string, attributes *syscall.SysProcAttr) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childKey+"="+dir, "TASK="+task)
	command.SysProcAttr = attributes
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("the child process: %v\n%s", err, output)
	}
	return string(output)
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "crm.token"), "old")
	got := runChild(t, dir, "big", nil)
	if !strings.Contains(got, `put: write "crm.token": file too large; permanent false, no effect true`) {
		t.Errorf("a write that the disk does not take answers %q", got)
	}
	if got := read(t, filepath.Join(dir, "crm.token")); got != "old" {
		t.Errorf("after it the file holds %q; want old", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestNotAllowed(t *testing.T) {
	// A folder that another user reaches: those of t.TempDir are ours alone.
	dir, err := os.MkdirTemp("/tmp", "rotatord-file-test") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "test")
	content, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, content, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "crm.token"), "old")
	var attributes *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		attributes = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if err := os.Chmod(filepath.Join(dir, "crm.token"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(os.Environ(), childKey+"="+dir, "TASK=small")
	command.SysProcAttr = attributes
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("the child process: %v\n%s", err, output)
	}
	for _, want := range []string{
		`check: write directory of "crm.token": permission denied; permanent true`,
		`permanent true, no effect true`,
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("without permission the child says %q; want %q", output, want)
		}
	}
	if got := read(t, filepath.Join(dir, "crm.token")); got != "old" {
		t.Errorf("after it the file holds %q; want old", got)
	}
}

// Processes that write different variables of one file lose none.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	link(t, ".", filepath.Join(dir, "elsewhere"))
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			if got := runChild(t, dir, fmt.Sprintf("variables of %d", i), nil); got != "" {
				t.Errorf("process %d says %q", i, got)
			}
		})
	}
	group.Wait()
	if got := strings.Count(read(t, filepath.Join(dir, "crm.env")), "\n"); got != 40 {
		t.Errorf("%d variables are there; want 40", got)
	}
}
