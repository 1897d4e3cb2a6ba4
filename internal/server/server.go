package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	headerTimeout   = 5 * time.Second
	idleTimeout     = 2 * time.Minute
	operationLimit  = 10 * time.Minute // an operation may call an issuer several times
	shutdownTimeout = 5 * time.Second
)

// Options of a Server.
type Options struct {
	Engine Engine
	Logger *slog.Logger
	Self   Daemon
}

// A Server answers on the socket.
type Server struct {
	engine Engine
	log    *slog.Logger
	self   Daemon
}

// New makes a Server; Serve runs it.
func New(o Options) *Server {
	return &Server{engine: o.Engine, log: o.Logger, self: o.Self}
}

// Handler is the API. Its requests name the caller only where Serve runs it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("rotatord", "1")
	config.Info.Description = "The API of a running rotatord. Errors are problem details (RFC 9457)."
	config.DocsPath = ""     // its page would load scripts from elsewhere
	config.CreateHooks = nil // no $schema links in answers
	config.Transformers = append(config.Transformers, withoutEcho)
	s.register(humago.New(mux, config))
	return s.recovered(mux)
}

func (s *Server) local(ctx context.Context) *Local {
	return &Local{Engine: s.engine, By: peer(ctx)}
}

// recovered turns a panic of a handler into a log entry and an answer.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { //nolint:errorlint // the documented way to ask
				panic(cause)
			}
			s.log.Error("panic in handler", "method", r.Method, "path", r.URL.Path,
				"err", fmt.Sprint(cause), "stack", string(debug.Stack()))
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(w).Encode(huma.ErrorModel{ // nobody is left to tell
				Title: http.StatusText(http.StatusInternalServerError), Status: http.StatusInternalServerError,
				Detail: "a mistake in rotatord: its log has the details",
			})
		}()
		next.ServeHTTP(w, r)
	})
}

// Serve answers on the socket until ctx ends; watchers are sent away then, and
// other requests are finished. It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	return ServeHTTP(ctx, listener, s.Handler(), s.log)
}

// ServeHTTP runs a handler on a listener until ctx ends, and closes the listener.
// Requests under way then have a few seconds.
func ServeHTTP(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	base, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	base = context.WithValue(base, stoppingKey{}, ctx)
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      operationLimit,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(limit)
	if served := <-failed; err == nil && !errors.Is(served, http.ErrServerClosed) {
		err = served
	}
	if err != nil {
		_ = server.Close() // the shutdown's error says it
		return fmt.Errorf("stop serving %s: %w", listener.Addr(), err)
	}
	return nil
}

type stoppingKey struct{}

// untilStop returns a context that ends with ctx, or when the server begins to
// stop: a request that lasts until something happens would hold it up.
func untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stopping, ok := ctx.Value(stoppingKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	release := context.AfterFunc(stopping, cancel)
	return ctx, func() { release(); cancel() }
}
