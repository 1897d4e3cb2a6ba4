package filestore

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/rotatord/rotatord/rotator"
)

// A key is where a value is: a file below the directory and, for formats that
// hold several values, a field in it.
type key struct {
	file  string
	field string // empty: the whole file
	codec codec
}

// A codec finds and changes one value in a file's content. Content that does
// not exist yet is nil. Both fail without showing any of the content.
type codec struct {
	get func(content []byte, field string) (value string, found bool, err error)
	set func(content []byte, field, value string) ([]byte, error)
}

func whole() codec {
	return codec{
		get: func(content []byte, _ string) (string, bool, error) { return string(content), true, nil },
		set: func(_ []byte, _, value string) ([]byte, error) { return []byte(value), nil },
	}
}

// parseKey reads FILE, FILE.env#NAME or FILE.json#path.to.string.
func parseKey(text string) (key, error) {
	file, field, several := strings.Cut(text, "#")
	k := key{file: file, field: field, codec: whole()}
	err := checkFile(file)
	if err == nil && several {
		k.codec, err = codecOf(path.Base(file), field)
	}
	if err != nil {
		return key{}, rotator.Permanent(fmt.Errorf("read key %q: %w", text, err))
	}
	return k, nil
}

func checkFile(file string) error {
	switch {
	case file == "":
		return errors.New("names no file")
	case strings.ContainsAny(file, "\x00\\"):
		return errors.New("a file's name can't have a NUL byte or a backslash")
	case path.IsAbs(file) || filepath.IsAbs(file):
		return errors.New("must be relative to the store's dir")
	case strings.HasSuffix(file, "/"):
		return errors.New("names a directory")
	case !filepath.IsLocal(file) || path.Clean(file) != file:
		return errors.New("must not have `..`, `.` or empty parts")
	}
	return nil
}

func codecOf(base, field string) (codec, error) {
	switch {
	case strings.HasSuffix(base, ".env"), strings.HasPrefix(base, ".env."):
		if !isName(field) {
			return codec{}, errors.New("what follows # must be a variable's name of letters, digits and _")
		}
		return codec{get: getEnv, set: setEnv}, nil
	case strings.HasSuffix(base, ".json"):
		if _, err := splitPath(field); err != nil {
			return codec{}, err
		}
		return codec{get: getJSON, set: setJSON}, nil
	}
	return codec{}, errors.New("a part of a file, after #, needs a file whose name ends in .env or .json")
}
