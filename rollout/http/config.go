package httpprobe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Config is the configuration of the probe.
type Config struct {
	URL               string                          `yaml:"url" jsonschema:"required,description=What is asked at each look; http or https\\, without user and password"`
	AllowHTTP         bool                            `yaml:"allow_http,omitempty" jsonschema:"description=Allow a url without TLS on another host together with secret_headers; they then travel in the clear"`
	Method            string                          `yaml:"method,omitempty" jsonschema:"enum=GET,enum=HEAD,enum=POST,description=GET (default)\\, HEAD or POST (without a body)"`
	Headers           map[string]string               `yaml:"headers,omitempty" jsonschema:"description=Headers of the request whose values are not secret"`
	SecretHeaders     map[string]rotator.SecretSource `yaml:"secret_headers,omitempty" jsonschema:"description=Headers whose whole value is a secret\\, for example Authorization; read anew at each look"`
	ExpectedStatus    []int                           `yaml:"expected_status,omitempty" jsonschema:"description=Statuses of a consumer that is well; default [200]. Never 401"`
	UnhealthyStatus   []int                           `yaml:"unhealthy_status,omitempty" jsonschema:"description=Statuses of a consumer that the new credential broke\\, besides 401. Any other unexpected status is not yet"`
	FingerprintHeader string                          `yaml:"fingerprint_header,omitempty" jsonschema:"description=Header of the answer with the fingerprint that the consumer lives on"`
	FingerprintJSON   string                          `yaml:"fingerprint_json,omitempty" jsonschema:"description=Dotted path of that fingerprint in the JSON answer\\, for example token.fingerprint or workers.0.fingerprint"`
	CAFile            string                          `yaml:"ca_file,omitempty" jsonschema:"description=PEM file with the only certificate authorities to trust; default: the system's"`
	Timeout           rotator.Duration                `yaml:"timeout,omitempty" jsonschema:"description=Of one look\\, besides the timeout of the rollout; default 30s"`
}

var errNotURL = errors.New("not a URL; use one like http://crm-worker:8080/healthz")

// Validate reports every mistake that can be seen offline.
func (c Config) Validate() error {
	errs := []error{rotator.Field("url", c.checkURL())}
	switch c.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		errs = append(errs, rotator.Field("method", fmt.Errorf("%q is not one of GET, HEAD and POST", c.Method)))
	}
	return errors.Join(append(errs, c.checkHeaders(), c.checkStatuses(), c.checkFingerprint())...)
}

func (c Config) withDefaults() Config {
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if len(c.ExpectedStatus) == 0 {
		c.ExpectedStatus = []int{http.StatusOK}
	}
	return c
}

func (c Config) checkURL() error {
	if c.URL == "" {
		return errors.New("a URL is required, for example http://crm-worker:8080/healthz")
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Hostname() == "":
		return errNotURL
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("only http and https can be asked")
	case u.User != nil:
		return errors.New("a URL can't hold a user or password; use secret_headers")
	case len(c.SecretHeaders) == 0:
		return nil
	}
	return webclient.CheckTLS(u, c.AllowHTTP)
}

func (c Config) checkHeaders() error {
	var errs []error
	seen := map[string]bool{}
	for name, value := range c.Headers {
		seen[http.CanonicalHeaderKey(name)] = true
		err := checkHeaderName(name)
		switch {
		case err != nil:
		case slices.Contains([]string{"Authorization", "Proxy-Authorization", "Cookie"}, http.CanonicalHeaderKey(name)):
			err = errors.New("a log-in is a secret; use secret_headers")
		case !validValue(value):
			err = errors.New("the value holds a character that a header can't")
		}
		errs = append(errs, rotator.Field("headers."+name, err))
	}
	for name, source := range c.SecretHeaders {
		err := checkHeaderName(name)
		switch {
		case err != nil:
		case seen[http.CanonicalHeaderKey(name)]:
			err = errors.New("the header is in headers, too")
		case strings.EqualFold(name, "Host"):
			err = errors.New("the host can't be a secret; use headers")
		default:
			err = source.Validate()
		}
		errs = append(errs, rotator.Field("secret_headers."+name, err))
	}
	return errors.Join(errs...)
}

func (c Config) checkStatuses() error {
	var errs []error
	check := func(field string, list []int, extra func(int) error) {
		for i, status := range list {
			err := extra(status)
			switch {
			case status < 200 || status > 599:
				err = fmt.Errorf("%d is not the status of an answer", status)
			case status >= 300 && status < 400 && status != http.StatusNotModified:
				err = fmt.Errorf("%d is never seen: redirects on the same host are followed", status)
			}
			errs = append(errs, rotator.Field(fmt.Sprintf("%s[%d]", field, i), err))
		}
	}
	check("expected_status", c.ExpectedStatus, func(status int) error {
		if status == http.StatusUnauthorized {
			return errors.New("401 is always unhealthy: the consumer's credential was refused")
		}
		return nil
	})
	check("unhealthy_status", c.UnhealthyStatus, func(status int) error {
		if slices.Contains(c.withDefaults().ExpectedStatus, status) {
			return fmt.Errorf("%d is an expected status, too", status)
		}
		return nil
	})
	return errors.Join(errs...)
}

func (c Config) checkFingerprint() error {
	switch {
	case c.FingerprintHeader != "" && c.FingerprintJSON != "":
		return rotator.Field("fingerprint_json", errors.New("choose one of fingerprint_header and fingerprint_json"))
	case c.FingerprintHeader != "":
		return rotator.Field("fingerprint_header", checkHeaderName(c.FingerprintHeader))
	case c.FingerprintJSON == "":
		return nil
	case c.Method == http.MethodHead:
		return rotator.Field("fingerprint_json", errors.New("the answer to HEAD has no body; use GET or fingerprint_header"))
	case slices.Contains(strings.Split(c.FingerprintJSON, "."), ""):
		return rotator.Field("fingerprint_json", errors.New("not a dotted path; use one like token.fingerprint"))
	}
	return nil
}

// checkHeaderName knows the characters of a token in RFC 9110, section 5.6.2.
func checkHeaderName(name string) error {
	bad := func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	if name == "" || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%q is not a name of a header", name)
	}
	return nil
}

// validValue tells whether text can be a header's value: no control characters
// but the tab.
func validValue(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
