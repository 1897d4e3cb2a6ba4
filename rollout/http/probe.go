// Package httpprobe looks at a consumer by asking it over HTTP: its health page
// answers with a status and, best, with the fingerprint of the credential that
// it lives on.
//
// It asks once, on a connection of its own (behind a load balancer each look
// may meet another consumer), and never retries. A consumer that can't be
// reached, or whose answer can't be read, is an error and never a verdict.
// Nothing of an answer but its status and a well-formed fingerprint gets out.
//
// What an answer means is decided in judge; where a fingerprint may be is in
// fingerprint.go. A new place for it needs a key of Config, a case in
// fingerprint and a line in example.yaml.
package httpprobe

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one documented entry of `rollout.probe`.
//
//go:embed example.yaml
var Example string

// New makes a probe. It reads the CA file and opens no connection.
func New(_ context.Context, c Config) (rotator.Probe, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	client, err := webclient.New(webclient.Options{CAFile: c.CAFile, Timeout: c.Timeout.Std()})
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(c.URL)
	if err != nil {
		return nil, errNotURL
	}
	return &probe{config: c.withDefaults(), client: client, url: target}, nil
}

type probe struct {
	config Config
	client *http.Client
	url    *url.URL
}

// Probe asks the consumer once. 401 is always unhealthy; an expected status is
// healthy when the fingerprint is the asked one or none is looked for; any
// other answer is not yet.
func (p *probe) Probe(ctx context.Context, r rotator.Release) (rotator.Finding, error) {
	req, err := p.request(ctx)
	if err != nil {
		return rotator.Finding{}, err
	}
	answer, err := webclient.Do(p.client, req)
	if err != nil {
		return rotator.Finding{}, fmt.Errorf("ask consumer: %w", err)
	}
	finding, err := p.judge(answer, r.Fingerprint)
	if err != nil {
		return rotator.Finding{}, err
	}
	finding.Target = shown(p.url)
	return finding, nil
}

func (p *probe) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, p.config.Method, p.url.String(), http.NoBody)
	if err != nil {
		return nil, errNotURL
	}
	req.Close = true
	req.Header.Set("User-Agent", "rotatord")
	for name, value := range p.config.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	for name, source := range p.config.SecretHeaders {
		value, err := source.Get(ctx)
		if err != nil {
			return nil, fmt.Errorf("header %q: %w", name, err)
		}
		if !validValue(value.Reveal()) {
			return nil, fmt.Errorf("header %q: the secret holds a character that a header can't", name)
		}
		req.Header.Set(name, value.Reveal())
	}
	return req, nil
}

// judge turns an answer into a Finding without Target.
func (p *probe) judge(answer webclient.Answer, asked rotator.Fingerprint) (rotator.Finding, error) {
	said := fmt.Sprintf("answered %d %s", answer.Status, strings.ToLower(http.StatusText(answer.Status)))
	said = strings.TrimSpace(said)
	seen, err := p.fingerprint(answer)
	switch {
	case answer.Status == http.StatusUnauthorized, slices.Contains(p.config.UnhealthyStatus, answer.Status):
		return rotator.Finding{Health: rotator.Unhealthy, Seen: seen, Detail: said}, nil
	case slices.Contains(p.config.ExpectedStatus, answer.Status):
	case answer.Status == http.StatusTooManyRequests:
		// The consumer did not look at itself: that is no verdict.
		return rotator.Finding{}, rotator.RetryAfter(fmt.Errorf("ask consumer: %s", said), webclient.RetryTime(answer.Header, time.Now()))
	default:
		return rotator.Finding{Health: rotator.NotYet, Seen: seen, Detail: said}, nil
	}
	switch {
	case err != nil:
		return rotator.Finding{}, fmt.Errorf("read fingerprint: %w", err)
	case seen == "":
		return rotator.Finding{Health: rotator.Healthy}, nil
	case seen != asked:
		return rotator.Finding{Health: rotator.NotYet, Seen: seen, Detail: "lives on " + string(seen)}, nil
	}
	return rotator.Finding{Health: rotator.Healthy, Seen: seen}, nil
}

// shown is a URL as people may see it.
func shown(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return bare.String()
}
