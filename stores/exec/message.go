package execstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/rotatord/rotatord/internal/childprocess"
	"github.com/rotatord/rotatord/rotator"
)

const (
	redacted    = "[redacted]"
	minSecret   = 4                // bytes of a value; what is shorter is everywhere
	minVariable = 8                // bytes of an environment variable that may be a log-in
	maxPause    = 15 * time.Minute // so that a wrong answer can't stop a rotation
)

// errCantTell is the answer `unsupported` to a question that changes nothing.
var errCantTell = errors.New("the program does not do that")

// err turns a refusal into what the engine understands.
func (r refusal) err(op operation, secrets []string) error {
	if op == opPut && r.Code == "conflict" {
		return rotator.Permanent(rotator.ErrConflict)
	}
	if op == opGet && r.Code == "not_found" {
		return rotator.ErrNotFound
	}
	if op != opPut && r.Code == "unsupported" {
		return errCantTell
	}
	told := fmt.Errorf("answered %s%s", r.Code, shown(r.Message, secrets))
	switch r.Code {
	case "permanent", "not_found":
		return rotator.Permanent(told)
	case "unsupported":
		return rotator.Permanent(fmt.Errorf("%w: %w", told, errors.ErrUnsupported))
	case "unsent":
		return rotator.Unsent(told)
	case "retry_after":
		told = rotator.Unsent(told)
		if r.Seconds > 0 {
			pause := time.Duration(min(r.Seconds, maxPause.Seconds()) * float64(time.Second))
			told = rotator.RetryAfter(told, time.Now().Add(pause))
		}
		return told
	case "unknown":
		return told
	}
	// Also a code of a later protocol: nobody knows whether it had an effect.
	return errors.New("answered an error of an unknown code" + shown(r.Message, secrets))
}

// logIns are the values that the program got from our environment, its log-in
// among them. They must not come back in a message.
func (s *Store) logIns() []string {
	var values []string
	for _, name := range s.command.PassEnv {
		if value := os.Getenv(name); len(value) >= minVariable {
			values = append(values, value)
		}
	}
	return values
}

// shown makes a program's message fit to be part of an error.
func shown(message string, secrets []string) string {
	message = childprocess.OneLine(hideLikely(hide(message, secrets)))
	if message == "" {
		return ""
	}
	return ": " + message
}

// hide takes the secrets out of a text, as they are and as programs write them
// into messages.
func hide(text string, secrets []string) string {
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			text = strings.ReplaceAll(text, form, redacted)
		}
	}
	return text
}

func formsOf(secret string) []string {
	trimmed := strings.TrimSpace(secret)
	if len(trimmed) < minSecret {
		return nil
	}
	quoted := `""`
	if raw, err := json.Marshal(trimmed); err == nil {
		quoted = string(raw)
	}
	return []string{
		trimmed, quoted[1 : len(quoted)-1], url.QueryEscape(trimmed), url.PathEscape(trimmed),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
	}
}

var likely = regexp.MustCompile(`[A-Za-z0-9_+=-]{20,}`)

// hideLikely takes out what looks like a generated secret: a long run of letters
// and digits. The program may have log-ins that rotatord does not know.
func hideLikely(text string) string {
	return likely.ReplaceAllStringFunc(text, func(run string) string {
		if strings.ContainsFunc(run, unicode.IsDigit) && strings.ContainsFunc(run, unicode.IsLetter) {
			return redacted
		}
		return run
	})
}
