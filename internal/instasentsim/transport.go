package instasentsim

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// Transport calls a handler without any network: for tests on fake time. A cut
// connection is io.ErrUnexpectedEOF. Put it into an http.Client.
func Transport(h http.Handler) http.RoundTripper { return transport{h} }

type transport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	inner := r.Clone(r.Context())
	inner.RequestURI = r.URL.RequestURI()
	if inner.Host == "" {
		inner.Host = r.URL.Host
	}
	if r.Body == nil {
		inner.Body = http.NoBody
	} else {
		defer func() { _ = r.Body.Close() }()
	}
	defer func() {
		recovered := recover()
		failed, isError := recovered.(error)
		switch {
		case recovered == nil:
		case !isError || !errors.Is(failed, http.ErrAbortHandler):
			panic(recovered)
		case r.Context().Err() != nil:
			answer, err = nil, r.Context().Err()
		default:
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := newRecorder()
	t.handler.ServeHTTP(rec, inner)
	rec.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: http.StatusText(rec.status), StatusCode: rec.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.header, Body: io.NopCloser(&rec.body), ContentLength: int64(rec.body.Len()), Request: r,
	}, nil
}

// recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter: the first status counts.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}
