package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

func (a *app) provideCommand() *cobra.Command {
	var id string
	var wait bool
	cmd := &cobra.Command{
		Use: "provide TOKEN", Short: "Hand over a credential that a person generated",
		Long: `provide reads the value of a new credential from standard input, without echo
on a terminal, and hands it to the rotation that waits for it. The value is
checked first: it must be live, new, and belong where the token's params say.

  rotatord provide crm-sync                       type or paste it
  pass instasent/crm | rotatord provide crm-sync  or pipe it

The value is never an argument: arguments are visible to every user.`,
		Args: args(1, 1, "the name of a token"), ValidArgsFunction: a.completeTokens,
		RunE: a.run(func(ctx context.Context, args []string) error {
			value, err := a.readValue(ctx, args[0])
			if err != nil {
				return err
			}
			return a.with(ctx, "provide", toAct, func(s *session) error {
				fingerprint, err := s.Provide(ctx, args[0], value, id)
				if err != nil {
					return err
				}
				a.note("%s: took the credential with fingerprint %s", args[0], fingerprint)
				r, err := openOf(ctx, s, args[0])
				if err != nil || r == nil {
					return err
				}
				return a.goOn(ctx, s, *r, wait, rotator.Done)
			})
		}),
	}
	cmd.Flags().StringVar(&id, "id", "", "the credential's ID at the issuer, where you know it: it can then be revoked by it")
	cmd.Flags().BoolVar(&wait, "wait", false, "show the rotation until it has ended or needs a person")
	a.outputFlag(cmd)
	return cmd
}

// readValue reads one value from standard input. One final newline is not part
// of it; nothing of it is ever printed.
func (a *app) readValue(ctx context.Context, token string) (rotator.Secret, error) {
	if fd, ok := streamOf(a.in, term.IsTerminal); ok {
		return a.askValue(ctx, fd, token)
	}
	raw, err := io.ReadAll(io.LimitReader(a.in, server.MaxValue+3))
	if err != nil {
		return rotator.Secret{}, fmt.Errorf("read value: %w", err)
	}
	return cutValue(string(raw))
}

// askValue reads a line from a terminal without showing it. A signal puts the
// terminal back before it ends the wait.
func (a *app) askValue(ctx context.Context, fd int, token string) (rotator.Secret, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return rotator.Secret{}, fmt.Errorf("read value: %w", err)
	}
	printf(a.errOut, "Value of the new credential for %s (not shown): ", clean(token))
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, before) // the process is about to end
		printf(a.errOut, "\n")
		return rotator.Secret{}, ctx.Err()
	case got := <-read:
		printf(a.errOut, "\n")
		if got.err != nil {
			return rotator.Secret{}, fmt.Errorf("read value: %w", got.err)
		}
		return cutValue(string(got.text))
	}
}

func cutValue(text string) (rotator.Secret, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case strings.TrimSpace(text) == "":
		return rotator.Secret{}, usage(errors.New("read value: standard input is empty"))
	case len(text) > server.MaxValue:
		return rotator.Secret{}, usage(fmt.Errorf("read value: it is longer than %d bytes", server.MaxValue))
	case strings.ContainsAny(text, "\n\r"):
		return rotator.Secret{}, usage(errors.New("read value: it has more than one line"), "a credential is one line; was a whole file piped in?")
	case strings.IndexFunc(text, unsafeRune) >= 0:
		return rotator.Secret{}, usage(errors.New("read value: it has control characters, or is no UTF-8"))
	}
	return rotator.NewSecret(text), nil
}
