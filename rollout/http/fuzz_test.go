package httpprobe

import (
	"net/http"
	"testing"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Whatever a consumer answers: no panic, and healthy only with the asked
// fingerprint.
func FuzzAnswer(f *testing.F) {
	const asked = "0123456789abcdef"
	for _, text := range []string{asked, "fedcba9876543210", "", `{"token": {"fingerprint": "0123456789abcdef"}}`, `{"workers": [{"fingerprint": 1}]}`, "[[[[", "\xff"} {
		for _, path := range []string{"", "token.fingerprint", "workers.0.fingerprint"} {
			f.Add(200, text, path)
		}
		f.Add(401, text, "")
	}
	f.Fuzz(func(t *testing.T, status int, text, path string) {
		c := Config{URL: "https://crm.example.com/healthz", FingerprintHeader: "X-F", FingerprintJSON: path}
		if path != "" {
			c.FingerprintHeader = ""
		}
		if c.Validate() != nil {
			return
		}
		p := &probe{config: c.withDefaults()}
		answer := webclient.Answer{Status: status, Header: http.Header{"X-F": {text}}, Body: []byte(text)}
		finding, err := p.judge(answer, asked)
		if err == nil && finding.Health == rotator.Healthy && finding.Seen != asked {
			t.Errorf("judge(%d, %q) = %+v; want healthy only with the asked fingerprint", status, text, finding)
		}
		if err == nil && finding.Health == "" {
			t.Errorf("judge(%d, %q) has no verdict", status, text)
		}
	})
}
