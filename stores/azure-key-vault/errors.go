package azurekeyvaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A call is one request, as an error names it.
type call struct {
	verb, secret string
	needs        string // the data action of the role
	right        string // the same in an access policy
}

// answered is what the vault said no with: the status, and the code of the
// documented inner error. Its words are not in it: they may quote what was sent.
type answered struct {
	status int
	code   string
	text   string
}

func (e *answered) Error() string { return e.text }

// refusalOf returns what the vault said no with; the zero value: nothing.
func refusalOf(err error) answered {
	if a, ok := errors.AsType[*answered](err); ok {
		return *a
	}
	return answered{}
}

// explain turns an error of the client into one that is classified, says what
// would help, and shows no URL, body or secret.
func (c call) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("%s secret %q", c.verb, c.secret)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if failed, ok := errors.AsType[*logInError](err); ok {
		return failed.err
	}
	if response, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return c.refusal(what, response)
	}
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%s: the answer is longer than %d bytes", what, tooLong.Limit)
	}
	_, calling := errors.AsType[*url.Error](err)
	cleaned := webclient.Clean(ctx, err)
	if !calling && !rotator.HadNoEffect(cleaned) {
		return fmt.Errorf("%s: the answer is not one of a key vault, or its log-in is for another domain than that of vault_url", what)
	}
	return fmt.Errorf("%s: %w", what, cleaned)
}

func (c call) refusal(what string, response *azcore.ResponseError) error {
	code := codeOf(response)
	say := func(text string) error {
		return &answered{response.StatusCode, code, what + ": " + text}
	}
	switch code {
	case "SecretDisabled":
		return rotator.Permanent(say("its current version is disabled; enable it, or make a new one"))
	case "ObjectIsDeletedButRecoverable":
		return rotator.Permanent(say("it is deleted, and can be recovered; recover it, or purge it"))
	case "ObjectIsBeingDeleted", "ObjectIsBeingRecovered":
		return rotator.Unsent(say("it is being deleted or recovered"))
	case "ForbiddenByFirewall", "ForbiddenByConnection":
		return rotator.Permanent(say("the vault's firewall does not let this address in"))
	case "AccessDenied", "ForbiddenByPolicy":
		return rotator.Permanent(say(fmt.Sprintf("the vault's access policy does not give %q", c.right)))
	case "ForbiddenByRbac":
		return rotator.Permanent(say(fmt.Sprintf("no role gives %q", c.needs)))
	}
	answer := webclient.Answer{Status: response.StatusCode}
	if response.RawResponse != nil {
		answer.Header = response.RawResponse.Header
	}
	status := webclient.StatusError(answer, time.Now())
	switch {
	case status == nil: // a 2xx that the client can't read
		return fmt.Errorf("%s: the answer is not one of a key vault", what)
	case response.StatusCode == http.StatusForbidden:
		return rotator.Permanent(say(fmt.Sprintf("permission denied; the log-in needs %q, or %q in an access policy", c.needs, c.right)))
	case response.StatusCode == http.StatusUnauthorized:
		return rotator.Permanent(say("the log-in is refused"))
	}
	said := say(status.Error())
	switch {
	case rotator.IsPermanent(status):
		return rotator.Permanent(said)
	case rotator.HadNoEffect(status):
		said = rotator.Unsent(said)
	}
	if at := rotator.RetryTime(status); !at.IsZero() {
		return rotator.RetryAfter(said, at)
	}
	return said
}

// codeOf returns the code of the inner error, which says more than that of the
// error: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes.
func codeOf(response *azcore.ResponseError) string {
	if response.RawResponse == nil {
		return response.ErrorCode
	}
	body, err := runtime.Payload(response.RawResponse) // the client has read it already
	if err != nil {
		return response.ErrorCode
	}
	type inner struct {
		Code string `json:"code"`
	}
	var answer struct {
		Error struct {
			Code       string `json:"code"`
			InnerError inner  `json:"innererror"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return response.ErrorCode
	}
	if answer.Error.InnerError.Code != "" {
		return answer.Error.InnerError.Code
	}
	return answer.Error.Code
}

// logInError is an error of the log-in, classified: nothing was sent to the vault.
type logInError struct{ err error }

func (e *logInError) Error() string { return e.err.Error() }
func (e *logInError) Unwrap() error { return e.err }

// NonRetriable keeps the client from trying again.
func (e *logInError) NonRetriable() {}

// explainLogIn classifies an error of the log-in and leaves its answer out.
func explainLogIn(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return rotator.Unsent(fmt.Errorf("log in: %w", context.Cause(ctx)))
	}
	if refused, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && refused.RawResponse != nil {
		answer := webclient.Answer{Status: refused.RawResponse.StatusCode, Header: refused.RawResponse.Header}
		said := webclient.StatusError(answer, time.Now())
		// A machine's identity endpoint answers so while it is updated:
		// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling
		if answer.Status == http.StatusNotFound || answer.Status == http.StatusGone {
			return rotator.Unsent(errors.New("log in: " + said.Error())) // its class is not this error's
		}
		if rotator.IsPermanent(said) {
			return rotator.Permanent(fmt.Errorf("log in: refused: %w", said))
		} else if said != nil {
			return beforeWrite(fmt.Errorf("log in: %w", said))
		}
	}
	if cleaned := webclient.Clean(ctx, err); rotator.HadNoEffect(cleaned) {
		return fmt.Errorf("log in: %w", cleaned)
	}
	return rotator.Unsent(errors.New("log in: no token was given; is there a log-in of this method here, and is its service reachable?"))
}

// beforeWrite marks an error of a call that only read.
func beforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}
