// Command bench measures rotatord and prints a table; bench/README.md says what
// its rows mean. It asserts nothing: a slow machine is no mistake.
//
// With -one it makes a single measurement in its own process and prints it as
// JSON; -cpuprofile and -memprofile then say where time and memory go. To add a
// flag, add it to the parameters of the package bench.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/rotatord/rotatord/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, notes io.Writer) error {
	var p bench.Params
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	one := flags.String("one", "", "make this one measurement, in this process, and print it as JSON")
	small := flags.Bool("small", false, "measure little, to see that it works")
	rounds := flags.Int("rounds", 0, "rounds of the comparison with a bare loop")
	flags.StringVar(&p.Dir, "dir", ".", "a folder on the disk to measure; one measurement wants an empty one")
	flags.DurationVar(&p.Delay, "delay", 5*time.Millisecond, "time of every call to the service")
	flags.IntVar(&p.Rotations, "rotations", 1000, "rotations (of -one)")
	flags.IntVar(&p.Concurrent, "concurrent", 8, "rotations at once (of -one)")
	flags.IntVar(&p.Tokens, "tokens", 100_000, "tokens, or leaks (of -one)")
	flags.DurationVar(&p.For, "for", time.Minute, "how long to look (of -one)")
	flags.StringVar(&p.CPUProfile, "cpuprofile", "", "write a CPU profile (of -one)")
	flags.StringVar(&p.MemProfile, "memprofile", "", "write a heap profile (of -one)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *one != "" {
		sample, err := bench.Run(ctx, *one, p)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(sample)
	}
	table := bench.Table{Size: bench.FullSize(), Dir: p.Dir, Out: out, Notes: notes}
	if *small {
		table.Size = bench.SmallSize()
	}
	if table.Delay = p.Delay; *rounds > 0 {
		table.Rounds = *rounds
	}
	var err error
	if table.Binary, err = os.Executable(); err != nil {
		return err
	}
	return table.Write(ctx)
}
