// Package vaultstore keeps credentials in HashiCorp Vault's KV engine, version 1
// or 2, one field of a secret each.
//
// A write changes one field and keeps the others. On version 2 check-and-set
// guards it. Version 1 has no such thing: the secret is compared right before
// the write, and another writer in that very instant can be lost.
//
// It never deletes, destroys or undeletes anything, takes no setting from
// VAULT_* variables, retries nothing by itself (the engine does), and has no
// goroutine of its own: log-ins are renewed when a call needs them. So a plain
// token with a short life that nobody uses meanwhile expires; every other way to
// log in logs in again.
//
// To add a way to log in, add its row to the methods and its case to
// session.method. What Vault refuses with is explained by the table of refusals.
package vaultstore

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

const (
	defaultMount   = "secret"
	defaultJWTFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

// Config is an entry of type vault.
type Config struct {
	Address   string `yaml:"address" json:"address" jsonschema:"required,description=URL of Vault\\, for example https://vault:8200"`
	AllowHTTP bool   `yaml:"allow_http,omitempty" json:"allow_http,omitempty" jsonschema:"description=Allow an address without TLS on another host; the log-in and all values then travel in the clear"`
	Mount     string `yaml:"mount,omitempty" json:"mount,omitempty" jsonschema:"description=Path of the KV mount (default secret)"`
	KVVersion int    `yaml:"kv_version,omitempty" json:"kv_version,omitempty" jsonschema:"enum=0,enum=1,enum=2,description=Version of the KV engine\\, 1 or 2; asked from Vault when not set"`
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema:"description=Namespace (Vault Enterprise\\, HCP and OpenBao)"`
	CAFile    string `yaml:"ca_file,omitempty" json:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust (default: those of the system)"`
	Auth      Auth   `yaml:"auth" json:"auth" jsonschema:"required,description=How to log in"`
}

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	return errors.Join(
		rotator.Field("address", checkAddress(c.Address, c.AllowHTTP)),
		rotator.Field("mount", checkPath(c.withDefaults().Mount)),
		rotator.Field("kv_version", checkVersion(c.KVVersion)),
		c.Auth.validate(),
	)
}

func (c Config) withDefaults() Config {
	if c.Mount == "" {
		c.Mount = defaultMount
	}
	c.Mount = strings.Trim(c.Mount, "/")
	if c.Auth.Mount == "" {
		c.Auth.Mount = c.Auth.Method
	}
	c.Auth.Mount = strings.Trim(c.Auth.Mount, "/")
	if c.Auth.Method == "kubernetes" && c.Auth.JWTFile == "" {
		c.Auth.JWTFile = defaultJWTFile
	}
	return c
}

func checkAddress(address string, allowHTTP bool) error {
	parsed, err := url.Parse(address)
	switch {
	case address == "":
		return errors.New("is needed, for example https://vault:8200")
	case err != nil:
		return errors.New("is not a URL")
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Host == "":
		return errors.New("must be a URL like https://vault:8200")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return errors.New("must not have a user, a query or a fragment")
	}
	return webclient.CheckTLS(parsed, allowHTTP)
}

func checkVersion(version int) error {
	if version < 0 || version > 2 {
		return fmt.Errorf("%d is not a version of the KV engine; use 1 or 2", version)
	}
	return nil
}
