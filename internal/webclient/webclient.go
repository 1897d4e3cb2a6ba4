// Package webclient is how plug-ins speak HTTP: bounded in time and size, no
// redirect to another host, and errors without URLs, headers or bodies.
//
// It never retries and never logs: the engine does both. Plug-ins that need
// another kind of log-in or signature add it to the request themselves.
package webclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// MaxBody is the most that is read of an answer, in bytes.
const MaxBody = 1 << 20

const (
	callTimeout = 30 * time.Second
	dialTimeout = 10 * time.Second
	maxRedirect = 5
)

// Options of a client.
type Options struct {
	CAFile  string        // PEM file with the only CAs to trust; empty: the system's
	Timeout time.Duration // of one call, body included; 0: 30 seconds
}

// New makes a client. Its connections are closed by CloseIdleConnections.
func New(o Options) (*http.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA: %q holds no PEM certificate", o.CAFile)
		}
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        tlsConfig,
			TLSHandshakeTimeout:    dialTimeout,
			MaxIdleConnsPerHost:    8,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: sameHost,
	}, nil
}

// CheckTLS refuses an address over which secrets would travel in the clear: one
// without TLS that leaves this machine. allowed: the operator accepts that.
func CheckTLS(u *url.URL, allowed bool) error {
	host := u.Hostname()
	if u.Scheme != "http" || allowed || host == "localhost" || net.ParseIP(host).IsLoopback() {
		return nil
	}
	return errors.New("must be https; or set allow_http: true, and secrets travel in the clear")
}

// sameHost lets a redirect stay on the host and scheme that was asked: a
// credential in a header must not travel to another one.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > maxRedirect {
		return errors.New("too many redirects")
	}
	if req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return fmt.Errorf("redirect to another host (%q) refused", req.URL.Host)
	}
	return nil
}

// An Answer is what a service answered. Its body may hold secrets.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request and reads the whole answer, at most MaxBody bytes. The
// answer of any status is no error: ask StatusError. An error after which the
// service surely never saw the request satisfies rotator.HadNoEffect.
func Do(client *http.Client, req *http.Request) (Answer, error) {
	resp, err := client.Do(req) //nolint:gosec // the operator names the address; redirects stay on its host
	if err != nil {
		return Answer{}, Clean(req.Context(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	answer := Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if err != nil {
		return answer, fmt.Errorf("read answer of status %d: %w", resp.StatusCode, Clean(req.Context(), err))
	}
	if len(body) > MaxBody {
		answer.Body = nil
		return answer, fmt.Errorf("read answer of status %d: longer than %d bytes", resp.StatusCode, MaxBody)
	}
	return answer, nil
}

// Clean takes the URL out of an error of a client and classifies it. Do does so
// itself; it is for plug-ins whose library makes the call. nil stays nil.
func Clean(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	var op *net.OpError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return rotator.Unsent(fmt.Errorf("verify the server's certificate, see ca_file: %w", certificate.Err))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return rotator.Unsent(fmt.Errorf("the server speaks no TLS there: %w", err))
	case errors.As(err, &dns), errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &op) && op.Op == "dial":
		return rotator.Unsent(err)
	}
	return err
}

// StatusError returns nil for a 2xx answer, and else an error with the status:
// Permanent for 4xx, Unsent with a retry time for 429, 503 with Retry-After in doubt.
func StatusError(a Answer, now time.Time) error {
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	err := fmt.Errorf("answered %d %s", a.Status, strings.ToLower(http.StatusText(a.Status)))
	switch {
	case a.Status == http.StatusTooManyRequests:
		err = rotator.Unsent(err)
	case a.Status == http.StatusRequestTimeout:
	case a.Status >= 300 && a.Status < 500:
		return rotator.Permanent(err)
	}
	if at := RetryTime(a.Header, now); !at.IsZero() {
		err = rotator.RetryAfter(err, at)
	}
	return err
}

// maxWait bounds what a service may ask for, so that a wrong header can't stop a rotation.
const maxWait = 15 * time.Minute

// RetryTime reads when a service wants to be called again: Retry-After
// (seconds or an HTTP date, RFC 9110), else X-RateLimit-Reset (absolute Unix
// seconds) when X-RateLimit-Remaining is 0 or missing. Zero: it does not say.
// At most 15 minutes ahead.
func RetryTime(h http.Header, now time.Time) time.Time {
	var at time.Time
	if after := h.Get("Retry-After"); after != "" {
		if seconds, err := strconv.ParseUint(after, 10, 31); err == nil {
			at = now.Add(time.Duration(seconds) * time.Second)
		} else if date, err := http.ParseTime(after); err == nil {
			at = date
		}
	} else if remaining := h.Get("X-RateLimit-Remaining"); remaining == "" || remaining == "0" {
		if seconds, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			at = time.Unix(seconds, 0)
		}
	}
	switch {
	case !at.After(now):
		return time.Time{}
	case at.After(now.Add(maxWait)):
		return now.Add(maxWait)
	}
	return at
}
