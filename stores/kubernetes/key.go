package kubernetesstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rotatord/rotatord/rotator"
)

// A place is one key of a Secret's data.
type place struct{ namespace, secret, key string }

// String is the place as errors name it, with its namespace.
func (p place) String() string { return p.namespace + "/" + p.secret + "#" + p.key }

// parseKey reads namespace/secret#data_key, or secret#data_key where there is a
// default namespace.
func parseKey(text, namespace string) (place, error) {
	path, key, _ := strings.Cut(text, "#")
	p := place{namespace: namespace, secret: path, key: key}
	if before, after, ok := strings.Cut(path, "/"); ok {
		p.namespace, p.secret = before, after
	} else if namespace == "" {
		return place{}, badKey(text, errors.New("must be namespace/secret#data_key; secret#data_key needs a default namespace in the store"))
	}
	switch {
	case checkNamespace(p.namespace) != nil:
		return place{}, badKey(text, checkNamespace(p.namespace))
	case len(p.secret) > maxName || !name.MatchString(p.secret):
		return place{}, badKey(text, errors.New("a Secret's name has at most 253 lower-case letters, digits, dashes and dots"))
	case len(p.key) > maxName || !dataKey.MatchString(p.key), p.key == ".", strings.HasPrefix(p.key, ".."):
		return place{}, badKey(text, errors.New("a data key has at most 253 letters, digits, dashes, underscores and dots"))
	}
	return p, nil
}

func badKey(text string, err error) error {
	return rotator.Permanent(fmt.Errorf("read key %q: %w", text, err))
}
