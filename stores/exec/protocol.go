package execstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	protocolVersion = 1
	maxAnswerBytes  = 1 << 20
	maxVersionBytes = 512
)

type operation string

const (
	opGet        operation = "get"
	opPut        operation = "put"
	opCheckWrite operation = "check_write"
	opPing       operation = "ping"
)

// A request is what a program reads.
type request struct {
	Version int       `json:"version"`
	Op      operation `json:"op"`
	Key     string    `json:"key,omitempty"` // of every operation but ping
	*writeRequest
}

// A writeRequest is what a put has besides.
type writeRequest struct {
	Value   string `json:"value"`
	Prev    string `json:"prev"`
	Attempt string `json:"attempt"`
}

// encode writes the request on one line. JSON can't hold every sequence of
// bytes: what is not UTF-8 is refused rather than changed.
func (r request) encode() ([]byte, error) {
	texts := []string{r.Key}
	if r.writeRequest != nil {
		texts = append(texts, r.Value, r.Prev, r.Attempt)
	}
	for _, text := range texts {
		if !utf8.ValidString(text) {
			return nil, errors.New("only text in UTF-8 can be handed over")
		}
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(r)
	return line.Bytes(), err
}

// An answer is what a program prints. Fields that are not known are ignored, so
// that a program may be newer than rotatord.
type answer struct {
	VersionID string   `json:"version_id"`
	Value     *string  `json:"value"`
	At        string   `json:"at"`
	Error     *refusal `json:"error"`

	at time.Time
}

// A refusal is an answer that is no success.
type refusal struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Seconds float64 `json:"seconds"` // of retry_after
}

// readAnswer reads the one JSON object that a program printed. Errors show
// nothing of it, which may be a value.
func readAnswer(printed []byte) (answer, error) {
	var a answer
	printed = bytes.TrimSpace(printed)
	switch {
	case len(printed) == 0:
		return a, errors.New("there is none")
	case !utf8.Valid(printed):
		return a, errors.New("not UTF-8")
	case printed[0] != '{':
		return a, errors.New("not one JSON object")
	}
	err := json.Unmarshal(printed, &a)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return answer{}, fmt.Errorf("%s has the wrong type", wrong.Field)
	}
	if err != nil {
		return answer{}, errors.New("not one JSON object")
	}
	if a.Error != nil && (a.VersionID != "" || a.Value != nil) {
		return answer{}, errors.New("has both an error and a version")
	}
	return a, nil
}

// check holds the rules of a success; values are those that the program was given.
func (a *answer) check(op operation, writeOnly bool, values []string) error {
	if op != opGet && op != opPut {
		return nil
	}
	blind := op == opGet && writeOnly // what it can tell is enough
	switch {
	case a.VersionID == "" && !blind:
		return errors.New("has no version_id")
	case a.Value == nil && op == opGet && !blind:
		return errors.New("has no value; a program that can't read needs write_only: true")
	}
	if a.Value != nil {
		values = append(values, *a.Value)
	}
	if err := checkVersion(a.VersionID, values); err != nil {
		return err
	}
	if a.At == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, a.At)
	if err != nil {
		return errors.New("at is not a time like 2026-01-31T10:00:00Z")
	}
	a.at = at
	return nil
}

// checkVersion refuses what can't go into the journal: it is shown to people,
// and must not be, or hold, a value.
func checkVersion(id string, values []string) error {
	switch {
	case len(id) > maxVersionBytes:
		return fmt.Errorf("version_id is longer than %d bytes", maxVersionBytes)
	case strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("version_id has characters that can't be printed")
	case id != hide(id, values):
		return errors.New("version_id holds a value")
	}
	return nil
}
