package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) docsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "docs", Short: "Print documentation that is made from the code",
		Args: func(*cobra.Command, []string) error {
			return usage(errors.New("docs: say what to print: schema or states"), "see `rotatord docs --help`")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the configuration, for editors", Args: args(0, 0, ""),
		RunE: a.run(func(context.Context, []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			printf(a.out, "%s\n", trimNewline(schema))
			return nil
		}),
	}, &cobra.Command{
		Use: "states", Short: "Print the state machine as a Mermaid diagram", Args: args(0, 0, ""),
		RunE: a.run(func(context.Context, []string) error {
			printf(a.out, "%s\n", trimNewline([]byte(rotator.StatesDiagram())))
			return nil
		}),
	})
	return cmd
}

func trimNewline(text []byte) []byte {
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return text
}
