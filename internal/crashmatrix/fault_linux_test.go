package crashmatrix

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

var (
	faultsFlag = flag.Bool("faults", false, "let the process meet a full disk, no file handles, a lost key and the like")
	pauseFlag  = flag.Duration("pause", 3*time.Second, "with -faults: how long each fault lasts")
)

// A setting is a daemon in the middle of a rotation: both credentials live, and
// the workers do not take up the new one before they are let.
type setting struct {
	*world
	t      *testing.T
	daemon *process
	client *server.Client
}

func inTheMiddle(t *testing.T, prepare func(w *world)) *setting {
	t.Helper()
	if !*faultsFlag {
		t.Skip("slow; see the package's comment")
	}
	t.Parallel()
	w := newWorld(t, testservers.Vault(t), scenario{name: "fault", daemon: true, reason: rotator.Manual, ends: rotator.Done}, nil)
	if prepare != nil {
		prepare(w)
	}
	w.deaf.Store(true)
	s := &setting{world: w, t: t}
	s.serve()
	until(t, "step probe", func() bool {
		w.act(t, s.client)
		return s.step() == rotator.StepProbe
	})
	return s
}

// serve starts the daemon, or starts it again.
func (s *setting) serve() {
	s.daemon = s.start(s.t, nil, "serve")
	s.client = server.NewClient(s.socket())
	s.t.Cleanup(s.client.Close)
}

// step is where the open rotation stands; empty: none is open, or nobody answers.
func (s *setting) step() rotator.Step {
	found, err := s.client.Tokens(s.t.Context(), token)
	if err != nil || len(found) != 1 || found[0].Open == nil {
		return ""
	}
	return found[0].Open.Step
}

// says waits until the daemon's output has a text.
func (s *setting) says(text string) {
	s.t.Helper()
	until(s.t, "output with "+text, func() bool { return strings.Contains(s.daemon.text(), text) })
}

// lasts is for the time of a fault: the process must outlive it, and both
// credentials too.
func (s *setting) lasts() {
	s.t.Helper()
	for end := time.Now().Add(*pauseFlag); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s.daemon.over() {
			s.t.Fatalf("the daemon ended with %d:\n%s", s.daemon.cmd.ProcessState.ExitCode(), lastLines(s.daemon.text()))
		}
		if live := s.live(); len(live) != 2 {
			s.t.Fatalf("the service accepts %d credentials in the middle of the fault; want both", len(live))
		}
	}
}

// stop ends the daemon as a service manager would.
func (s *setting) stop() {
	s.t.Helper()
	s.daemon.signal(s.t, syscall.SIGTERM)
	if code := s.daemon.wait(s.t); code != 0 {
		s.t.Errorf("after SIGTERM the daemon exits with %d; want 0:\n%s", code, lastLines(s.daemon.text()))
	}
}

// finish lets the workers follow, waits for the end and looks at everything.
func (s *setting) finish() {
	s.t.Helper()
	s.deaf.Store(false)
	s.resumes = true // a hold that the fault led to is a person's to resume
	if !s.playPerson(s.t, s.daemon) {
		s.t.Fatalf("the daemon ended with %d:\n%s", s.daemon.cmd.ProcessState.ExitCode(), lastLines(s.daemon.text()))
	}
	s.stop()
	var f found
	s.look(s.t, &f)
	for _, problem := range f.problems {
		s.t.Error(problem)
	}
}

// refuses runs a command that must fail, and say certain things.
func (s *setting) refuses(texts []string, args ...string) {
	s.t.Helper()
	code, output := s.command(s.t, args...)
	if code == 0 {
		s.t.Errorf("`rotatord %s` exits with 0; want a refusal:\n%s", strings.Join(args, " "), output)
	}
	for _, text := range texts {
		if !strings.Contains(output, text) {
			s.t.Errorf("`rotatord %s` says\n%swhich lacks %q", strings.Join(args, " "), output, text)
		}
	}
}

func TestFaultTerm(t *testing.T) {
	s := inTheMiddle(t, nil)
	s.stop()
	s.serve()
	s.finish()
}

// A daemon that stands still is neither replaced nor harmed by others.
func TestFaultStop(t *testing.T) {
	s := inTheMiddle(t, nil)
	s.daemon.signal(t, syscall.SIGSTOP)
	s.refuses([]string{"is in use by process"}, "serve")
	s.refuses([]string{"ask daemon"}, "status")
	s.lasts()
	s.daemon.signal(t, syscall.SIGCONT)
	s.finish()
}

func TestFaultFileHandles(t *testing.T) {
	s := inTheMiddle(t, nil)
	pid := s.daemon.cmd.Process.Pid
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 1 << 10}, &before); err != nil {
		t.Skipf("the limit of another process can't be set here: %v", err)
	}
	s.deaf.Store(false) // it would go on if it could
	s.client.Close()    // the connection that is open already would still be served
	s.says("too many open files")
	s.lasts()
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 10, Max: 1 << 10}, nil); err != nil {
		t.Fatal(err)
	}
	s.finish()
}

// onTmpfs puts the state on a small file system of its own.
func onTmpfs(t *testing.T) func(w *world) {
	return func(w *world) {
		path := filepath.Join(w.dir, "state")
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", path, err)
			}
		})
	}
}

// fill leaves no room on the file system of the state.
func (s *setting) fill() (filler string) {
	s.t.Helper()
	filler = filepath.Join(s.dir, "state", "filler")
	file, err := os.Create(filler)
	if err != nil {
		s.t.Fatal(err)
	}
	block := bytes.Repeat([]byte{1}, 1<<10)
	for err == nil {
		_, err = file.Write(block)
	}
	_ = file.Close() // it is full
	return filler
}

func TestFaultFullDisk(t *testing.T) {
	s := inTheMiddle(t, onTmpfs(t))
	filler := s.fill()
	s.says("is full")
	s.deaf.Store(false) // it would go on if it could
	s.lasts()
	s.stop()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.finish()
}

// A disk that is full at the start: a clear message, and nothing is lost.
func TestFaultFullDiskAtStart(t *testing.T) {
	s := inTheMiddle(t, onTmpfs(t))
	s.daemon.signal(t, syscall.SIGKILL)
	s.daemon.wait(t)
	filler := s.fill()
	s.refuses([]string{"is full"}, "serve")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.finish()
}

// A file system that can only be read: a running process keeps it from being
// remounted, so it is so at the restart.
func TestFaultReadOnly(t *testing.T) {
	s := inTheMiddle(t, onTmpfs(t))
	s.daemon.signal(t, syscall.SIGKILL)
	s.daemon.wait(t)
	path := filepath.Join(s.dir, "state")
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("nothing can be remounted here: %v", err)
	}
	s.refuses([]string{"read-only file system"}, "serve")
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_REMOUNT, "size=1m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.finish()
}

func TestFaultDatabaseRemoved(t *testing.T) {
	s := inTheMiddle(t, nil)
	database, aside := filepath.Join(s.dir, "state", "rotatord.db"), filepath.Join(s.dir, "aside")
	if err := os.Rename(database, aside); err != nil {
		t.Fatal(err)
	}
	s.says("was removed or replaced while it was open")
	s.deaf.Store(false) // it would go on if it could
	s.lasts()
	s.stop()
	if err := os.Rename(aside, database); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.finish()
}

func TestFaultDatabaseReplaced(t *testing.T) {
	s := inTheMiddle(t, nil)
	database, aside := filepath.Join(s.dir, "state", "rotatord.db"), filepath.Join(s.dir, "aside")
	raw, err := os.ReadFile(database)
	if err == nil {
		err = os.Rename(database, aside)
	}
	if err == nil {
		err = os.WriteFile(database, raw, 0o600) // an old copy, as a careless restore makes it
	}
	if err != nil {
		t.Fatal(err)
	}
	s.says("was removed or replaced while it was open")
	s.deaf.Store(false) // it would go on if it could
	s.lasts()
	s.stop()
	if err := os.Rename(aside, database); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.finish()
}

// loseKey kills the daemon and does something to the seal key. It returns the
// rotation that the key was for.
func (s *setting) loseKey(lose func(path string) error) (rotation string) {
	s.t.Helper()
	found, err := s.client.Tokens(s.t.Context(), token)
	if err != nil || found[0].Open == nil {
		s.t.Fatalf("no rotation is open: %v", err)
	}
	s.daemon.signal(s.t, syscall.SIGKILL)
	s.daemon.wait(s.t)
	if err := lose(s.keyFile()); err != nil {
		s.t.Fatal(err)
	}
	return found[0].Open.ID
}

func (s *setting) keyFile() string { return filepath.Join(s.dir, "state", "rotatord.key") }

// A lost key affects nothing: the stores hold the new value, and the issuer's
// list tells that the old credential is dead.
func TestFaultKeyLost(t *testing.T) {
	s := inTheMiddle(t, nil)
	rotation := s.loseKey(os.Remove)
	s.serve()
	s.says("is missing or is another one")
	s.says(rotation)
	s.finish()
}

// A key that was exchanged by mistake: with the right one beside it, all opens.
func TestFaultKeyWrong(t *testing.T) {
	s := inTheMiddle(t, nil)
	rotation := s.loseKey(func(path string) error {
		return errors.Join(os.Rename(path, path+".aside"), os.WriteFile(path, bytes.Repeat([]byte{7}, 32), 0o600))
	})
	s.serve()
	s.says(rotation)
	s.stop()
	if err := os.Rename(s.keyFile()+".aside", s.keyFile()+".old"); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.says("still needed")
	s.finish()
}

// A key that is damaged is refused: nobody knows what it was.
func TestFaultKeyDamaged(t *testing.T) {
	s := inTheMiddle(t, nil)
	s.loseKey(func(path string) error {
		return errors.Join(os.Rename(path, path+".aside"), os.WriteFile(path, []byte("short"), 0o600))
	})
	s.refuses([]string{"rotatord.key", "exactly 32 bytes"}, "serve")
	s.refuses([]string{"exactly 32 bytes"}, "run")
	for _, args := range [][]string{{"status"}, {"history"}, {"audit", "verify"}, {"plan"}} {
		if code, text := s.command(t, args...); code != 0 {
			t.Errorf("`rotatord %s` exits with %d without a key; want 0:\n%s", strings.Join(args, " "), code, text)
		}
	}
	if err := os.Rename(s.keyFile()+".aside", s.keyFile()); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.finish()
}
