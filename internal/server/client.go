package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/rotatord/rotatord/rotator"
)

const (
	dialTimeout  = 2 * time.Second
	helloTimeout = 5 * time.Second
	maxAnswer    = 64 << 20 // a status of many thousand tokens fits
)

// ErrNoDaemon tells that nobody answers on the socket.
var ErrNoDaemon = errors.New("no daemon answers")

// Client asks a daemon over its socket. It may be used by many goroutines.
type Client struct {
	http *http.Client
	path string
}

// NewClient makes a client; it opens nothing yet.
func NewClient(path string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        30 * time.Second,
	}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Hello asks who is there. ErrNoDaemon: the socket does not exist or nobody
// listens; any other error: somebody is there, but can't be talked to.
func (c *Client) Hello(ctx context.Context) (Daemon, error) {
	if err := CheckSocketPath(c.path); err != nil {
		return Daemon{}, errors.Join(ErrNoDaemon, err)
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var daemon Daemon
	err := c.call(ctx, http.MethodGet, "/daemon", nil, &daemon)
	return daemon, err
}

// Tokens implements Reader.
func (c *Client) Tokens(ctx context.Context, names ...string) ([]Token, error) {
	path := "/tokens"
	if len(names) > 0 {
		path += "?" + url.Values{"name": names}.Encode()
	}
	var answer tokenList
	err := c.call(ctx, http.MethodGet, path, nil, &answer)
	return answer.Tokens, err
}

// Rotation implements Reader.
func (c *Client) Rotation(ctx context.Context, id string) (Rotation, error) {
	var answer Rotation
	err := c.call(ctx, http.MethodGet, "/rotations/"+url.PathEscape(id), nil, &answer)
	return answer, err
}

// Plan implements Reader.
func (c *Client) Plan(ctx context.Context, token string, reason rotator.Reason) (Plan, error) {
	query := url.Values{"reason": {string(reason)}}
	var answer Plan
	err := c.call(ctx, http.MethodGet, tokenPath(token, "plan")+"?"+query.Encode(), nil, &answer)
	return answer, err
}

// Rotate implements Runner.
func (c *Client) Rotate(ctx context.Context, token string, reason rotator.Reason, why string) (Rotation, error) {
	var in rotateInput
	in.Body.Reason, in.Body.Why = reason, why
	var answer Rotation
	err := c.call(ctx, http.MethodPost, tokenPath(token, "rotations"), in.Body, &answer)
	return answer, err
}

// StartDue implements Runner.
func (c *Client) StartDue(ctx context.Context) ([]Rotation, error) {
	var answer rotationList
	err := c.call(ctx, http.MethodPost, "/due", nil, &answer)
	return answer.Rotations, err
}

// Decide implements Hands.
func (c *Client) Decide(ctx context.Context, id string, d rotator.Decision, why string) (Rotation, error) {
	var in decideInput
	in.Body.Decision, in.Body.Why = d, why
	var answer Rotation
	err := c.call(ctx, http.MethodPost, "/rotations/"+url.PathEscape(id)+"/decisions", in.Body, &answer)
	return answer, err
}

// Provide implements Hands.
func (c *Client) Provide(ctx context.Context, token string, value rotator.Secret, id string) (rotator.Fingerprint, error) {
	path := tokenPath(token, "provide")
	if id != "" {
		path += "?" + url.Values{"id": {id}}.Encode()
	}
	var answer provided
	err := c.call(ctx, http.MethodPost, path, value, &answer)
	return answer.Fingerprint, err
}

// Adopt implements Keeper.
func (c *Client) Adopt(ctx context.Context, token, id string, issuedAt time.Time) (Credential, error) {
	var in adoptInput
	in.Body.ID, in.Body.IssuedAt = id, issuedAt
	var answer Credential
	err := c.call(ctx, http.MethodPost, tokenPath(token, "adopt"), in.Body, &answer)
	return answer, err
}

// Sweep implements Keeper.
func (c *Client) Sweep(ctx context.Context, token string, apply bool) ([]Orphan, error) {
	var in sweepInput
	in.Body.Apply = apply
	var answer orphanList
	err := c.call(ctx, http.MethodPost, tokenPath(token, "sweep"), in.Body, &answer)
	return answer.Orphans, err
}

// Watch implements Runner.
func (c *Client) Watch(ctx context.Context, id string, see func(Rotation)) (Rotation, error) {
	answer, err := c.send(ctx, http.MethodGet, "/rotations/"+url.PathEscape(id)+"/events", nil)
	if err != nil {
		return Rotation{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	last, err := readEvents(answer.Body, see)
	if ctx.Err() != nil {
		return last, ctx.Err()
	}
	return last, err
}

func readEvents(stream io.Reader, see func(Rotation)) (Rotation, error) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 4<<20)
	var name string
	var last Rotation
	for lines.Scan() {
		if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = event
			continue
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if name == eventProblem {
			var p huma.ErrorModel
			if err := json.Unmarshal(data, &p); err != nil {
				return last, fmt.Errorf("read event: %w", err)
			}
			return last, &Error{Status: p.Status, Detail: p.Detail}
		}
		var r Rotation
		if err := json.Unmarshal(data, &r); err != nil {
			return last, fmt.Errorf("read event: %w", err)
		}
		last = r
		if name == eventEnd {
			return last, nil
		}
		if see != nil {
			see(r)
		}
	}
	return last, ErrInterrupted
}

func tokenPath(token, rest string) string { return "/tokens/" + url.PathEscape(token) + "/" + rest }

// call sends one request and reads its answer into out. A rotator.Secret goes
// as the raw body, everything else as JSON.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	answer, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read answer of the daemon: %w", err)
	}
	return nil
}

// send returns an answer of status 200; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var payload io.Reader
	contentType := "application/json"
	switch in := in.(type) {
	case nil:
	case rotator.Secret:
		payload, contentType = strings.NewReader(in.Reveal()), "text/plain"
	default:
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("ask daemon: %w", err)
		}
		payload = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://rotatord/api/v1"+path, payload)
	if err != nil {
		return nil, errors.New("ask daemon: not a valid request")
	}
	if payload != nil {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	return nil, problemOf(answer)
}

// unreachable says why no answer came, without the URL.
func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("ask daemon on %q: %w", c.path, ErrNoDaemon)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("ask daemon on %q: %w", c.path, shortCause(err))
}

func problemOf(answer *http.Response) error {
	failure := &Error{Status: answer.StatusCode, Detail: "the daemon answered " + answer.Status}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" {
		return failure
	}
	var p huma.ErrorModel
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&p); err != nil || p.Detail == "" {
		return failure
	}
	failure.Detail = p.Detail
	for _, e := range p.Errors {
		failure.Detail += "; " + strings.TrimSpace(e.Location+" "+e.Message)
	}
	return failure
}
