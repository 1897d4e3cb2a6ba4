// Command rotatord rotates long-lived API tokens without downtime.
//
// main only wires: one file holds one command, app.go opens what they share,
// and what a rotation does is decided in package rotator. To add a command,
// write its file and list it in root.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	if err := noCoreDump(); err != nil {
		printf(a.errOut, "warning: %v\n", err)
	}
	code := execute(ctx, a, os.Args[1:])
	stop()
	os.Exit(code)
}
