package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A call is one request, as an error names it.
type call struct {
	verb, path string
	needs      string // the capability that the policy must give
}

// answered is what Vault said no with. Vault's own words are not in it: they
// may quote what was sent.
type answered struct {
	status int
	text   string
}

func (e *answered) Error() string { return e.text }

// statusOf returns the status with which Vault refused, or 0.
func statusOf(err error) int {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.status
	}
	return 0
}

// explain turns an error of the client into one that is classified, says what
// would help, and shows no URL, body or secret.
func (c call) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %q: %w", c.verb, c.path, context.Cause(ctx))
	}
	if response, ok := errors.AsType[*api.ResponseError](err); ok {
		return c.refusal(response)
	}
	return network(ctx, fmt.Sprintf("%s %q", c.verb, c.path), err)
}

func (c call) refusal(response *api.ResponseError) error {
	say := func(text string) error {
		return &answered{status: response.StatusCode, text: fmt.Sprintf("%s %q: %s", c.verb, c.path, text)}
	}
	switch {
	case response.StatusCode == http.StatusForbidden:
		return rotator.Permanent(say(fmt.Sprintf("permission denied; the policy must give the capability %q on it", c.needs)))
	case response.StatusCode == http.StatusServiceUnavailable && says(response, "sealed"):
		return rotator.Unsent(say("Vault is sealed"))
	case response.StatusCode == http.StatusNotFound && says(response, "no handler for route"):
		return rotator.Permanent(say("no such mount; check mount and namespace"))
	case response.StatusCode == http.StatusPreconditionFailed:
		return rotator.Unsent(say("this Vault node has not caught up yet"))
	}
	status := webclient.StatusError(webclient.Answer{Status: response.StatusCode}, time.Now())
	said := say(status.Error())
	switch {
	case rotator.IsPermanent(status):
		return rotator.Permanent(said)
	case rotator.HadNoEffect(status):
		return rotator.Unsent(said)
	}
	return said
}

// says tells whether Vault's own words have a text in them.
func says(response *api.ResponseError, text string) bool {
	for _, line := range response.Errors {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// network classifies an error of the connection and takes the URL out of it.
func network(ctx context.Context, what string, err error) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%s: the answer is longer than %d bytes", what, tooLong.Limit)
	}
	_, calling := errors.AsType[*url.Error](err)
	cleaned := webclient.Clean(ctx, err)
	if !calling && !rotator.HadNoEffect(cleaned) {
		return fmt.Errorf("%s: the answer is not one of Vault", what)
	}
	return fmt.Errorf("%s: %w", what, cleaned)
}

// beforeWrite marks an error of a call that only read.
func beforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}
