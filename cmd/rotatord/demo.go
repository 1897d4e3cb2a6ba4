package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var keep bool
	var workers int
	cmd := &cobra.Command{
		Use: "demo", Short: "See the whole loop on this machine, without any set-up",
		Long: `demo runs a simulated Instasent, a file store and a fleet of workers under load
on this machine: a rotation, then a leak, without one refused call. It touches
nothing outside a temporary folder and loopback.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(ctx context.Context, _ []string) error {
			if workers < 1 || workers > 200 {
				return usage(fmt.Errorf("demo: --workers must be between 1 and 200"))
			}
			_, _, ok := terminal(a.out)
			return demo.Run(ctx, demo.Options{Workers: workers, Keep: keep, Out: a.out, Terminal: ok, Program: a.program})
		}),
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running until it is interrupted")
	cmd.Flags().IntVar(&workers, "workers", 8, "how many workers use the token")
	return cmd
}
