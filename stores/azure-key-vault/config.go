// Package azurekeyvaultstore keeps credentials in Azure Key Vault: a whole
// secret, or one string of a secret that is a JSON object.
//
// A write makes a new version, which consumers that name no version read at
// once; content type, tags, expiry and not-before are those of the version
// before. Key Vault has no compare-and-set: the current version is compared right
// before the write, and the list of versions tells afterwards whether somebody
// was in between; what that one wrote is put back then, and the write is a
// conflict.
//
// It never deletes, recovers, purges or disables anything, adds no tag of its
// own, retries nothing by itself (the engine does), and opens nothing before the
// first call.
//
// To add a way to log in, add its row to the methods and its case to
// session.credential.
package azurekeyvaultstore

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

// Config is an entry of type azure-key-vault.
type Config struct {
	VaultURL string `yaml:"vault_url" json:"vault_url" jsonschema:"required,description=URL of the vault\\, for example https://my-vault.vault.azure.net"`
	Create   bool   `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Create a secret that does not exist"`
	CAFile   string `yaml:"ca_file,omitempty" json:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust for the vault and the log-in (default: those of the system)"`
	Auth     Auth   `yaml:"auth,omitempty" json:"auth,omitzero" jsonschema:"description=How to log in (default: method default)"`
}

// Auth says how to log in.
type Auth struct {
	Method       string               `yaml:"method,omitempty" json:"method,omitempty" jsonschema:"enum=default,enum=client_secret,enum=workload_identity,enum=managed_identity,description=default (environment\\, workload identity\\, managed identity\\, Azure CLI: the first that is there)\\, client_secret\\, workload_identity or managed_identity"`
	TenantID     string               `yaml:"tenant_id,omitempty" json:"tenant_id,omitempty" jsonschema:"description=ID of the tenant; for client_secret\\, and for default and workload_identity where the environment does not say"`
	ClientID     string               `yaml:"client_id,omitempty" json:"client_id,omitempty" jsonschema:"description=ID of the application or\\, for managed_identity\\, of a user-assigned identity"`
	ClientSecret rotator.SecretSource `yaml:"client_secret,omitempty" json:"client_secret,omitzero" jsonschema:"description=For client_secret: the secret; read anew at each log-in"`
	TokenFile    string               `yaml:"token_file,omitempty" json:"token_file,omitempty" jsonschema:"description=For workload_identity: the file with the service account's token (default: AZURE_FEDERATED_TOKEN_FILE)"`
}

const defaultMethod = "default"

// methods maps each way to log in to the fields that it needs and may have.
func methods() map[string]struct{ needs, may []string } {
	return map[string]struct{ needs, may []string }{
		defaultMethod:       {may: []string{"tenant_id"}},
		"client_secret":     {needs: []string{"tenant_id", "client_id", "client_secret"}},
		"workload_identity": {may: []string{"tenant_id", "client_id", "token_file"}},
		"managed_identity":  {may: []string{"client_id"}},
	}
}

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	return errors.Join(rotator.Field("vault_url", checkURL(c.VaultURL)), c.withDefaults().Auth.validate())
}

func (c Config) withDefaults() Config {
	c.VaultURL = strings.TrimSuffix(c.VaultURL, "/")
	if c.Auth.Method == "" {
		c.Auth.Method = defaultMethod
	}
	return c
}

func checkURL(text string) error {
	parsed, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("is needed, for example https://my-vault.vault.azure.net")
	case err != nil || parsed.Scheme != "https" || parsed.Host == "":
		return errors.New("must be a URL like https://my-vault.vault.azure.net")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" || strings.Trim(parsed.Path, "/") != "":
		return errors.New("must not have a user, a path, a query or a fragment")
	}
	return nil
}

func (a Auth) validate() error {
	set := map[string]bool{
		"tenant_id": a.TenantID != "", "client_id": a.ClientID != "", "client_secret": !a.ClientSecret.IsZero(), "token_file": a.TokenFile != "",
	}
	fields, known := methods()[a.Method]
	if !known {
		return rotator.Field("auth.method", fmt.Errorf("%q is not one of %s", a.Method, strings.Join(slices.Sorted(maps.Keys(methods())), ", ")))
	}
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(set)) {
		switch needed := slices.Contains(fields.needs, name); {
		case needed && !set[name]:
			mistakes = append(mistakes, rotator.Field("auth."+name, fmt.Errorf("is needed for method %s", a.Method)))
		case set[name] && !needed && !slices.Contains(fields.may, name):
			mistakes = append(mistakes, rotator.Field("auth."+name, fmt.Errorf("does not go with method %s", a.Method)))
		}
	}
	if set["client_secret"] {
		mistakes = append(mistakes, rotator.Field("auth.client_secret", a.ClientSecret.Validate()))
	}
	return errors.Join(mistakes...)
}

// secretName is the form that Key Vault documents for the name of a secret.
var secretName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)

// A place is what a key names.
type place struct {
	key, secret string
	field       string // of the JSON object; empty: the whole secret
}

// parse reads name or name#field.
func parse(key string) (place, error) {
	name, field, hasField := strings.Cut(key, "#")
	var err error
	switch {
	case !secretName.MatchString(name):
		err = errors.New("must be name or name#field; a name has letters, digits and -, at most 127")
	case hasField && (field == "" || strings.ContainsFunc(field, unicode.IsControl)):
		err = errors.New("what follows # must be the name of a field")
	}
	if err != nil {
		return place{}, rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	return place{key: key, secret: name, field: field}, nil
}
