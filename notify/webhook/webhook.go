// Package webhooknotifier tells a machine: it posts each event as signed JSON,
// by the Standard Webhooks specification
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
//
// One call is one request: it never retries, never follows a redirect (that
// would turn the message into a GET and lose it), and never shows the URL,
// which may itself be a log-in. Who receives should drop a webhook-id that it
// has seen. What is sent is in message.go; a new field of Event needs a field
// of data there and a row in example.yaml.
package webhooknotifier

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one documented entry of `notifiers`.
//
//go:embed example.yaml
var Example string

// The specification's bounds of a signing key, in bytes.
const (
	minKeyBytes = 24
	maxKeyBytes = 64
)

// Config is the configuration of the notifier.
type Config struct {
	URL           string               `yaml:"url,omitempty" jsonschema:"description=Where events are posted to. Either this or url_from"`
	URLFrom       rotator.SecretSource `yaml:"url_from,omitempty" jsonschema:"description=Where a URL that is itself a secret is read from\\, anew for each event"`
	SigningSecret rotator.SecretSource `yaml:"signing_secret" jsonschema:"required,description=Key of the signature\\, as Standard Webhooks writes it: whsec_ and the base64 of 24 to 64 random bytes; read anew for each event"`
	AllowHTTP     bool                 `yaml:"allow_http,omitempty" jsonschema:"description=Allow a URL without TLS on another host; events then travel in the clear"`
	CAFile        string               `yaml:"ca_file,omitempty" jsonschema:"description=PEM file with the only certificate authorities to trust; default: the system's"`
	Timeout       rotator.Duration     `yaml:"timeout,omitempty" jsonschema:"description=Of one request; default 30s"`
}

// Validate reports every mistake that can be seen offline.
func (c Config) Validate() error {
	errs := []error{rotator.Field("signing_secret", c.SigningSecret.Validate())}
	switch {
	case c.URL != "" && !c.URLFrom.IsZero():
		errs = append(errs, rotator.Field("url_from", errors.New("choose one of url and url_from")))
	case !c.URLFrom.IsZero():
		errs = append(errs, rotator.Field("url_from", c.URLFrom.Validate()))
	case c.URL == "":
		errs = append(errs, rotator.Field("url", errors.New("url or url_from is required")))
	default:
		u, err := c.parseURL(c.URL)
		if err == nil && u.User != nil {
			err = errors.New("a URL with a user or password is a secret; use url_from")
		}
		errs = append(errs, rotator.Field("url", err))
	}
	return errors.Join(errs...)
}

// parseURL never quotes the URL.
func (c Config) parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errors.New("not a URL; use one like https://siem.example.com/hook")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("not an http or https URL")
	}
	return u, webclient.CheckTLS(u, c.AllowHTTP)
}

// New makes a notifier. It reads the CA file and opens no connection.
func New(_ context.Context, c Config) (rotator.Notifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	client, err := webclient.New(webclient.Options{CAFile: c.CAFile, Timeout: c.Timeout.Std()})
	if err != nil {
		return nil, err
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &notifier{config: c, client: client}, nil
}

type notifier struct {
	config Config
	client *http.Client
}

var _ rotator.Pinger = (*notifier)(nil)

// Notify posts the event once. 2xx is success; 429, 408 and 5xx may be tried
// again, with the time of Retry-After; any other status is Permanent.
func (n *notifier) Notify(ctx context.Context, e rotator.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.ID == "" {
		return rotator.Permanent(errors.New("post event: it has no id"))
	}
	target, signer, err := n.secrets(ctx)
	if err != nil {
		return err
	}
	body, err := encode(e)
	if err != nil {
		return rotator.Permanent(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return rotator.Permanent(errors.New("post event: not a URL"))
	}
	now := time.Now()
	signature, err := signer.Sign(e.ID, now, body)
	if err != nil {
		return rotator.Permanent(errors.New("sign event: the key can't be used"))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "rotatord")
	req.Header.Set(standardwebhooks.HeaderWebhookID, e.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	answer, err := webclient.Do(n.client, req)
	switch {
	case answer.Status >= 200 && answer.Status < 300:
		return nil // accepted, even if the rest of the answer can't be read
	case err != nil:
		return fmt.Errorf("post event: %w", err)
	}
	if err := webclient.StatusError(answer, now); err != nil {
		return fmt.Errorf("post event: %w", err)
	}
	return nil
}

// Ping reads URL and signing secret and tells whether they are well formed. It
// sends nothing: a webhook knows no request without a message.
func (n *notifier) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, _, err := n.secrets(ctx)
	return err
}

// secrets reads what may change while the daemon runs.
func (n *notifier) secrets(ctx context.Context) (*url.URL, *standardwebhooks.Webhook, error) {
	raw := n.config.URL
	if raw == "" {
		secret, err := n.config.URLFrom.Get(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("url: %w", err)
		}
		raw = strings.TrimSpace(secret.Reveal())
	}
	target, err := n.config.parseURL(raw)
	if err != nil {
		return nil, nil, rotator.Permanent(fmt.Errorf("url: %w", err))
	}
	secret, err := n.config.SigningSecret.Get(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("signing secret: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(secret.Reveal()), "whsec_"))
	if err != nil || len(key) < minKeyBytes || len(key) > maxKeyBytes {
		return nil, nil, rotator.Permanent(fmt.Errorf("signing secret: not whsec_ and the base64 of %d to %d bytes", minKeyBytes, maxKeyBytes))
	}
	signer, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, nil, rotator.Permanent(errors.New("signing secret: can't be used"))
	}
	return target, signer, nil
}
