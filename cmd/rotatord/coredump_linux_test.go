package main

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rotatord/rotatord/internal/server"
)

// TestNoCoreDump looks at the limit of a real process while it reads a value.
// main sets it for every command alike.
func TestNoCoreDump(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	if before.Max == 0 {
		t.Skip("core dumps are switched off for the test itself, and can't be switched on")
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: before.Max, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &before) })

	cmd := exec.CommandContext(t.Context(), "rotatord", "provide", "crm-sync") // TestMain puts it into PATH
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = cmd.Wait() // it refuses the value
	}()
	// One byte more than the pipe holds: the write ends when the process reads,
	// and the process reads on, because the longest value is longer still.
	if _, err := stdin.Write([]byte(strings.Repeat("x", server.MaxValue+1))); err != nil {
		t.Fatal(err)
	}
	var got unix.Rlimit
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_CORE, nil, &got); err != nil {
		t.Fatal(err)
	}
	// What is not dumpable belongs to root, whoever runs it; and root can't attach
	// to it without its capability. The flag itself only the process can read.
	if before, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || before != 1 {
		t.Fatalf("dumpable = %d, %v; want 1 in a test", before, err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) })
	if err := undumpable(); err != nil {
		t.Fatal(err)
	}
	if after, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || after != 0 {
		t.Errorf("dumpable = %d, %v; want 0", after, err)
	}
	if got.Cur != 0 || got.Max != before.Max {
		t.Errorf("RLIMIT_CORE of `rotatord provide` = %+v; want 0 and the hard limit %d as it was", got, before.Max)
	}
}
