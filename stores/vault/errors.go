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
	if response.StatusCode == http.StatusForbidden {
		return rotator.Permanent(say(fmt.Sprintf("permission denied; the policy must give the capability %q on it", c.needs)))
	}
	if found, ok := known(response); ok {
		return found.mark(say(found.text))
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

// A refusal is one that Vault has words for, and what we say of it. After none
// of them anything was written.
type refusal struct {
	status int
	words  string // a part of Vault's own error; empty: any
	text   string
	mark   func(error) error // rotator.Unsent where it may go by itself
}

const (
	standby = "this Vault node is a standby and knows no active node; wait for the election, or see why the node is cut off"
	replica = "this Vault node can't write: it is a read-only replica, or a standby that lost its active node; " +
		"set address to the primary cluster or to a load balancer that asks sys/health"
	upgrading = "Vault is turning the mount into KV version 2"
)

// refusals are those of Vault 1.14 and OpenBao 2, in the words of their sources;
// Vault Enterprise's are from its documentation and from reports.
func refusals() []refusal {
	return []refusal{
		{http.StatusServiceUnavailable, "Vault is sealed", "Vault is sealed; unseal it", rotator.Unsent},
		{http.StatusServiceUnavailable, "locked by an administrator", "an administrator has locked the API of this namespace", rotator.Unsent},
		{http.StatusServiceUnavailable, "no active Vault instance found", standby, rotator.Unsent},
		{http.StatusServiceUnavailable, "node is not active", standby, rotator.Unsent},
		{http.StatusInternalServerError, "active cluster node not found", standby, rotator.Unsent},
		{http.StatusInternalServerError, "Vault is in standby mode", standby, rotator.Unsent},
		{http.StatusInternalServerError, "cannot write to readonly storage", replica, rotator.Unsent},
		{http.StatusBadRequest, "cannot write to readonly storage", replica, rotator.Unsent},
		{http.StatusBadRequest, "ath disabled in replication DR secondary mode", "this Vault cluster is a disaster-recovery replica, which answers nobody; set address to the primary cluster", rotator.Unsent},
		{http.StatusTooManyRequests, "rate limit quota", "a rate limit quota of Vault is used up for now; see `vault list sys/quotas/rate-limit`", rotator.Unsent},
		{http.StatusTooManyRequests, "lease count quota", "a lease count quota of Vault is used up: each log-in is a lease, and old ones must end first", rotator.Unsent},
		{http.StatusBadRequest, "check-and-set parameter required", "the mount or the secret asks for check-and-set, and Vault saw none; rotatord sends it: does something in between change calls?", rotator.Permanent},
		{http.StatusBadRequest, "from non-versioned to versioned data", upgrading, rotator.Unsent},
		{http.StatusNotFound, "no handler for route", "no such mount; check mount and namespace", rotator.Permanent},
		{http.StatusNotFound, "namespace not found", "no such namespace; check namespace", rotator.Permanent},
		{http.StatusPreconditionFailed, "", "this Vault node has not caught up yet", rotator.Unsent},
	}
}

func known(response *api.ResponseError) (refusal, bool) {
	for _, r := range refusals() {
		if response.StatusCode == r.status && says(response, r.words) {
			return r, true
		}
	}
	return refusal{}, false
}

// says tells whether Vault's own words have a text in them.
func says(response *api.ResponseError, text string) bool {
	if text == "" {
		return true
	}
	for _, line := range response.Errors {
		if !response.RawError && strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// elsewhere is a redirect to another host, where a log-in must not travel.
type elsewhere struct{ host string }

func (e *elsewhere) Error() string {
	return fmt.Sprintf("sent on to another host (%q), which is not followed: "+
		"a standby node that can't forward does so; set address to the active node or to a load balancer", e.host)
}

// network classifies an error of the connection and takes the URL out of it.
func network(ctx context.Context, what string, err error) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%s: the answer is longer than %d bytes", what, tooLong.Limit)
	}
	if away, ok := errors.AsType[*elsewhere](err); ok {
		return rotator.Unsent(fmt.Errorf("%s: %w", what, away))
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
