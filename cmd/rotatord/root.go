package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const long = `rotatord replaces long-lived API tokens without downtime: it issues a new
credential, writes it to the secret stores, redeploys the consumers, waits for
proof that every one of them lives on it, revokes the old one, and proves that
the old one is dead.

  rotatord demo              see the whole loop on this machine
  rotatord check             find every mistake in the configuration
  rotatord rotate crm-sync   rotate one token now
  rotatord serve             rotate on schedule`

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, a *app, args []string) int {
	root := newRoot(a) //nolint:contextcheck // commands get theirs from ExecuteContext
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	return report(a.errOut, root.ExecuteContext(ctx))
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use: "rotatord", Short: "Rotate long-lived API tokens without downtime", Long: long,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := "`rotatord --help` lists the commands"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean `rotatord " + strings.Join(near, "` or `rotatord ") + "`?"
			}
			return usage(fmt.Errorf("run command %q: there is none of that name", args[0]), hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", defaultConfig(),
		"configuration file; $ROTATORD_CONFIG sets the default")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err, "see `"+cmd.CommandPath()+" --help`")
	})
	root.SetHelpTemplate(root.HelpTemplate() + "\n" + exitCodes + "\n")
	root.AddCommand(
		a.serveCommand(), a.checkCommand(), a.statusCommand(), a.planCommand(),
		a.rotateCommand(), a.runCommand(), a.provideCommand(),
		a.historyCommand(), a.auditCommand(), a.sweepCommand(), a.adoptCommand(),
		a.demoCommand(), a.docsCommand(), a.versionCommand(),
	)
	root.AddCommand(a.decideCommands()...)
	return root
}

func defaultConfig() string {
	if path := os.Getenv("ROTATORD_CONFIG"); path != "" {
		return path
	}
	return "rotatord.yaml"
}

// run makes a command's RunE: its errors get their exit codes.
func (a *app) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return classify(f(cmd.Context(), args))
	}
}

// args makes a check of the number of arguments; most < 0 means no limit.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		hint := "usage: " + cmd.UseLine()
		switch {
		case len(args) < least:
			return usage(errors.New(cmd.Name()+": "+what+" is missing"), hint)
		case most >= 0 && len(args) > most:
			return usage(fmt.Errorf("%s: unexpected argument %q", cmd.Name(), args[most]), hint)
		}
		return nil
	}
}

// outputFlag adds --output; its value is checked when it is set.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().VarP(choice(&a.output, "text", "json"), "output", "o", "how to print: text or json")
	complete(cmd, "output", "text", "json")
}

func complete(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

func (a *app) json() bool { return a.output == "json" }

// choiceValue is a flag that takes one of a few words; the first is the default.
type choiceValue struct {
	value *string
	words []string
}

func choice(value *string, words ...string) *choiceValue {
	*value = words[0]
	return &choiceValue{value, words}
}

func (c *choiceValue) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c *choiceValue) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return fmt.Errorf("must be one of %s", strings.Join(c.words, ", "))
	}
	*c.value = word
	return nil
}

func (c *choiceValue) Type() string { return strings.Join(c.words, "|") }

// completeTokens offers the names of the configured tokens.
func (a *app) completeTokens(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	built, err := a.load(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, t := range built.Tokens {
		if !slices.Contains(args, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// streamOf returns the descriptor behind a stream that is a terminal.
func streamOf(stream any, isTerminal func(fd int) bool) (fd int, ok bool) {
	file, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return 0, false
	}
	fd = int(file.Fd())
	return fd, isTerminal(fd)
}
