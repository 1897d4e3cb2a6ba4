package httpprobe

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

func writeCA(t *testing.T, certificate *x509.Certificate) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExampleLoads(t *testing.T) {
	var entry struct {
		Type   string `yaml:"type"`
		Config `yaml:",inline"`
	}
	if err := yaml.Load([]byte(Example), &entry, yaml.WithKnownFields()); err != nil {
		t.Fatalf("load Example: %v", err)
	}
	if entry.Type != "http" || entry.SecretHeaders["Authorization"].Env == "" {
		t.Errorf("Example = %+v; want type http with a secret header", entry)
	}
	newProbe(t, entry.Config)
}

// paths returns the fields that a joined error is about, sorted.
func paths(err error) []string {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case nil:
		return nil
	case *rotator.FieldError:
		return []string{e.Path}
	case interface{ Unwrap() []error }:
		var all []string
		for _, each := range e.Unwrap() {
			all = append(all, paths(each)...)
		}
		slices.Sort(all)
		return all
	}
	return []string{"no field: " + err.Error()}
}

func TestValidate(t *testing.T) {
	ok := func(change func(*Config)) Config {
		c := Config{URL: "https://crm.example.com/healthz"}
		change(&c)
		return c
	}
	source := rotator.SecretSource{Env: "X"}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"least":               {ok(func(*Config) {}), nil},
		"nothing":             {Config{}, []string{"url"}},
		"no secret, no TLS":   {Config{URL: "http://crm-worker:8080/healthz"}, nil},
		"secret, no TLS":      {Config{URL: "http://crm-worker:8080/healthz", SecretHeaders: map[string]rotator.SecretSource{"X-Key": source}}, []string{"url"}},
		"secret, this host":   {Config{URL: "http://127.0.0.1:8080/healthz", SecretHeaders: map[string]rotator.SecretSource{"X-Key": source}}, nil},
		"secret, allowed":     {Config{URL: "http://crm-worker:8080/healthz", AllowHTTP: true, SecretHeaders: map[string]rotator.SecretSource{"X-Key": source}}, nil},
		"no URL":              {Config{URL: "http://%zz"}, []string{"url"}},
		"no host":             {Config{URL: "http:///healthz"}, []string{"url"}},
		"other scheme":        {Config{URL: "file:///etc/passwd"}, []string{"url"}},
		"ftp":                 {Config{URL: "ftp://host/x"}, []string{"url"}},
		"log-in in the URL":   {Config{URL: "https://user:hidden@host/"}, []string{"url"}},
		"method":              {ok(func(c *Config) { c.Method = "DELETE" }), []string{"method"}},
		"HEAD and JSON":       {ok(func(c *Config) { c.Method, c.FingerprintJSON = "HEAD", "a" }), []string{"fingerprint_json"}},
		"both fingerprints":   {ok(func(c *Config) { c.FingerprintHeader, c.FingerprintJSON = "X-F", "a" }), []string{"fingerprint_json"}},
		"empty path part":     {ok(func(c *Config) { c.FingerprintJSON = "a..b" }), []string{"fingerprint_json"}},
		"fingerprint header":  {ok(func(c *Config) { c.FingerprintHeader = "X F" }), []string{"fingerprint_header"}},
		"401 expected":        {ok(func(c *Config) { c.ExpectedStatus = []int{200, 401} }), []string{"expected_status[1]"}},
		"401 unhealthy":       {ok(func(c *Config) { c.UnhealthyStatus = []int{401} }), nil},
		"both statuses":       {ok(func(c *Config) { c.UnhealthyStatus = []int{500, 200} }), []string{"unhealthy_status[1]"}},
		"no statuses":         {ok(func(c *Config) { c.ExpectedStatus = []int{0, 302, 100, 600, 304} }), []string{"expected_status[0]", "expected_status[1]", "expected_status[2]", "expected_status[3]"}},
		"header name":         {ok(func(c *Config) { c.Headers = map[string]string{"X:Y": "z", "": "z"} }), []string{"headers.", "headers.X:Y"}},
		"header value":        {ok(func(c *Config) { c.Headers = map[string]string{"X": "hidden\r\nY: z"} }), []string{"headers.X"}},
		"log-in in the clear": {ok(func(c *Config) { c.Headers = map[string]string{"authorization": "Bearer hidden"} }), []string{"headers.authorization"}},
		"header twice": {ok(func(c *Config) {
			c.Headers = map[string]string{"x-key": "a"}
			c.SecretHeaders = map[string]rotator.SecretSource{"X-Key": source}
		}), []string{"secret_headers.X-Key"}},
		"no source":   {ok(func(c *Config) { c.SecretHeaders = map[string]rotator.SecretSource{"X-Key": {}} }), []string{"secret_headers.X-Key"}},
		"secret host": {ok(func(c *Config) { c.SecretHeaders = map[string]rotator.SecretSource{"Host": source} }), []string{"secret_headers.Host"}},
		"all at once": {Config{Method: "PUT", ExpectedStatus: []int{401}, FingerprintHeader: " "}, []string{"expected_status[0]", "fingerprint_header", "method", "url"}},
	} {
		err := test.config.Validate()
		if diff := cmp.Diff(test.want, paths(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: a value is printed: %v", name, err)
		}
	}
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("New() of an invalid configuration = nil error")
	}
}
