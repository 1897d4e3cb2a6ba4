package rotator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// SecretLookup reads a secret from a configured store by its name and key.
type SecretLookup func(ctx context.Context, store, key string) (Secret, error)

// SecretSource says where a secret of the configuration is read from: an
// environment variable, a file, or a configured store. Exactly one is set.
// It is read anew at each Get, so that a rotated log-in is taken up.
type SecretSource struct {
	Env   string `yaml:"env,omitempty" json:"env,omitempty" jsonschema:"description=Name of the environment variable that holds the secret"`
	File  string `yaml:"file,omitempty" json:"file,omitempty" jsonschema:"description=Path of the file that holds the secret; one final newline is cut off"`
	Store string `yaml:"store,omitempty" json:"store,omitempty" jsonschema:"description=Name of a configured store; goes with key"`
	Key   string `yaml:"key,omitempty" json:"key,omitempty" jsonschema:"description=Key of the secret in that store"`

	lookup SecretLookup
}

// IsZero tells whether nothing is set.
func (s SecretSource) IsZero() bool {
	return s.Env == "" && s.File == "" && s.Store == "" && s.Key == ""
}

// Validate reports a source that names none or several places. It reads nothing.
func (s SecretSource) Validate() error {
	places := 0
	for _, set := range []bool{s.Env != "", s.File != "", s.Store != ""} {
		if set {
			places++
		}
	}
	switch {
	case places != 1:
		return errors.New("a secret names exactly one of env, file or store, for example {env: NAME}")
	case (s.Store != "") != (s.Key != ""):
		return errors.New("a secret from a store needs both store and key")
	}
	return nil
}

// Bind gives the source the way to read from a configured store.
func (s *SecretSource) Bind(lookup SecretLookup) { s.lookup = lookup }

// Get reads the secret. A missing variable, file or key is an error that names it.
func (s SecretSource) Get(ctx context.Context) (Secret, error) {
	switch {
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if !ok || value == "" {
			return Secret{}, fmt.Errorf("read secret: environment variable %q is not set", s.Env)
		}
		return NewSecret(value), nil
	case s.File != "":
		raw, err := os.ReadFile(s.File)
		if err != nil {
			return Secret{}, fmt.Errorf("read secret: %w", err)
		}
		value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		if value == "" {
			return Secret{}, fmt.Errorf("read secret: file %q is empty", s.File)
		}
		return NewSecret(value), nil
	case s.Store != "" && s.lookup != nil:
		value, err := s.lookup(ctx, s.Store, s.Key)
		if err != nil {
			if errors.Is(err, ErrNotFound) || errors.Is(err, errors.ErrUnsupported) {
				err = errors.New(err.Error()) // it is the log-in that is missing, not what it was wanted for
			}
			return Secret{}, fmt.Errorf("read secret: store %s: %w", s.Store, err)
		}
		return value, nil
	case s.Store != "":
		return Secret{}, fmt.Errorf("read secret: store %q can't be read here", s.Store)
	}
	return Secret{}, errors.New("read secret: no env, file or store is named")
}
