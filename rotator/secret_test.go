package rotator_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

func TestSecretShowsItselfToNoFormatter(t *testing.T) {
	const canary = "canary-0815"
	type holder struct {
		S rotator.Secret
		P *rotator.Secret
		M map[string]rotator.Secret
	}
	s := rotator.NewSecret(canary)
	h := holder{S: s, P: &s, M: map[string]rotator.Secret{"k": s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%t", "%b", "%c", "%U", "%e", "%p"} {
		_, _ = fmt.Fprintf(&out, verb+" "+verb+"\n", s, h)
	}
	_, _ = fmt.Fprint(&out, s, &s, h, []rotator.Secret{s})
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		raw, err := marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(raw)
	}
	if err := gob.NewEncoder(&out).Encode(s); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("m", "secret", s, "holder", h)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "secret", s, "holder", h)
	_, _ = fmt.Fprint(&out, fmt.Errorf("wrap %v: %w", s, rotator.Permanent(fmt.Errorf("%s", s))))
	if strings.Contains(out.String(), canary) {
		t.Errorf("the value got out:\n%s", out.String())
	}
	if got := s.Reveal(); got != canary {
		t.Errorf("Reveal = %q; want the value", got)
	}
}

func TestFingerprintIsTheOneOfSha256sum(t *testing.T) {
	// printf %s secret | sha256sum | cut -c1-16
	if got, want := rotator.FingerprintOf("secret"), rotator.Fingerprint("2bb80d537b1da3e3"); got != want {
		t.Errorf("FingerprintOf = %s; want %s", got, want)
	}
}
