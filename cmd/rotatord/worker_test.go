package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// workerMain is the program `worker` of the scripts: a consumer that reads its
// token from a file, calls the service with it without a break, reads it anew
// when the reload file is touched, and tells on /healthz what it lives on.
func workerMain() {
	w := &worker{}
	flag.StringVar(&w.secret, "secret", "", "file with the token")
	flag.StringVar(&w.reload, "reload", "", "file that a deploy touches")
	flag.StringVar(&w.url, "url", "", "what to call at the service")
	flag.StringVar(&w.name, "name", "worker", "User-Agent")
	flag.StringVar(&w.deaf, "deaf", "", "ignore reloads while this file exists")
	flag.StringVar(&w.broken, "broken", "", "answer 401 on any other than the first value while this file exists")
	address := flag.String("address-file", "", "where to write the URL of /healthz")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := w.run(ctx, *address)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

type worker struct {
	secret, reload, url, name, deaf, broken string

	mu     sync.Mutex
	first  rotator.Fingerprint
	lives  rotator.Fingerprint // of the value that the last call carried
	status int                 // of the last call
}

func (w *worker) run(ctx context.Context, addressFile string) error {
	value, err := os.ReadFile(w.secret)
	if err != nil {
		return err
	}
	w.first = rotator.FingerprintOf(string(value))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(w.health), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer func() { _ = server.Close() }()
	if err := os.WriteFile(addressFile, []byte("http://"+listener.Addr().String()+"/healthz"), 0o600); err != nil {
		return err
	}
	for seen := touchedAt(w.reload); ctx.Err() == nil; {
		w.call(ctx, string(value))
		if at := touchedAt(w.reload); !at.Equal(seen) && !exists(w.deaf) {
			seen = at
			if value, err = os.ReadFile(w.secret); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (w *worker) call(ctx context.Context, value string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return
	}
	request.Header.Set("Authorization", "Bearer "+value)
	request.Header.Set("User-Agent", w.name)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body) // for the next call
	_ = answer.Body.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives, w.status = rotator.FingerprintOf(value), answer.StatusCode
}

func (w *worker) health(out http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out.Header().Set("X-Token-Fingerprint", string(w.lives))
	if w.broken != "" && exists(w.broken) && w.lives != w.first {
		out.WriteHeader(http.StatusUnauthorized)
		return
	}
	out.WriteHeader(max(w.status, http.StatusOK))
}

func touchedAt(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return file != "" && !errors.Is(err, os.ErrNotExist)
}
