package awsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A Call is one request, as its error names it.
type Call struct {
	Verb, Object string
	Action       string // what the policy must allow: secretsmanager:PutSecretValue
}

// answered is what AWS said no with. AWS's own words are not in it: they may
// quote what was sent.
type answered struct{ code, text string }

func (e *answered) Error() string { return e.text }

// CodeOf returns the error code with which AWS refused a call of Do, or "".
func CodeOf(err error) string {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.code
	}
	return ""
}

// BeforeWrite marks an error of a call that only read.
func BeforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}

// The codes that every service of AWS has, from "Common Error Types" of its API
// references, and those that STS and older services use for the same.
var (
	logInCodes = []string{
		"ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "IncompleteSignatureException", "InvalidClientTokenId", "InvalidSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException",
	}
	deniedCodes    = []string{"AccessDenied", "AccessDeniedException", "AuthFailure", "NotAuthorized", "OptInRequired"}
	throttledCodes = []string{
		"PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown", "Throttling", "ThrottlingException",
		"ThrottledException", "TooManyRequestsException", "TooManyUpdates",
	}
)

// laterCodes are what STS answers with 400 although it may work later: it could
// not ask the identity provider (STS API reference; the SDK retries the second).
var laterCodes = []string{"IDPCommunicationError", "InvalidIdentityToken"}

func logInRefused(code string) bool { return slices.Contains(logInCodes, code) }

// explain turns an error of the SDK into one that is classified, says what
// would help, and shows nothing of request and answer.
func (c Call) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %q: %w", c.Verb, c.Object, context.Cause(ctx))
	}
	code, status := codeAndStatus(err)
	say := func(text string) error { return &answered{code, fmt.Sprintf("%s %q: %s", c.Verb, c.Object, text)} }
	switch {
	case logInRefused(code):
		return rotator.Permanent(say(fmt.Sprintf("the log-in is refused (%s): it is wrong, expired or revoked, or this machine's clock is off", code)))
	case slices.Contains(deniedCodes, code):
		return rotator.Permanent(say(fmt.Sprintf("not allowed; the policy must allow %s on it, and the use of its KMS key", c.Action)))
	case code != "" && slices.Contains(throttledCodes, code):
		return rotator.Unsent(say("AWS asks to slow down"))
	}
	return fmt.Errorf("%s %q: %w", c.Verb, c.Object, byStatus(ctx, code, status, err))
}

// byStatus classifies what no code tells by the status, or by how the connection failed.
func byStatus(ctx context.Context, code string, status int, err error) error {
	if status == 0 || status/100 == 2 {
		return network(ctx, err)
	}
	classified := webclient.StatusError(webclient.Answer{Status: status, Header: headerOf(err)}, time.Now())
	said := &answered{code, classified.Error()}
	if text := showable(code); text != "" {
		said.text += " (" + text + ")"
	}
	at := rotator.RetryTime(classified)
	switch {
	case rotator.IsPermanent(classified):
		return rotator.Permanent(said)
	case rotator.HadNoEffect(classified):
		classified = rotator.Unsent(said)
	default:
		classified = said
	}
	if at.IsZero() {
		return classified
	}
	return rotator.RetryAfter(classified, at)
}

// network classifies an error of the connection and takes the URL out of it.
func network(ctx context.Context, err error) error {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("the answer is longer than %d bytes", tooLong.Limit)
	}
	if calling, ok := errors.AsType[*url.Error](err); ok {
		return webclient.Clean(ctx, calling)
	}
	if _, broken := errors.AsType[*net.OpError](err); broken || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the answer broke off")
	}
	return errors.New("the answer is not one of AWS")
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[*url.Error](err)
	return ok
}

func codeAndStatus(err error) (code string, status int) {
	if answer, ok := errors.AsType[smithy.APIError](err); ok {
		code = answer.ErrorCode()
	}
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	return code, status
}

func headerOf(err error) http.Header {
	if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok && answer.HTTPResponse() != nil {
		return answer.HTTPResponse().Header
	}
	return http.Header{}
}

// showable returns a code that is one word, and else nothing: a proxy may answer anything.
func showable(code string) string {
	const longest = 64
	if len(code) > longest {
		return ""
	}
	for _, r := range code {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '.' {
			return ""
		}
	}
	return code
}
