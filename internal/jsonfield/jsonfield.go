// Package jsonfield reads and changes one string of a JSON object, for stores
// whose secrets hold several values. Everything else in the object keeps its
// bytes: order, blanks, numbers.
//
// It knows no nested objects, never prints a value, and keeps nothing.
//
// A store that keeps JSON in another way needs none of it.
package jsonfield

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/rotatord/rotatord/rotator"
)

// Get returns a string of a JSON object. Names with dots are no paths. Its errors
// are permanent.
func Get(content []byte, field string) (value string, found bool, err error) {
	at, err := find(content, field)
	if err != nil || !at.found {
		return "", false, err
	}
	var text *string
	if err := json.Unmarshal(content[at.start:at.end], &text); err != nil || text == nil {
		return "", false, rotator.Permanent(fmt.Errorf("read field %q: it holds no string", field))
	}
	return *text, true, nil
}

// Set changes or adds a string of a JSON object, and leaves every other byte as
// it is. Its errors are permanent.
func Set(content []byte, field, value string) ([]byte, error) {
	if !utf8.ValidString(value) || !utf8.ValidString(field) {
		return nil, rotator.Permanent(fmt.Errorf("write field %q: JSON can't hold what is not UTF-8", field))
	}
	at, err := find(content, field)
	if err != nil {
		return nil, err
	}
	text := encode(value)
	if !at.found {
		text = bytes.Join([][]byte{at.comma, encode(field), []byte(": "), text}, nil)
	}
	return bytes.Join([][]byte{content[:at.start], text, content[at.end:]}, nil), nil
}

func encode(text string) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string and a buffer: neither can fail
	return bytes.TrimSpace(buffer.Bytes())
}

// A spot is where a field's value is or, when it isn't there, where the field goes.
type spot struct {
	start, end int
	found      bool
	comma      []byte // what goes before a new field
}

func find(content []byte, field string) (spot, error) {
	wrong := func(text string) (spot, error) {
		return spot{}, rotator.Permanent(fmt.Errorf("read field %q: %w", field, errors.New(text)))
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') || !json.Valid(content) {
		return wrong("the secret is not a JSON object") // the decoder's own words would quote it
	}
	at := spot{start: int(decoder.InputOffset())}
	at.end = at.start
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return wrong("the secret is not a JSON object")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return wrong("the secret is not a JSON object")
		}
		end := int(decoder.InputOffset())
		switch {
		case name == field && at.found:
			return wrong("it is there more than once")
		case name == field:
			at = spot{start: end - len(value), end: end, found: true}
		case !at.found:
			at = spot{start: end, end: end, comma: []byte(", ")}
		}
	}
	return at, nil
}
