package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rotatord/rotatord/rotator"
)

// MaxValue is the size in bytes from which a provided value is refused.
const MaxValue = 64 << 10

// ErrInterrupted tells that the process that ran the rotation stopped while it
// was watched. The rotation goes on where one runs next.
var ErrInterrupted = errors.New("the daemon stopped while the rotation was watched")

// problem turns an error of the engine into problem details (RFC 9457). The
// engine's errors carry no secrets, so their text is the detail.
func problem(err error) error {
	if err == nil {
		return nil
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, rotator.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, rotator.ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, errors.ErrUnsupported):
		status = http.StatusNotImplemented
	case errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled):
		status = http.StatusServiceUnavailable
	case rotator.IsPermanent(err):
		status = http.StatusUnprocessableEntity
	}
	return &huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: err.Error()}
}

// withoutEcho keeps what a client sent out of the answer: validation names the
// place and the rule, never the value.
func withoutEcho(_ huma.Context, _ string, body any) (any, error) {
	if model, ok := body.(*huma.ErrorModel); ok {
		for _, detail := range model.Errors {
			detail.Value = nil
		}
	}
	return body, nil
}

// Error is an answer of the daemon that is not a success.
type Error struct {
	Status int // HTTP status
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// Unwrap gives the sentinel that stands for the status, if there is one.
func (e *Error) Unwrap() error {
	switch e.Status {
	case http.StatusNotFound:
		return rotator.ErrNotFound
	case http.StatusConflict:
		return rotator.ErrConflict
	case http.StatusNotImplemented:
		return errors.ErrUnsupported
	case http.StatusServiceUnavailable:
		return ErrInterrupted
	}
	return nil
}
