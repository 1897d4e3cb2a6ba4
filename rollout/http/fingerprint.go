package httpprobe

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

var fingerprintPattern = regexp.MustCompile(`^[0-9a-fA-F]{16}$`)

// fingerprint reads what the consumer says it lives on; empty without an error
// means that the configuration names no place to look at. Errors do not quote
// the answer: it may hold anything.
func (p *probe) fingerprint(answer webclient.Answer) (rotator.Fingerprint, error) {
	var text string
	switch {
	case p.config.FingerprintHeader != "":
		values := answer.Header.Values(p.config.FingerprintHeader)
		if len(values) != 1 {
			return "", fmt.Errorf("header %q is there %d times, not once", p.config.FingerprintHeader, len(values))
		}
		text = values[0]
	case p.config.FingerprintJSON != "":
		var err error
		if text, err = lookUp(answer.Body, p.config.FingerprintJSON); err != nil {
			return "", err
		}
	default:
		return "", nil
	}
	text = strings.TrimSpace(text)
	if !fingerprintPattern.MatchString(text) {
		return "", errors.New("not 16 hex digits")
	}
	return rotator.Fingerprint(strings.ToLower(text)), nil
}

// lookUp follows a dotted path of object keys and array indexes to a string.
func lookUp(body []byte, path string) (string, error) {
	var at any
	if err := json.Unmarshal(body, &at); err != nil {
		return "", errors.New("the answer is not JSON")
	}
	for key := range strings.SplitSeq(path, ".") {
		switch node := at.(type) {
		case map[string]any:
			at = node[key]
		case []any:
			index, err := strconv.Atoi(key)
			if err != nil || index < 0 || index >= len(node) {
				return "", fmt.Errorf("the answer has no %q", path)
			}
			at = node[index]
		default:
			return "", fmt.Errorf("the answer has no %q", path)
		}
	}
	text, ok := at.(string)
	if !ok {
		return "", fmt.Errorf("the answer has no text at %q", path)
	}
	return text, nil
}
