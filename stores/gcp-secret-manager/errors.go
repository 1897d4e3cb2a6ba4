package gcpsecretmanagerstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// maxWait bounds what the service may ask for, so that a wrong answer can't
// stop a rotation.
const maxWait = 15 * time.Minute

// A call is one request, as an error names it.
type call struct {
	verb, object string
	needs        string // the IAM permission
}

// answered is what the service said no with. Its own words are not in it: they
// may quote what was sent.
type answered struct {
	code codes.Code
	text string
}

func (e *answered) Error() string { return e.text }

// codeOf returns the code with which the service refused, or OK.
func codeOf(err error) codes.Code {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.code
	}
	return codes.OK
}

// explain turns an error of the client into one that is classified, says what
// would help, and shows nothing of what was sent. sent: the request may have
// reached the service.
func (c call) explain(ctx context.Context, err error, sent bool) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		ended := fmt.Errorf("%s %q: %w", c.verb, c.object, context.Cause(ctx))
		if !sent {
			return rotator.Unsent(ended)
		}
		return ended
	}
	code := status.Code(err)
	// The service knows our deadline too, and its clock may be a little ahead.
	if deadline, ok := ctx.Deadline(); ok && code == codes.DeadlineExceeded && time.Until(deadline) < time.Second {
		return fmt.Errorf("%s %q: %w", c.verb, c.object, context.DeadlineExceeded)
	}
	say := func(text string) error {
		return &answered{code, fmt.Sprintf("%s %q: %s", c.verb, c.object, text)}
	}
	switch {
	case !sent:
		return rotator.Unsent(fmt.Errorf("%s %q: %s", c.verb, c.object, notSent(err)))
	case code == codes.PermissionDenied:
		return rotator.Permanent(say(c.denied(err)))
	case code == codes.Unauthenticated:
		return rotator.Permanent(say("the log-in is refused"))
	case code == codes.NotFound:
		return rotator.Permanent(say("not found"))
	case code == codes.ResourceExhausted && strings.HasPrefix(status.Convert(err).Message(), "grpc:"):
		return fmt.Errorf("%s %q: the answer is longer than %d bytes", c.verb, c.object, webclient.MaxBody)
	case code == codes.ResourceExhausted:
		return retryAfter(rotator.Unsent(say("the quota of the project is used up")), err)
	case code == codes.InvalidArgument, code == codes.FailedPrecondition, code == codes.OutOfRange,
		code == codes.AlreadyExists, code == codes.Unimplemented:
		return rotator.Permanent(say("answered " + words(code)))
	}
	return say("answered " + words(code))
}

func (c call) denied(err error) string {
	reason := ""
	if parsed, ok := apierror.FromError(err); ok {
		reason = parsed.Reason()
	}
	switch reason {
	case "SERVICE_DISABLED":
		return "the Secret Manager API is not enabled in the project"
	case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
		return "the log-in has not the scope cloud-platform"
	}
	return fmt.Sprintf("permission denied; the log-in needs %q on it (or there is no such secret)", c.needs)
}

// notSent says why a request did not leave: only what is known to be harmless.
func notSent(err error) string {
	text := status.Convert(err).Message()
	for _, cause := range []string{"connection refused", "certificate", "no such host", "i/o timeout", "no route to host", "network is unreachable"} {
		if strings.Contains(text, cause) {
			return "no connection: " + cause
		}
	}
	return "no connection"
}

// words of a code, as people know it from the documentation: NOT_FOUND.
func words(code codes.Code) string {
	var out strings.Builder
	for i, r := range code.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			out.WriteByte('_')
		}
		out.WriteRune(r)
	}
	return strings.ToUpper(out.String())
}

// retryAfter adds the time that the service asks to wait, where it does.
func retryAfter(classified, err error) error {
	parsed, ok := apierror.FromError(err)
	if !ok || parsed.Details().RetryInfo == nil {
		return classified
	}
	wait := min(parsed.Details().RetryInfo.GetRetryDelay().AsDuration(), maxWait)
	if wait <= 0 {
		return classified
	}
	return rotator.RetryAfter(classified, time.Now().Add(wait))
}

// logInError classifies an error of a log-in: nothing was sent to the API. The
// answer of the log-in service is left out.
func logInError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return rotator.Unsent(fmt.Errorf("log in: %w", context.Cause(ctx)))
	}
	if refused, ok := errors.AsType[*auth.Error](err); ok && refused.Response != nil {
		answer := webclient.Answer{Status: refused.Response.StatusCode, Header: refused.Response.Header}
		said := webclient.StatusError(answer, time.Now())
		if rotator.IsPermanent(said) {
			return rotator.Permanent(fmt.Errorf("log in: refused: %w", said))
		}
		return beforeWrite(fmt.Errorf("log in: %w", said))
	}
	if cleaned := webclient.Clean(ctx, err); rotator.HadNoEffect(cleaned) {
		return fmt.Errorf("log in: %w", cleaned)
	}
	return rotator.Unsent(errors.New("log in: the log-in service gave no token"))
}

// beforeWrite marks an error of a call that only read.
func beforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}
