package rotator

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret holds a value that must not be shown. Every formatter (the verbs of
// fmt, JSON, YAML, gob, slog) prints [redacted]; Reveal is the one way out.
// The zero Secret holds no value, which is not the same as the empty value.
type Secret struct{ value *string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value itself; the zero Secret reveals "".
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero tells whether the Secret holds no value at all.
func (s Secret) IsZero() bool { return s.value == nil }

// Fingerprint returns the fingerprint of the value; that of the zero Secret is empty.
func (s Secret) Fingerprint() Fingerprint {
	if s.value == nil {
		return ""
	}
	return FingerprintOf(*s.value)
}

// String implements fmt.Stringer without the value.
func (s Secret) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb reaches the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText covers JSON, YAML and every other encoder of text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML covers YAML encoders that do not ask for text.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// GobEncode covers encoding/gob.
func (s Secret) GobEncode() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
