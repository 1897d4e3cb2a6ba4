package filestore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/rotatord/rotatord/rotator"
)

// splitPath reads a dotted path; a backslash takes the meaning of the dot or
// the backslash that follows.
func splitPath(text string) ([]string, error) {
	parts := []string{""}
	for i := 0; i < len(text); i++ {
		last := len(parts) - 1
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == '.' || text[i+1] == '\\'):
			i++
			parts[last] += text[i : i+1]
		case text[i] == '.':
			parts = append(parts, "")
		default:
			parts[last] += text[i : i+1]
		}
	}
	if slices.Contains(parts, "") {
		return nil, errors.New("what follows # must be a path of names like a.b, with \\. for a dot in a name")
	}
	return parts, nil
}

func getJSON(content []byte, field string) (string, bool, error) {
	found, err := findJSON(content, field)
	if err != nil || len(found.missing) > 0 {
		return "", false, err
	}
	var value *string
	if err := json.Unmarshal(content[found.start:found.end], &value); err != nil || value == nil {
		return "", false, rotator.Permanent(fmt.Errorf("read field %q: it holds no string", field))
	}
	return *value, true, nil
}

func setJSON(content []byte, field, value string) ([]byte, error) {
	if !utf8.ValidString(value) {
		return nil, rotator.Permanent(fmt.Errorf("write field %q: JSON can't hold a value that is not UTF-8", field))
	}
	found, err := findJSON(content, field)
	if err != nil {
		return nil, err
	}
	text := encodeJSON(value)
	if len(found.missing) == 0 {
		return join(content[:found.start], text, content[found.end:]), nil
	}
	for i := len(found.missing) - 1; i > 0; i-- {
		text = join([]byte("{"), encodeJSON(found.missing[i]), []byte(": "), text, []byte("}"))
	}
	member := join(found.before, encodeJSON(found.missing[0]), found.colon, text)
	if !found.fresh {
		return join(content[:found.start], member, content[found.start:]), nil
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, join([]byte("{"), member, []byte("}")), "", "  "); err != nil {
		return nil, rotator.Permanent(fmt.Errorf("write field %q: it makes no JSON", field))
	}
	return append(indented.Bytes(), '\n'), nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func encodeJSON(text string) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string and a buffer: neither can fail
	return bytes.TrimSpace(buffer.Bytes())
}

// A member is the place of a value in a JSON text or, when names of its path
// are missing, the place where the first of them goes.
type member struct {
	start, end int      // of the value; start alone: where the new member goes
	missing    []string // the rest of the path that isn't there
	before     []byte   // what a new member follows: a comma and the blanks of the one before it
	colon      []byte   // what stands between name and value of the one before it
	fresh      bool     // there is no JSON text yet
}

func findJSON(content []byte, field string) (member, error) {
	path, err := splitPath(field)
	if err != nil {
		return member{}, rotator.Permanent(err)
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return member{missing: path, colon: []byte(": "), fresh: true}, nil
	}
	if !json.Valid(content) {
		return member{}, rotator.Permanent(fmt.Errorf("read JSON: %w", invalidAt(content)))
	}
	w := jsonWalk{content: content, decoder: json.NewDecoder(bytes.NewReader(content)), path: path}
	found, err := w.object(0)
	if err != nil {
		return member{}, rotator.Permanent(fmt.Errorf("read field %q: %w", field, err))
	}
	return found, nil
}

// invalidAt says where the text is not JSON; the decoder's own words quote it.
func invalidAt(content []byte) error {
	var syntax *json.SyntaxError
	var ignored any
	if !errors.As(json.Unmarshal(content, &ignored), &syntax) {
		return errors.New("not valid")
	}
	before := content[:min(int(syntax.Offset), len(content))]
	return fmt.Errorf("not valid at line %d", 1+bytes.Count(before, []byte("\n")))
}

// A jsonWalk goes down a valid JSON text along a path.
type jsonWalk struct {
	content []byte
	decoder *json.Decoder
	path    []string
}

// object looks for path[depth] in the object that comes next, and goes on below it.
func (w *jsonWalk) object(depth int) (member, error) {
	if token, err := w.decoder.Token(); err != nil || token != json.Delim('{') {
		return member{}, fmt.Errorf("%q is in something that is not an object", w.path[depth])
	}
	found := member{colon: []byte(": "), missing: w.path[depth:]}
	found.start = int(w.decoder.InputOffset())
	hit := false
	// More reads over blanks: before is the offset after { or the value before them.
	for before := found.start; w.decoder.More(); before = int(w.decoder.InputOffset()) {
		token, err := w.decoder.Token()
		if err != nil {
			return member{}, errors.New("not valid JSON")
		}
		named := int(w.decoder.InputOffset())
		value := named + blanks(w.content[named:], ":")
		if token == w.path[depth] {
			if hit {
				return member{}, fmt.Errorf("%q is there more than once", w.path[depth])
			}
			hit = true
			if found, err = w.value(depth, value); err != nil {
				return member{}, err
			}
			continue
		}
		if _, err := w.skip(); err != nil {
			return member{}, err
		}
		if !hit {
			gap := w.content[before : before+blanks(w.content[before:], ",")]
			if _, after, ok := bytes.Cut(gap, []byte(",")); ok {
				gap = after
			}
			found.before = join([]byte(","), gap)
			found.colon = w.content[named:value]
			found.start = int(w.decoder.InputOffset())
		}
	}
	if _, err := w.decoder.Token(); err != nil { // the closing brace
		return member{}, errors.New("not valid JSON")
	}
	return found, nil
}

// value handles the value of path[depth], which begins at an offset.
func (w *jsonWalk) value(depth, start int) (member, error) {
	if depth < len(w.path)-1 {
		return w.object(depth + 1)
	}
	end, err := w.skip()
	return member{start: start, end: end}, err
}

// skip reads over a value and returns its end.
func (w *jsonWalk) skip() (int, error) {
	var ignored json.RawMessage
	if err := w.decoder.Decode(&ignored); err != nil {
		return 0, errors.New("not valid JSON")
	}
	return int(w.decoder.InputOffset()), nil
}

// blanks counts the bytes at the start of a text that are blanks or one of others.
func blanks(text []byte, others string) int {
	return len(text) - len(bytes.TrimLeft(text, " \t\r\n"+others))
}
