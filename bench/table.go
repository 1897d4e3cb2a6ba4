package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Size says how much the table measures.
type Size struct {
	Rounds     int // of bare and rotatord, in turn
	Rotations  int // of each
	Open       int // rotations that are restarted, or that leaks are among
	Tokens     int // that idle
	Due        int // of them
	Leaks      int
	AWS        int // tokens that are kept in AWS Secrets Manager
	Idle       time.Duration
	DueWithin  time.Duration
	Delay      time.Duration
	Concurrent []int
}

// FullSize is what the aims are about.
func FullSize() Size {
	return Size{
		Rounds: 5, Rotations: 1000, Open: 10_000, Tokens: 100_000, Due: 10_000, Leaks: 100, AWS: 500,
		Idle: 65 * time.Second, DueWithin: time.Minute, Delay: 5 * time.Millisecond, Concurrent: []int{8, 64},
	}
}

// SmallSize is done in a minute and shows that all of it works; its numbers say little.
func SmallSize() Size {
	return Size{
		Rounds: 1, Rotations: 200, Open: 500, Tokens: 2000, Due: 200, Leaks: 20, AWS: 50,
		Idle: 5 * time.Second, DueWithin: 5 * time.Second, Delay: 5 * time.Millisecond, Concurrent: []int{8, 64},
	}
}

// A Table makes the measurements, each in a process of its own, and writes
// what they found as a table in Markdown.
type Table struct {
	Size
	Dir    string // on the disk to measure
	Out    io.Writer
	Notes  io.Writer // what goes on
	Binary string    // this program: with -one it makes one measurement
}

func (t *Table) row(format string, args ...any) { _, _ = fmt.Fprintf(t.Out, format+"\n", args...) }

// Write makes and writes the table.
func (t *Table) Write(ctx context.Context) error {
	for _, line := range Machine(t.Dir) {
		t.row("- %s", line)
	}
	t.row("- every call to the service takes %s", t.Delay)
	t.row("\n| measurement | found | aim |\n| --- | --- | --- |")
	for _, rows := range []func(context.Context) error{t.throughput, t.restart, t.tokens, t.serve, t.leak, t.aws} {
		if err := rows(ctx); err != nil {
			return err
		}
	}
	return nil
}

// one makes a measurement in a process of its own.
func (t *Table) one(ctx context.Context, name string, p Params) (s Sample, err error) {
	_, _ = fmt.Fprintf(t.Notes, "%s %s\n", time.Now().Format(time.TimeOnly), name)
	args := []string{
		"-one", name, "-dir", p.Dir, "-delay", t.Delay.String(), "-rotations", strconv.Itoa(p.Rotations),
		"-concurrent", strconv.Itoa(p.Concurrent), "-tokens", strconv.Itoa(p.Tokens), "-for", p.For.String(),
	}
	cmd := exec.CommandContext(ctx, t.Binary, args...) //nolint:gosec // this program
	cmd.Stderr = t.Notes
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("measure %s: %w", name, err)
	}
	return s, json.Unmarshal(out, &s)
}

// within makes a folder for f and removes it.
func (t *Table) within(f func(dir string) error) error {
	dir, err := os.MkdirTemp(t.Dir, "bench-")
	if err == nil { // a measurement starts programs in folders of their own
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(f(dir), os.RemoveAll(dir))
}

func (t *Table) throughput(ctx context.Context) error {
	for _, concurrent := range t.Concurrent {
		found := map[string][]Sample{}
		var ratios []float64
		for range t.Rounds {
			for _, name := range []string{"bare", "rotatord"} {
				err := t.within(func(dir string) error {
					s, err := t.one(ctx, name, Params{Dir: dir, Rotations: t.Rotations, Concurrent: concurrent})
					found[name] = append(found[name], s)
					return err
				})
				if err != nil {
					return err
				}
			}
			bare, ours := found["bare"], found["rotatord"]
			ratios = append(ratios, float64(ours[len(ours)-1].Took)/float64(bare[len(bare)-1].Took))
		}
		for _, name := range []string{"bare", "rotatord"} {
			t.row("| %d rotations, %d at once: %s | %s | |", t.Rotations, concurrent, name, rate(found[name]))
		}
		aim := map[int]string{8: "≤ 1.15 ×", 64: "≤ 1.5 ×"}[concurrent]
		t.row("| … ratio of the times, of %d rounds in turn | median %.2f × (%s) | %s |", t.Rounds, Median(ratios), list(ratios), aim)
	}
	return nil
}

func rate(samples []Sample) string {
	median := func(of func(Sample) float64) float64 {
		var all []float64
		for _, s := range samples {
			all = append(all, of(s))
		}
		return Median(all)
	}
	return fmt.Sprintf("%.0f rotations/s, p50 %.0f ms, p99 %.0f ms, %.2f ms of processor time each, peak %.0f MB",
		median(func(s Sample) float64 { return float64(s.Count) / s.Took.Seconds() }),
		median(func(s Sample) float64 { return s.P50.Seconds() * 1000 }),
		median(func(s Sample) float64 { return s.P99.Seconds() * 1000 }),
		median(func(s Sample) float64 { return s.CPU.Seconds() * 1000 / float64(s.Count) }),
		median(func(s Sample) float64 { return s.PeakMB }))
}

func list(numbers []float64) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.FormatFloat(n, 'f', 2, 64)
	}
	return strings.Join(texts, ", ")
}

func (t *Table) restart(ctx context.Context) error {
	return t.within(func(dir string) error {
		p := Params{Dir: dir, Rotations: t.Open}
		_, err := t.one(ctx, "prepare", p)
		if killed, ok := errors.AsType[*exec.ExitError](err); !ok || !killedItself(killed) {
			return fmt.Errorf("measure prepare: it should have killed itself: %w", err)
		}
		s, err := t.one(ctx, "restart", p)
		if err != nil {
			return err
		}
		t.row("| %d open rotations after kill -9: until each has its next entry on the disk | all %.2f s, p50 %.2f s; journal open and engine started %.2f s; peak %.0f MB | all ≤ 5 s |",
			t.Open, s.Took.Seconds(), s.P50.Seconds(), s.Times["up"], s.PeakMB)
		t.row("| … until all were done | %.1f s, %.0f rotations/s | |", s.Times["closed"], float64(t.Open)/s.Times["closed"])
		return nil
	})
}

func killedItself(e *exec.ExitError) bool {
	status, ok := e.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func (t *Table) tokens(ctx context.Context) error {
	return t.within(func(dir string) error {
		p := Params{Dir: dir, Tokens: t.Tokens, Rotations: t.Due, Concurrent: 64, For: t.Idle}
		seen, err := t.one(ctx, "seen", p)
		if err != nil {
			return err
		}
		idle, err := t.one(ctx, "idle", p)
		if err != nil {
			return err
		}
		t.row("| %d idle tokens: engine and journal | %.0f MB, %.2f %% of a core; first start %.1f s, later ones %.1f s | ≤ 100 MB, ≤ 1 %% |",
			t.Tokens, idle.MemoryMB, 100*idle.CPU.Seconds()/t.Idle.Seconds(), seen.Took.Seconds(), idle.Took.Seconds())
		p.For = t.DueWithin
		due, err := t.one(ctx, "due", p)
		if err != nil {
			return err
		}
		t.row("| %d of %d tokens due within %s, 64 at once: opened too late by | p50 %.2f s, p99 %.2f s, most %.2f s | p99 < 1 s |",
			t.Due, t.Tokens, t.DueWithin, due.P50.Seconds(), due.P99.Seconds(), due.Max.Seconds())
		t.row("| … started too late by | p50 %.2f s, p99 %.2f s, most %.2f s | |",
			due.Times["started p50"], due.Times["started p99"], due.Times["started max"])
		return nil
	})
}

func (t *Table) serve(ctx context.Context) error {
	return t.within(func(dir string) error {
		s, err := t.one(ctx, "serve", Params{Dir: dir, Tokens: t.Tokens, For: t.Idle})
		if err != nil {
			return err
		}
		t.row("| `rotatord serve` with %d idle tokens | %.0f MB, %.2f %% of a core; first start %.1f s, with at most %.0f MB | |",
			s.Count, s.MemoryMB, 100*s.CPU.Seconds()/t.Idle.Seconds(), s.Took.Seconds(), s.PeakMB)
		return nil
	})
}

func (t *Table) leak(ctx context.Context) error {
	var alone Sample
	for _, others := range []int{0, t.Open} {
		err := t.within(func(dir string) error {
			s, err := t.one(ctx, "leak", Params{Dir: filepath.Clean(dir), Rotations: others, Tokens: t.Leaks})
			if err != nil {
				return err
			}
			if others == 0 {
				alone = s
				t.row("| %d leaks, nothing else: until the old credential is refused | p50 %.0f ms, p99 %.0f ms | |", s.Count, ms(s.P50), ms(s.P99))
				return nil
			}
			t.row("| %d leaks while %.0f to %.0f other rotations are under way | p50 %.0f ms, p99 %.0f ms: %.0f ms more than the p50 of a lone one | ≤ 1000 ms more |",
				s.Count, s.Times["open at the first"], s.Times["open at the last"], ms(s.P50), ms(s.P99), ms(s.P99-alone.P50))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) aws(ctx context.Context) error {
	return t.within(func(dir string) error {
		s, err := t.one(ctx, "aws", Params{Dir: dir, Rotations: t.AWS, Concurrent: 64})
		if err != nil {
			return err
		}
		t.row("| %d tokens written to AWS Secrets Manager, 64 at once, with its quota of %d writes a second | %.1f s: %.2f × what the quota takes; %.0f writes throttled | ≤ 1.2 × |",
			s.Count, AWSQuota, s.Took.Seconds(), s.Took.Seconds()/s.Times["floor"], s.Times["throttled"])
		return nil
	})
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
