package rotator

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Fingerprint is the first 16 hex digits of the SHA-256 of a credential's
// value. It is safe to log and to show.
type Fingerprint string

// FingerprintOf computes the fingerprint of a value, as
// `printf %s VALUE | sha256sum | cut -c1-16` does.
func FingerprintOf(value string) Fingerprint {
	sum := sha256.Sum256([]byte(value))
	return Fingerprint(hex.EncodeToString(sum[:])[:16])
}

// isFingerprint tells whether f looks as FingerprintOf writes it.
func isFingerprint(f Fingerprint) bool {
	raw, err := hex.DecodeString(string(f))
	return err == nil && len(raw) == 8
}

// Credential is one value that an issuer made for a token. In the journal and
// in every State it goes without its value.
type Credential struct {
	ID          string // the issuer's own name for it; empty where it isn't known
	Name        string // the name it carries at the issuer, marker included
	Value       Secret // zero wherever only the record is meant
	Fingerprint Fingerprint
	IssuedAt    time.Time
	ExpiresAt   time.Time // zero: it does not expire, or the issuer can't tell
	LastUsedAt  time.Time // zero: never, or the issuer can't tell
	Scopes      []string  // nil: the issuer can't tell
}

// Known tells whether there is a credential at all.
func (c Credential) Known() bool { return c.ID != "" || c.Fingerprint != "" }

// Record returns the credential without its value.
func (c Credential) Record() Credential {
	if c.Fingerprint == "" {
		c.Fingerprint = c.Value.Fingerprint()
	}
	c.Value = Secret{}
	return c
}

// Verdict is what a check of a credential says. Only a clear answer of the
// service is Live or Dead; everything else is Unknown.
type Verdict string

// The verdicts.
const (
	Live    Verdict = "live"
	Dead    Verdict = "dead"
	Unknown Verdict = "unknown"
)

// Marker returns the name that a credential carries at its issuer, so that a
// crash leaves none nameless: rotatord/<token>/<rotation id>.
func Marker(token, rotation string) string { return MarkerPrefix(token) + rotation }

// MarkerPrefix returns what the markers of all rotations of a token start with.
func MarkerPrefix(token string) string { return "rotatord/" + token + "/" }
