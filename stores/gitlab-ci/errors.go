package gitlabcistore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A call is one request, as an error names it.
type call struct {
	what  string // `read variable "A" of project "team/crm"`
	needs string // what the token must have for it
}

// answered is what GitLab said no with. GitLab's own words are not in it: they
// may quote what was sent.
type answered struct {
	status int
	text   string
}

func (e *answered) Error() string { return e.text }

// statusOf returns the status with which GitLab refused, or 0.
func statusOf(err error) int {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.status
	}
	return 0
}

// explain turns an error of the client into one that is classified, says what
// would help, and shows no URL, body or secret. response may be nil.
func (c call) explain(ctx context.Context, response *gitlab.Response, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c.what, context.Cause(ctx))
	}
	_, refused := errors.AsType[*gitlab.ErrorResponse](err)
	if response != nil && (refused || errors.Is(err, gitlab.ErrNotFound)) {
		return c.refusal(response.Response)
	}
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%s: the answer is longer than %d bytes", c.what, tooLong.Limit)
	}
	_, calling := errors.AsType[*url.Error](err)
	cleaned := webclient.Clean(ctx, err)
	if response != nil && !calling {
		return fmt.Errorf("%s: the answer is not one of GitLab", c.what)
	}
	return fmt.Errorf("%s: %w", c.what, cleaned)
}

func (c call) refusal(response *http.Response) error {
	say := func(text string) error {
		return rotator.Permanent(&answered{response.StatusCode, c.what + ": " + text})
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return say("the token is refused: it is wrong, expired or revoked; a job's own token (CI_JOB_TOKEN) is never enough")
	case http.StatusForbidden:
		return say("not allowed: the token needs " + c.needs)
	case http.StatusNotFound:
		return say("it is not there, or the token can't see it; it needs " + c.needs)
	case http.StatusConflict:
		return say("GitLab has several such variables and can't tell which is meant")
	}
	status := webclient.StatusError(webclient.Answer{Status: response.StatusCode, Header: limits(response.Header)}, time.Now())
	if rotator.IsPermanent(status) {
		return say(status.Error())
	}
	said := error(&answered{response.StatusCode, c.what + ": " + status.Error()})
	if rotator.HadNoEffect(status) {
		said = rotator.Unsent(said)
	}
	if at := rotator.RetryTime(status); !at.IsZero() {
		said = rotator.RetryAfter(said, at)
	}
	return said
}

// limits gives GitLab's headers the names that webclient knows.
// Source: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers
func limits(header http.Header) http.Header {
	renamed := http.Header{}
	for from, to := range map[string]string{"Retry-After": "Retry-After", "RateLimit-Reset": "X-RateLimit-Reset", "RateLimit-Remaining": "X-RateLimit-Remaining"} {
		if value := header.Get(from); value != "" {
			renamed.Set(to, value)
		}
	}
	return renamed
}

// beforeWrite marks an error of a call that only read.
func beforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}
