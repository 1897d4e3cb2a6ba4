// Package gcpsecretmanagerstore keeps credentials in Google Cloud's Secret
// Manager: a whole secret, or one string of a secret that is a JSON object.
//
// A write adds a version. Consumers read `latest`, or an alias that the
// configuration names. The alias is moved with the secret's etag, so nobody's
// change in between is lost. For `latest` Secret Manager has no guard at all:
// adding a version knows no condition, and leaves the secret's etag alone. There
// the current version is compared right before the write, and the number of the
// new version tells afterwards whether somebody was in between; then that
// version is put back and the write is a conflict.
//
// It never destroys a version and never deletes a secret, retries nothing by
// itself (the engine does), and opens nothing before the first call.
//
// To add a way to log in, add its case to session.credentials.
package gcpsecretmanagerstore

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"unicode"

	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

// Config is an entry of type gcp-secret-manager.
type Config struct {
	Project         string `yaml:"project,omitempty" json:"project,omitempty" jsonschema:"description=Project of keys that name none"`
	Location        string `yaml:"location,omitempty" json:"location,omitempty" jsonschema:"description=Location of regional secrets\\, for example europe-west1; without it secrets are global"`
	Alias           string `yaml:"alias,omitempty" json:"alias,omitempty" jsonschema:"description=Version alias that consumers read and that a write moves (default: they read latest)"`
	Create          bool   `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Create a secret that does not exist\\, with automatic replication"`
	DisableOld      bool   `yaml:"disable_old,omitempty" json:"disable_old,omitempty" jsonschema:"description=After a write\\, disable the versions older than the one before; nothing is ever destroyed"`
	CredentialsFile string `yaml:"credentials_file,omitempty" json:"credentials_file,omitempty" jsonschema:"description=Credentials file to log in with (default: application default credentials)"`
	Impersonate     string `yaml:"impersonate,omitempty" json:"impersonate,omitempty" jsonschema:"description=E-mail address of a service account to act as"`
	Endpoint        string `yaml:"endpoint,omitempty" json:"endpoint,omitempty" jsonschema:"description=host:port of the API (default: Google's); always with TLS"`
	CAFile          string `yaml:"ca_file,omitempty" json:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust for the API and the log-in (default: those of the system)"`
}

// The forms that the API documents for a secret ID, a version alias and the
// names around them.
var (
	secretID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	aliasName  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
	projectID  = regexp.MustCompile(`^([a-z0-9-]+(\.[a-z0-9-]+)*:)?[a-z0-9][a-z0-9-]{0,62}$`)
	locationID = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
	account    = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*@[a-z0-9.-]+$`)
)

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	return errors.Join(
		matches("project", c.Project, projectID, "a project, like my-project or 123456789"),
		matches("location", c.Location, locationID, "a location, like europe-west1"),
		rotator.Field("alias", checkAlias(c.Alias)),
		matches("impersonate", c.Impersonate, account, "the e-mail address of a service account"),
		rotator.Field("endpoint", checkEndpoint(c.Endpoint)),
	)
}

func matches(field, value string, form *regexp.Regexp, what string) error {
	if value == "" || form.MatchString(value) {
		return nil
	}
	return rotator.Field(field, fmt.Errorf("%q is not %s", value, what))
}

func checkAlias(alias string) error {
	switch {
	case alias == "":
		return nil
	case alias == "latest", alias == "NEW":
		return fmt.Errorf("%q can't be an alias; without alias, consumers read latest", alias)
	case !aliasName.MatchString(alias):
		return fmt.Errorf("%q is not an alias: a letter, then up to 62 letters, digits, - or _", alias)
	}
	return nil
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil || host == "" || port == "" || strings.ContainsAny(host, "/@?#") {
		return errors.New("must be host:port, like secretmanager.googleapis.com:443")
	}
	return nil
}

// address is where the API answers. Regional secrets have an endpoint of their
// own: https://cloud.google.com/secret-manager/regional-secrets/create-regional-secret
func (c Config) address() string {
	switch {
	case c.Endpoint != "":
		return c.Endpoint
	case c.Location != "":
		return "secretmanager." + c.Location + ".rep.googleapis.com:443"
	}
	return "secretmanager.googleapis.com:443"
}

// A place is what a key names.
type place struct {
	key    string
	parent string // projects/P or projects/P/locations/L
	secret string // the ID alone
	field  string // of the JSON object; empty: the whole secret
}

func (p place) name() string { return p.parent + "/secrets/" + p.secret }

// parse reads secret, projects/P/secrets/S or projects/P/locations/L/secrets/S,
// each with or without #field.
func (c Config) parse(key string) (place, error) {
	name, field, hasField := strings.Cut(key, "#")
	p := place{key: key, field: field}
	parts := strings.Split(name, "/")
	project, location := c.Project, c.Location
	switch {
	case len(parts) == 1:
		p.secret = parts[0]
	case len(parts) == 4 && parts[0] == "projects" && parts[2] == "secrets":
		project, location, p.secret = parts[1], "", parts[3]
	case len(parts) == 6 && parts[0] == "projects" && parts[2] == "locations" && parts[4] == "secrets":
		project, location, p.secret = parts[1], parts[3], parts[5]
	}
	var err error
	switch {
	case !secretID.MatchString(p.secret):
		err = errors.New("must be secret, secret#field, or the same with projects/PROJECT/secrets/ before it; a secret's name has letters, digits, - and _")
	case project == "":
		err = errors.New("names no project, and the store has no `project`")
	case !projectID.MatchString(project):
		err = errors.New("what follows projects/ is not a project")
	case location != c.Location:
		err = fmt.Errorf("is in location %q, and the store's `location` is %q; regional secrets need a store of their own", location, c.Location)
	case hasField && (field == "" || strings.ContainsFunc(field, unicode.IsControl)):
		err = errors.New("what follows # must be the name of a field")
	}
	if err != nil {
		return place{}, rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	p.parent = "projects/" + project
	if location != "" {
		p.parent += "/locations/" + location
	}
	return p, nil
}
