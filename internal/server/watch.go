package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	eventStream = "text/event-stream"
	// writeTimeout is how long a watcher may take to read one event.
	writeTimeout = 10 * time.Second

	eventRotation = "rotation" // a change
	eventEnd      = "end"      // the last state: final, or a person is needed
	eventProblem  = "problem"  // the watch failed
)

// watch streams the changes of a rotation as server-sent events. A stream
// without an end or a problem means that this process stopped.
func (s *Server) watch(ctx context.Context, in *rotationInput) (*huma.StreamResponse, error) {
	local := s.local(ctx)
	if _, err := local.Rotation(ctx, in.ID); err != nil {
		return nil, problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) { //nolint:contextcheck // the stream has the request's
		_, w := humago.Unwrap(hc)
		hc.SetHeader("Content-Type", eventStream)
		hc.SetHeader("Cache-Control", "no-store")
		stream := &eventWriter{w: w, control: http.NewResponseController(w)}
		ctx, cancel := untilStop(hc.Context())
		defer cancel()
		last, err := local.Watch(ctx, in.ID, func(r Rotation) {
			if stream.send(eventRotation, r) != nil {
				cancel() // nobody reads any more
			}
		})
		switch {
		case ctx.Err() != nil:
		case err != nil:
			_ = stream.send(eventProblem, problem(err)) // the watcher is all there is to tell
		default:
			_ = stream.send(eventEnd, last)
		}
	}}, nil
}

type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    string // the event that was sent last
}

// send writes one event and flushes it; the same event twice is sent once.
func (e *eventWriter) send(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if e.last == name+string(text) {
		return nil
	}
	e.last = name + string(text)
	if err := e.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if _, err := fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", name, text); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}
