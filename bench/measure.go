package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// quantile returns the smallest value that a share q of all is not above.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Median returns the middle of some numbers; of an even count the lower one.
func Median(numbers []float64) float64 {
	if len(numbers) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(numbers))
	return sorted[(len(sorted)-1)/2]
}

// memory returns how much of a process is and was in memory, in megabytes.
// pid "self" is this one.
func memory(pid string) (now, peak float64, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "status")) //nolint:gosec // a process ID
	if err != nil {
		return 0, 0, err
	}
	field := func(name string) float64 {
		_, rest, _ := strings.Cut(string(text), name+":")
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		kB, _ := strconv.ParseFloat(number, 64)
		return kB * 1024 / 1e6
	}
	return field("VmRSS"), field("VmHWM"), nil
}

// cpuTime returns the processor time that this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cpuTimeOf returns the processor time that another process has used.
func cpuTimeOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// After the name in brackets, which may hold anything: fields 14 and 15.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read processor time of process %d: too few fields", pid)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// Machine describes where the table was made, without naming the host.
func Machine(dir string) []string {
	kernel := "unknown"
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = strings.TrimSpace(string(text))
	}
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	lines := []string{
		fmt.Sprintf("cores: %d (%s), load average before: %s", runtime.NumCPU(), processor(), load),
		fmt.Sprintf("system: %s/%s, kernel %s", runtime.GOOS, runtime.GOARCH, kernel),
		fmt.Sprintf("Go: %s", runtime.Version()),
		fmt.Sprintf("SQLite: modernc.org/sqlite %s", moduleVersion("modernc.org/sqlite")),
	}
	if took, err := syncTime(dir); err == nil {
		lines = append(lines, fmt.Sprintf("disk: 4 KiB written and synced in %s (median)", took.Round(time.Microsecond)))
	}
	return lines
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	if name := strings.TrimSpace(strings.TrimLeft(line, " \t:")); name != "" {
		return name
	}
	return "unknown"
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}

// syncTime measures the disk: the journal waits for it at every commit.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, err
	}
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }()
	block := make([]byte, 4096)
	var took []time.Duration
	for i := range 200 {
		start := time.Now()
		if _, err := f.WriteAt(block, int64(i*len(block))); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return quantile(took, 0.5), nil
}
