// Command build builds the servers that tests need, before the tests run, so
// that the first `make test` says what it waits for. It changes nothing when
// they are there already.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/rotatord/rotatord/internal/testservers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	say := func(message string) { _, _ = fmt.Fprintln(os.Stderr, message) }
	for _, server := range append(testservers.Servers(), testservers.Asked()...) {
		if _, err := testservers.Build(ctx, server, say); err != nil {
			say("build test servers: " + err.Error())
			stop()
			os.Exit(1)
		}
	}
}
