package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores"
)

func (a *app) docsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "docs", Short: "Print documentation that is made from the code",
		Args: func(*cobra.Command, []string) error {
			return usage(errors.New("docs: say what to print: schema, states or stores"), "see `rotatord docs --help`")
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
	}, a.docsStoresCommand())
	return cmd
}

// A storeDoc is one type of store, for people and scripts.
type storeDoc struct {
	Type    string `json:"type"`
	Summary string `json:"summary"`
	Example string `json:"example,omitempty"` // of one that was asked for
}

func (a *app) docsStoresCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stores [TYPE]", Short: "List the types of stores, or print an example of one",
		Long: `stores lists the types of stores that this binary has. With a type it prints an
entry of the configuration with every key explained, ready to be copied.`,
		Args: args(0, 1, ""), ValidArgs: stores.Types().Types(),
		RunE: a.run(func(_ context.Context, args []string) error {
			if len(args) == 1 {
				return a.printStore(args[0])
			}
			return a.printStores()
		}),
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) printStores() error {
	kind := stores.Types()
	listed := struct {
		Stores []storeDoc `json:"stores"`
	}{[]storeDoc{}}
	list := table{}
	list.row("TYPE", "WHAT IT IS")
	for _, name := range kind.Types() {
		summary := kind[name].Summary()
		listed.Stores = append(listed.Stores, storeDoc{Type: name, Summary: summary})
		list.row(name, summary)
	}
	if a.json() {
		return printJSON(a.out, listed)
	}
	list.print(a.out)
	return nil
}

func (a *app) printStore(name string) error {
	kind := stores.Types()
	entry, ok := kind[name]
	if !ok {
		hint := strings.TrimPrefix(strictyaml.DidYouMean(name, kind.Types()), "; ")
		if hint == "" {
			hint = "there are " + strings.Join(kind.Types(), ", ")
		}
		return usage(fmt.Errorf("docs stores: there is no type %q", name), hint)
	}
	if a.json() {
		return printJSON(a.out, storeDoc{name, entry.Summary(), entry.Example})
	}
	printf(a.out, "%s\n", trimNewline([]byte(entry.Example)))
	return nil
}

func trimNewline(text []byte) []byte {
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return text
}
