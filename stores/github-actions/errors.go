package githubactionsstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v89/github"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A call is one request, as an error names it.
type call struct {
	what  string // `read secret "A" of repository o/r`
	needs string // what the log-in must have for it
}

// answered is what GitHub said no with. GitHub's own words are not in it: they
// may quote what was sent.
type answered struct {
	status int
	text   string
}

func (e *answered) Error() string { return e.text }

// statusOf returns the status with which GitHub refused, or 0.
func statusOf(err error) int {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.status
	}
	return 0
}

// quietTime is how long to leave GitHub alone after a secondary limit that came
// without a time. Source: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
const quietTime = time.Minute

// explain turns an error of the client into one that is classified, says what
// would help, and shows no URL, body or secret.
func (c call) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c.what, context.Cause(ctx))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %s", c.what, callTimeout)
	}
	if limit, ok := errors.AsType[*github.RateLimitError](err); ok {
		return c.limited(limit.Response, "the rate limit of the log-in is used up")
	}
	if limit, ok := errors.AsType[*github.AbuseRateLimitError](err); ok {
		return c.limited(limit.Response, "GitHub asks for fewer calls (secondary rate limit)")
	}
	if two, ok := errors.AsType[*github.TwoFactorAuthError](err); ok {
		return c.refusal(two.Response)
	}
	if refused, ok := errors.AsType[*github.ErrorResponse](err); ok {
		if strings.Contains(refused.Message, "rate limit") { // documented words of an answer without the headers
			return c.limited(refused.Response, "GitHub asks for fewer calls")
		}
		return c.refusal(refused.Response)
	}
	return c.network(ctx, err)
}

// limited is an answer that asks to come back later; the call had no effect.
func (c call) limited(response *http.Response, why string) error {
	at := webclient.RetryTime(response.Header, time.Now())
	if at.IsZero() {
		at = time.Now().Add(quietTime)
	}
	return rotator.RetryAfter(rotator.Unsent(&answered{response.StatusCode, c.what + ": " + why}), at)
}

func (c call) refusal(response *http.Response) error {
	say := func(text string) error {
		return rotator.Permanent(&answered{response.StatusCode, c.what + ": " + text})
	}
	switch {
	case response.StatusCode == http.StatusTooManyRequests,
		response.StatusCode == http.StatusForbidden && response.Header.Get("Retry-After") != "":
		return c.limited(response, "GitHub asks for fewer calls")
	case response.StatusCode == http.StatusUnauthorized:
		return say("the log-in is refused")
	case response.StatusCode == http.StatusForbidden && response.Header.Get("X-GitHub-SSO") != "":
		return say("not allowed: the token must be authorised for the organisation's single sign-on")
	case response.StatusCode == http.StatusForbidden:
		return say("not allowed: the log-in needs " + c.needs)
	case response.StatusCode == http.StatusNotFound:
		return say("it is not there, or the log-in can't see it; it needs " + c.needs)
	}
	status := webclient.StatusError(webclient.Answer{Status: response.StatusCode, Header: response.Header}, time.Now())
	if rotator.IsPermanent(status) {
		return say(status.Error())
	}
	in := error(&answered{response.StatusCode, c.what + ": " + status.Error()})
	if at := rotator.RetryTime(status); !at.IsZero() {
		in = rotator.RetryAfter(in, at)
	}
	return in
}

// network classifies an error of the connection and takes the URL out of it.
func (c call) network(ctx context.Context, err error) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%s: the answer is longer than %d bytes", c.what, tooLong.Limit)
	}
	_, calling := errors.AsType[*url.Error](err)
	cleaned := webclient.Clean(ctx, err)
	if !calling && !rotator.HadNoEffect(cleaned) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: the answer is not one of GitHub", c.what)
	}
	return fmt.Errorf("%s: %w", c.what, cleaned)
}

// beforeWrite marks an error of a call that only read.
func beforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}

// afterWrite is the error of a call that came after a write: whatever it says of
// itself, the write may have had its effect.
func afterWrite(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("written, but GitHub could not be asked when: %w", context.Cause(ctx))
	}
	doubt := errors.New("written, but GitHub could not be asked when: " + err.Error())
	if at := rotator.RetryTime(err); !at.IsZero() {
		return rotator.RetryAfter(doubt, at)
	}
	return doubt
}
