// Package gitlabcistore keeps credentials as CI/CD variables of GitLab: of a
// project or of a group, for all environments or for one scope.
//
// A write changes the value of a variable and keeps all else of it: whether it is
// protected, masked, hidden, raw or a file, its scope and its description. GitLab
// has neither versions nor check-and-set: a version is named by a hash of value
// and attributes, which is compared right before the write, and another writer in
// that very instant can be lost.
//
// The value of a variable that is masked and hidden can't be read. Such a
// variable can only be written, and GitLab gives no evidence of a write at all.
//
// It deletes nothing, makes no project and no group, and retries nothing by
// itself (the engine does).
//
// To add another kind of place, add its form to parse and its case to the calls
// in variable.go.
package gitlabcistore

import (
	_ "embed"
	"errors"
	"net/url"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

const defaultBaseURL = "https://gitlab.com"

// Config is an entry of type gitlab-ci.
type Config struct {
	BaseURL   string               `yaml:"base_url,omitempty" json:"base_url,omitempty" jsonschema:"description=Address of GitLab (default https://gitlab.com)\\, with its path if it has one"`
	AllowHTTP bool                 `yaml:"allow_http,omitempty" json:"allow_http,omitempty" jsonschema:"description=Allow a base_url without TLS on another host; the token and all values then travel in the clear"`
	CAFile    string               `yaml:"ca_file,omitempty" json:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust (default: those of the system)"`
	Token     rotator.SecretSource `yaml:"token" json:"token" jsonschema:"required,description=A personal\\, project or group access token with the scope api; read anew at each call"`
	Create    bool                 `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Make a variable that does not exist yet (default false: that is an error)"`
	Protected bool                 `yaml:"protected,omitempty" json:"protected,omitempty" jsonschema:"description=For create: only jobs on protected branches and tags get the variable"`
	Masked    bool                 `yaml:"masked,omitempty" json:"masked,omitempty" jsonschema:"description=For create: GitLab takes the value out of job logs"`
	Hidden    bool                 `yaml:"hidden,omitempty" json:"hidden,omitempty" jsonschema:"description=For create: masked\\, and nobody can read the value any more\\, rotatord included"`
}

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	mistakes := []error{
		rotator.Field("base_url", checkAddress(c.withDefaults().BaseURL, c.AllowHTTP)),
		rotator.Field("token", c.Token.Validate()),
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"protected", c.Protected}, {"masked", c.Masked}, {"hidden", c.Hidden}} {
		if flag.set && !c.Create {
			mistakes = append(mistakes, rotator.Field(flag.name, errors.New("goes with create: true; a variable that exists keeps what it has")))
		}
	}
	return errors.Join(mistakes...)
}

func (c Config) withDefaults() Config {
	if c.BaseURL == "" {
		c.BaseURL = defaultBaseURL
	}
	return c
}

func checkAddress(address string, allowHTTP bool) error {
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Host == "":
		return errors.New("must be a URL like https://gitlab.example.com")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return errors.New("must not have a user, a query or a fragment")
	}
	return webclient.CheckTLS(parsed, allowHTTP)
}
