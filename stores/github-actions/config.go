// Package githubactionsstore keeps credentials as GitHub Actions secrets: of a
// repository, of an environment or of an organisation.
//
// GitHub never gives a value back: this store can only be written, and its
// evidence is the time at which GitHub says that the secret was last updated.
// That time is what guards the next write too. GitHub has no check-and-set, so
// the time is compared right before the write, and another writer in that very
// instant can be lost.
//
// It deletes nothing, makes no repository and no environment, changes neither
// the visibility of an organisation's secret nor the repositories that were
// selected for it, and retries nothing by itself (the engine does).
//
// To add another kind of place, add its form to parseKey and its row to
// place.kind.
package githubactionsstore

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

const (
	defaultBaseURL    = "https://api.github.com"
	defaultVisibility = "private" // as the gh command has it
)

// Config is an entry of type github-actions.
type Config struct {
	BaseURL    string `yaml:"base_url,omitempty" json:"base_url,omitempty" jsonschema:"description=Address of the API (default https://api.github.com); of GitHub Enterprise Server https://HOST/api/v3"`
	AllowHTTP  bool   `yaml:"allow_http,omitempty" json:"allow_http,omitempty" jsonschema:"description=Allow a base_url without TLS on another host; the log-in then travels in the clear"`
	CAFile     string `yaml:"ca_file,omitempty" json:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust (default: those of the system)"`
	Auth       Auth   `yaml:"auth" json:"auth" jsonschema:"required,description=How to log in"`
	Create     bool   `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Make a secret that does not exist yet (default false: that is an error)"`
	Visibility string `yaml:"visibility,omitempty" json:"visibility,omitempty" jsonschema:"enum=all,enum=private,enum=selected,description=Who may use an organisation's secret that is made by create: all\\, private (the default) or selected (nobody\\, until a person selects repositories)"`
}

// Auth says how to log in.
type Auth struct {
	Method         string               `yaml:"method" json:"method" jsonschema:"required,enum=token,enum=app,description=token or app"`
	Token          rotator.SecretSource `yaml:"token,omitempty" json:"token,omitzero" jsonschema:"description=For token: a fine-grained or classic personal access token; read anew when it is refused"`
	AppID          string               `yaml:"app_id,omitempty" json:"app_id,omitempty" jsonschema:"description=For app: the App's client ID or its App ID"`
	InstallationID int64                `yaml:"installation_id,omitempty" json:"installation_id,omitempty" jsonschema:"description=For app: the ID of its installation in the account\\, the number at the end of the installation's page"`
	PrivateKey     rotator.SecretSource `yaml:"private_key,omitempty" json:"private_key,omitzero" jsonschema:"description=For app: the App's private key (PEM); read anew at each log-in"`
}

// methods maps each way to log in to the fields that it needs.
func methods() map[string][]string {
	return map[string][]string{
		"token": {"token"},
		"app":   {"app_id", "installation_id", "private_key"},
	}
}

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	return errors.Join(
		rotator.Field("base_url", checkAddress(c.withDefaults().BaseURL, c.AllowHTTP)),
		rotator.Field("visibility", checkVisibility(c.withDefaults().Visibility)),
		c.Auth.validate(),
	)
}

func (c Config) withDefaults() Config {
	if c.BaseURL == "" {
		c.BaseURL = defaultBaseURL
	}
	if c.Visibility == "" {
		c.Visibility = defaultVisibility
	}
	return c
}

func checkAddress(address string, allowHTTP bool) error {
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Host == "":
		return errors.New("must be a URL like https://github.example.com/api/v3")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return errors.New("must not have a user, a query or a fragment")
	case parsed.Host == "github.com":
		return errors.New("is the address of the pages; leave base_url out for github.com")
	}
	return webclient.CheckTLS(parsed, allowHTTP)
}

func checkVisibility(visibility string) error {
	if !slices.Contains([]string{"all", "private", "selected"}, visibility) {
		return fmt.Errorf("%q is not one of all, private, selected", visibility)
	}
	return nil
}

func (a Auth) validate() error {
	set := map[string]bool{
		"token": !a.Token.IsZero(), "app_id": a.AppID != "", "installation_id": a.InstallationID != 0, "private_key": !a.PrivateKey.IsZero(),
	}
	needs, known := methods()[a.Method]
	if !known {
		return rotator.Field("auth.method", fmt.Errorf("%q is not one of %s", a.Method, strings.Join(slices.Sorted(maps.Keys(methods())), ", ")))
	}
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(set)) {
		switch needed := slices.Contains(needs, name); {
		case needed && !set[name]:
			mistakes = append(mistakes, rotator.Field("auth."+name, fmt.Errorf("is needed for method %s", a.Method)))
		case set[name] && !needed:
			mistakes = append(mistakes, rotator.Field("auth."+name, fmt.Errorf("does not go with method %s", a.Method)))
		}
	}
	if a.InstallationID < 0 {
		mistakes = append(mistakes, rotator.Field("auth.installation_id", errors.New("must be a positive number")))
	}
	if set["token"] {
		mistakes = append(mistakes, rotator.Field("auth.token", a.Token.Validate()))
	}
	if set["private_key"] {
		mistakes = append(mistakes, rotator.Field("auth.private_key", a.PrivateKey.Validate()))
	}
	return errors.Join(mistakes...)
}
