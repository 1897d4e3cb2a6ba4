// Command instasentsim runs the simulated Instasent as a process: for tests of
// rotatord as a whole and for trying it by hand. It prints its addresses and the
// admin token as one line of JSON, then serves until it is interrupted.
//
// It keeps everything in memory and is no service for real tokens. A new knob of
// instasentsim.Knobs gets its flag in parse.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/internal/instasentsim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "instasentsim:", err)
		os.Exit(1)
	}
}

type settings struct {
	sim                instasentsim.Options
	dashboard, apiAddr string
	addresses          string
}

// places collects -datasource flags.
type places []instasentsim.Place

// String implements flag.Value.
func (p *places) String() string { return "" }

// Set implements flag.Value.
func (p *places) Set(text string) error {
	project, datasource, _ := strings.Cut(text, "/")
	if project == "" || strings.Contains(datasource, "/") {
		return errors.New("use PROJECT/DATASOURCE, for example proj_x/ds_y")
	}
	*p = append(*p, instasentsim.Place{Project: project, Datasource: datasource})
	return nil
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	k := &s.sim.Knobs
	f := flag.NewFlagSet("instasentsim", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.dashboard, "dashboard-addr", "127.0.0.1:0", "address of the dashboard side")
	f.StringVar(&s.apiAddr, "api-addr", "127.0.0.1:0", "address of the API side")
	f.StringVar(&s.addresses, "addresses-file", "", "also write the line with the addresses to this file")
	f.StringVar(&s.sim.AdminToken, "admin-token", "", "bearer token of the dashboard side; empty: a random one")
	f.StringVar(&s.sim.ReadToken, "read-token", "", "bearer token of the dashboard side that may only list")
	f.Var((*places)(&s.sim.Places), "datasource", "PROJECT/DATASOURCE that exists, may be repeated (default proj_x/ds_y)")
	f.IntVar(&k.DeadStatus, "dead-status", 401, "answer to a dead token: 401 or 403")
	f.IntVar(&k.ForeignStatus, "foreign-status", 404, "answer to a token of another datasource: 404 or 403")
	f.TextVar(&k.ActivationDelay, "activation-delay", k.ActivationDelay, "how long a new token is refused")
	f.TextVar(&k.RevocationLag, "revocation-lag", k.RevocationLag, "how long a deleted token is accepted")
	f.IntVar(&k.RateLimit, "rate-limit", 600, "calls per window, datasource and endpoint; negative: no limit")
	f.TextVar(&k.RateWindow, "rate-window", k.RateWindow, "length of a rate window; 0: a minute")
	f.IntVar(&k.MaxTokens, "max-tokens", 0, "tokens that a datasource may have at once; 0: no maximum")
	f.IntVar(&k.MaxTokensStatus, "max-tokens-status", 422, "answer at the maximum: 422 or 409")
	f.IntVar(&k.PageSize, "page-size", 50, "tokens per page of a list")
	f.BoolVar(&k.ListUnsupported, "list-unsupported", false, "the dashboard side can't list tokens")
	f.TextVar(&k.Latency, "latency", k.Latency, "delay of every answer")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if len(s.sim.Places) == 0 {
		s.sim.Places = []instasentsim.Place{{Project: "proj_x", Datasource: "ds_y"}}
	}
	return s, nil
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	sim := instasentsim.New(s.sim)
	listen := net.ListenConfig{}
	dashboard, err := listen.Listen(ctx, "tcp", s.dashboard)
	if err != nil {
		return fmt.Errorf("listen for the dashboard: %w", err)
	}
	defer func() { _ = dashboard.Close() }()
	api, err := listen.Listen(ctx, "tcp", s.apiAddr)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	defer func() { _ = api.Close() }()

	line, err := json.Marshal(map[string]string{
		"dashboard_url": "http://" + dashboard.Addr().String(),
		"api_url":       "http://" + api.Addr().String() + "/v1",
		"admin_token":   sim.AdminToken(),
	})
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if s.addresses != "" {
		if err := os.WriteFile(s.addresses, line, 0o600); err != nil {
			return fmt.Errorf("write addresses: %w", err)
		}
	}
	if _, err := stdout.Write(line); err != nil {
		return fmt.Errorf("print addresses: %w", err)
	}
	return serve(ctx, map[net.Listener]http.Handler{dashboard: sim.Admin(), api: sim.API()})
}

func serve(ctx context.Context, sides map[net.Listener]http.Handler) error {
	failed := make(chan error, len(sides))
	for listener, handler := range sides {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		defer func() { _ = server.Close() }()
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}
