package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rotatord/rotatord/rotator"
)

// consumerMain is the program `consumer` of the stories.
//
//	consumer work NAME PLACE URL  a worker: reads its token where it is kept (file:PATH, or vault:PATH
//	                              with $VAULT_ADDR and $VAULT_TOKEN) and posts to the URL without a break.
//	                              SIGHUP lets it read the token anew, unless the file NAME.deaf exists.
//	                              While NAME.broken exists, /healthz answers the status in it as long as
//	                              the worker lives on another value than its first. /count says how many
//	                              calls it made, and how many were refused or failed otherwise.
//	consumer reload NAME…         what a deployer does: SIGHUP to workers
func consumerMain() {
	args := os.Args[1:]
	var err error
	switch {
	case len(args) == 4 && args[0] == "work":
		err = work(args[1], args[2], args[3])
	case len(args) > 1 && args[0] == "reload":
		for _, name := range args[1:] {
			err = errors.Join(err, reloadWorker(name))
		}
	default:
		err = errors.New("usage: consumer work NAME PLACE URL | consumer reload NAME…")
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

func reloadWorker(name string) error {
	text, err := os.ReadFile(name + ".pid")
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGHUP)
}

// consumer is a worker. Its loop alone holds the value, so that a call under
// way never carries another value than the one that it reports.
type consumer struct {
	name, place, url string
	first            rotator.Fingerprint

	mu    sync.Mutex
	lives rotator.Fingerprint // of the value that the last answered call carried
	count counts
}

type counts struct {
	Calls   int `json:"calls"`
	Refused int `json:"refused"`
	Failed  int `json:"failed"`
}

func work(name, place, url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	c := &consumer{name: name, place: place, url: url}
	value, err := c.read(ctx)
	if err != nil {
		return err
	}
	c.first = rotator.FingerprintOf(value)
	c.post(ctx, value)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", c.health)
	mux.HandleFunc("/count", c.tell)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer func() { _ = server.Close() }()
	if err := os.WriteFile(name+".pid", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(name+".url", []byte("http://"+listener.Addr().String()), 0o600); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
			if exists(name + ".deaf") {
				continue
			}
			if value, err = c.read(ctx); err != nil {
				return err
			}
		case <-tick.C:
			c.post(ctx, value)
		}
	}
}

// read reads the token as an application would.
func (c *consumer) read(ctx context.Context) (string, error) {
	kind, path, _ := strings.Cut(c.place, ":")
	if kind == "file" {
		raw, err := os.ReadFile(filepath.Clean(path))
		return string(raw), err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("VAULT_ADDR")+"/v1/secret/data/"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("X-Vault-Token", os.Getenv("VAULT_TOKEN"))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	var body struct {
		Data struct {
			Data map[string]string `json:"data"`
		} `json:"data"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Data.Data[vaultField] == "" {
		return "", fmt.Errorf("read token in Vault: status %d, %w", answer.StatusCode, err)
	}
	return body.Data.Data[vaultField], nil
}

func (c *consumer) post(ctx context.Context, value string) {
	body := strings.NewReader(`[{"name":"story","user_id":"` + c.name + `"}]`)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/events", body)
	if err != nil {
		return
	}
	request.Header.Set("Authorization", "Bearer "+value)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", c.name)
	answer, err := http.DefaultClient.Do(request)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Calls++
	if err != nil {
		c.count.Failed++
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body) // for the next call
	_ = answer.Body.Close()
	c.lives = rotator.FingerprintOf(value)
	switch answer.StatusCode {
	case http.StatusAccepted:
	case http.StatusUnauthorized, http.StatusForbidden:
		c.count.Refused++
	default:
		c.count.Failed++
	}
}

func (c *consumer) health(out http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Header().Set("X-Token-Fingerprint", string(c.lives))
	if text, err := os.ReadFile(c.name + ".broken"); err == nil && c.lives != c.first {
		status, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			status = http.StatusInternalServerError
		}
		out.WriteHeader(status)
	}
}

func (c *consumer) tell(out http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = json.NewEncoder(out).Encode(c.count) // the asker may be gone
}

func startWorker(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "hire NAME PLACE")
	kind, path, _ := strings.Cut(args[1], ":")
	name, place := args[0], "vault:"+ts.Name()+"/"+path
	if kind == "file" {
		place = "file:" + filepath.Join("secrets", path)
	}
	start(ts, false, []string{name, "consumer", "work", name, place, ts.Getenv("API") + "/project/proj_x/datasource/ds_y/stream"})
	waitFile(ts, false, []string{name + ".url", name})
}

func lives(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "lives WORKER FINGERPRINT")
	until(ts, args[0]+" lives on "+args[1], func() bool {
		answer, err := http.Get(ts.Getenv(args[0]) + "/healthz") //nolint:noctx // a worker of the story, on loopback
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.Header.Get("X-Token-Fingerprint") == args[1]
	})
}

// countOf asks a worker what it counted.
func countOf(ts *testscript.TestScript, name string) counts {
	answer, err := http.Get(ts.Getenv(name) + "/count") //nolint:noctx // a worker of the story, on loopback
	ts.Check(err)
	var count counts
	ts.Check(errors.Join(json.NewDecoder(answer.Body).Decode(&count), answer.Body.Close()))
	return count
}

func unrefused(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, false, args, 1, "[!] unrefused WORKER…")
	for _, name := range args {
		count := countOf(ts, name)
		if (count.Refused > 0) != neg || count.Failed > 0 || count.Calls < 10 {
			ts.Fatalf("%s: %+v; want calls, none refused (with !: some) and none failed", name, count)
		}
	}
}
