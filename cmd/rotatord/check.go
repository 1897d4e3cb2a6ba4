package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/internal/strictyaml"
)

func (a *app) checkCommand() *cobra.Command {
	var online bool
	cmd := &cobra.Command{
		Use: "check", Short: "Find every mistake in the configuration",
		Long: `check reads the configuration and prints every mistake with its line and path;
no value of the file is printed. It works offline and reads no secret.

With --online it also logs in to every issuer, store and notifier, asks whether
each token's places can be written, reads them, and compares the fingerprints.
It writes nothing.`,
		Args: args(0, 0, ""),
		RunE: a.run(func(ctx context.Context, _ []string) error {
			built, err := a.load(ctx)
			if err != nil {
				return a.checkMistakes(err)
			}
			report := checkReport{
				OK: true, Mistakes: []checkMistake{}, Warnings: append([]string{}, built.Warnings...),
				Tokens: len(built.Tokens), Issuers: len(built.Issuers), Stores: len(built.Stores), Notifiers: len(built.Notifiers),
			}
			if online {
				report.Online = checkOnline(ctx, built)
			}
			return a.printCheck(report)
		}),
	}
	cmd.Flags().BoolVar(&online, "online", false, "also reach every issuer, store and notifier, without writing")
	a.outputFlag(cmd)
	return cmd
}

type (
	checkReport struct {
		OK        bool           `json:"ok"`
		Mistakes  []checkMistake `json:"mistakes"`
		Warnings  []string       `json:"warnings"`
		Tokens    int            `json:"tokens"`
		Issuers   int            `json:"issuers"`
		Stores    int            `json:"stores"`
		Notifiers int            `json:"notifiers"`
		Online    []onlineResult `json:"online,omitempty"`
	}
	checkMistake struct {
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Path   string `json:"path"`
		Text   string `json:"text"`
	}
)

// checkMistakes prints the mistakes: with JSON on standard output, where
// scripts look, else as every error.
func (a *app) checkMistakes(err error) error {
	var mistakes *config.MistakesError
	if !a.json() || !errors.As(err, &mistakes) {
		return err
	}
	report := checkReport{Warnings: []string{}}
	for _, m := range mistakes.Mistakes {
		report.Mistakes = append(report.Mistakes, mistakeOf(m))
	}
	if printed := printJSON(a.out, report); printed != nil {
		return printed
	}
	return &failure{err: err, code: exitUsage, silent: true}
}

func mistakeOf(m strictyaml.Mistake) checkMistake {
	return checkMistake{Line: m.Line, Column: m.Column, Path: m.Path, Text: m.Text}
}

func (a *app) printCheck(report checkReport) error {
	failures := 0
	for _, r := range report.Online {
		if r.Result == resultFailed {
			failures++
		}
	}
	report.OK = failures == 0
	if a.json() {
		if err := printJSON(a.out, report); err != nil {
			return err
		}
	} else {
		for _, warning := range report.Warnings {
			printf(a.errOut, "warning: %s\n", clean(warning))
		}
		if len(report.Online) > 0 {
			list := table{}
			list.row("WHAT", "NAME", "RESULT", "DETAIL")
			for _, r := range report.Online {
				list.row(r.What, r.Name, r.Result, r.Detail)
			}
			list.print(a.out)
		}
		printf(a.out, "%s: the configuration is valid: %s\n", clean(a.configPath), strings.Join([]string{
			counted(report.Tokens, "token"), counted(report.Issuers, "issuer"),
			counted(report.Stores, "store"), counted(report.Notifiers, "notifier"),
		}, ", "))
	}
	if failures > 0 {
		return failed(errors.New("check online: " + counted(failures, "check") + " failed"))
	}
	return nil
}
