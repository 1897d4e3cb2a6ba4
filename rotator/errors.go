package rotator

import (
	"errors"
	"time"
)

// Sentinels that a plug-in or a journal wraps; test with errors.Is.
var (
	// ErrNotFound: the key, credential or rotation does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: somebody else changed the thing in between.
	ErrConflict = errors.New("changed by somebody else in between")
)

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that trying again can't mend, and whose call had no
// effect: bad input, a refused log-in, an unknown target. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent tells whether trying again is pointless.
func IsPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}

type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

// Unsent marks an error after which the call surely had no effect, but may
// work later: a refused connection, a rate limit. Any other error of a call
// that writes leaves its effect in doubt. nil stays nil.
func Unsent(err error) error {
	if err == nil {
		return nil
	}
	return unsentError{err}
}

// HadNoEffect tells whether the failed call surely changed nothing.
func HadNoEffect(err error) bool {
	var u unsentError
	return IsPermanent(err) || errors.As(err, &u)
}

type retryAfterError struct {
	error
	at time.Time
}

func (e retryAfterError) Unwrap() error { return e.error }

// RetryAfter marks an error with the time before which the service asks not to
// be called again (Retry-After, X-RateLimit-Reset). nil stays nil.
func RetryAfter(err error, at time.Time) error {
	if err == nil {
		return nil
	}
	return retryAfterError{err, at}
}

// RetryTime returns the time that RetryAfter gave, or the zero time.
func RetryTime(err error) time.Time {
	if r, ok := errors.AsType[retryAfterError](err); ok {
		return r.at
	}
	return time.Time{}
}

// PersonNeeded is the error of an Issue or a Revoke that only a person can do,
// for example by a click in a dashboard. Ask says what to do, in one or two
// sentences without secrets. The call had no effect.
type PersonNeeded struct{ Ask string } //nolint:errname // it is a request more than a failure

func (e *PersonNeeded) Error() string { return "a person is needed: " + e.Ask }

// FieldError is a mistake in one field of a plug-in's configuration.
type FieldError struct {
	Path string // below the plug-in's own settings: "create.path", "auth.token"
	Err  error
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Err.Error() }

func (e *FieldError) Unwrap() error { return e.Err }

// Field says which field of a configuration an error is about; nil stays nil.
// `check` turns the path into a file and a line.
func Field(path string, err error) error {
	if err == nil {
		return nil
	}
	return &FieldError{Path: path, Err: err}
}
