package journal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

const childEnv = "ROTATORD_TEST_JOURNAL_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(childEnv); folder != "" {
		if err := child(place{folder}); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child appends from several goroutines until it is killed, and writes a line
// for each Append that has returned.
func child(p place) error {
	ctx := context.Background()
	o := p.options()
	o.NoSync, o.Command = false, "rotatord serve"
	j, err := journal.Open(ctx, o)
	if err != nil {
		return err
	}
	const writers = 8
	errs := make([]error, writers)
	var out sync.Mutex
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			for round := 0; errs[n] == nil; round++ {
				id := fmt.Sprintf("%d-%d-%d", j.Epoch(), n, round)
				written, err := j.Append(ctx, opened("token of "+id, id))
				if err == nil {
					out.Lock()
					_, _ = fmt.Fprintln(os.Stdout, written[0].Seq, id)
					out.Unlock()
				}
				errs[n] = err
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// TestCrash kills the owner while it writes, again and again: everything that
// it was told to be written is there, in order, and opens.
func TestCrash(t *testing.T) {
	p := newPlace(t)
	acknowledged := map[string]int64{}
	for round := range 5 {
		command := exec.CommandContext(t.Context(), os.Args[0])
		command.Env = append(os.Environ(), childEnv+"="+p.folder)
		command.Stderr = os.Stderr
		stdout, err := command.StdoutPipe()
		mustDo(t, err)
		mustDo(t, command.Start())
		lines := bufio.NewScanner(stdout)
		for n := 0; lines.Scan(); n++ {
			var seq int64
			var id string
			if _, err := fmt.Sscan(lines.Text(), &seq, &id); err != nil {
				break // the last line may be cut off
			}
			acknowledged[id] = seq
			if n == 0 {
				beside(t, p, command.Process.Pid)
			}
			if n == 40*(round+1) {
				mustDo(t, command.Process.Kill())
			}
		}
		_ = command.Wait()
		checkSurvivors(t, p, acknowledged, round%2 == 0)
	}
	if len(acknowledged) < 5*40 {
		t.Errorf("only %d appends were acknowledged; want more", len(acknowledged))
	}
}

// beside looks at a journal while its owner writes.
func beside(t *testing.T, p place, pid int) {
	t.Helper()
	err := p.openError(t, p.options())
	var locked *journal.LockedError
	if !errors.As(err, &locked) || locked.PID != pid || locked.Command != "rotatord serve" || time.Since(locked.Since) > time.Hour {
		t.Errorf("Open beside an owner = %v; want a LockedError with process %d", err, pid)
	}
	wantError(t, "Open beside an owner", err, fmt.Sprintf("in use by process %d since 2", pid))
	reader := p.reader(t)
	if report, err := reader.Verify(t.Context(), journal.Head{}); err != nil || report.Entries == 0 {
		t.Errorf("Verify beside an owner = %+v, %v; want entries", report, err)
	}
	mustDo(t, reader.Close())
}

// checkSurvivors reads what is left, first as a reader after a crash.
func checkSurvivors(t *testing.T, p place, acknowledged map[string]int64, readFirst bool) {
	t.Helper()
	if readFirst {
		if _, err := p.reader(t).Verify(t.Context(), journal.Head{}); err != nil {
			t.Errorf("Verify of a reader after a crash = %v", err)
		}
	}
	j := p.open(t)
	if _, err := j.Verify(t.Context(), journal.Head{}); err != nil {
		t.Errorf("Verify after a crash = %v", err)
	}
	for id, seq := range acknowledged {
		entries, err := j.Entries(t.Context(), id)
		if err != nil || len(entries) != 1 || entries[0].Seq != seq {
			t.Errorf("Entries(%q) after a crash = %v, %v; want entry %d", id, entries, err, seq)
		}
	}
	open, err := j.OpenRotations(t.Context())
	if err != nil || len(open) < len(acknowledged) {
		t.Errorf("OpenRotations after a crash = %d, %v; want at least %d", len(open), err, len(acknowledged))
	}
	for _, s := range open {
		if value, err := j.Unseal(t.Context(), s.ID, rotator.SlotNew); err != nil || !strings.HasSuffix(value.Reveal(), s.ID) {
			t.Errorf("Unseal(%q) after a crash = %v", s.ID, err)
		}
	}
	mustDo(t, j.Close())
}
