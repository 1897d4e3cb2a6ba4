package bench

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime/pprof"
	"slices"
	"time"
)

// Params of a measurement.
type Params struct {
	Dir        string        // an empty folder of its own, on the disk to be measured
	Delay      time.Duration // of every call to the service
	Rotations  int
	Concurrent int
	Tokens     int
	For        time.Duration // how long to look, where that is to be chosen
	CPUProfile string        // file for a CPU profile; empty: none
	MemProfile string        // file for a heap profile at the end; empty: none
}

// A Sample is what one measurement found. What does not apply is zero.
type Sample struct {
	Count    int           // of rotations
	Took     time.Duration // all in all
	P50, P99 time.Duration // of one
	Max      time.Duration
	CPU      time.Duration      // processor time
	MemoryMB float64            // at the end
	PeakMB   float64            // at most
	Times    map[string]float64 // more, in seconds
}

func (s *Sample) times(of []time.Duration) {
	slices.Sort(of)
	s.Count, s.P50, s.P99, s.Max = len(of), quantile(of, 0.5), quantile(of, 0.99), quantile(of, 1)
}

// Runs are the measurements by name. Each takes its process for itself.
func Runs() map[string]func(context.Context, Params) (Sample, error) {
	return map[string]func(context.Context, Params) (Sample, error){
		"bare":     Bare,
		"rotatord": Rotatord,
		"prepare":  Prepare,
		"restart":  Restart,
		"seen":     Seen,
		"idle":     Idle,
		"due":      Due,
		"leak":     Leak,
		"serve":    Serve,
		"aws":      AWS,
	}
}

// Run makes one measurement and adds what the process used.
func Run(ctx context.Context, name string, p Params) (Sample, error) {
	run, ok := Runs()[name]
	if !ok {
		return Sample{}, fmt.Errorf("measurement %q is not known; there are %q", name, slices.Sorted(maps.Keys(Runs())))
	}
	if p.CPUProfile != "" {
		f, err := os.Create(p.CPUProfile)
		if err != nil {
			return Sample{}, err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return Sample{}, err
		}
		defer pprof.StopCPUProfile()
	}
	sample, err := run(ctx, p)
	if err != nil {
		return sample, fmt.Errorf("measure %s: %w", name, err)
	}
	if sample.CPU == 0 {
		sample.CPU = cpuTime()
	}
	now, peak, err := memory("self")
	if err != nil {
		return sample, err
	}
	if sample.MemoryMB == 0 {
		sample.MemoryMB = now
	}
	if sample.PeakMB == 0 {
		sample.PeakMB = peak
	}
	return sample, nil
}

// heapProfile writes what is in memory, if that was asked for.
func (p Params) heapProfile() error {
	if p.MemProfile == "" {
		return nil
	}
	f, err := os.Create(p.MemProfile)
	if err != nil {
		return err
	}
	err = pprof.WriteHeapProfile(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
