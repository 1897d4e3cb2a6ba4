package httpissuer

import (
	_ "embed"

	"github.com/rotatord/rotatord/rotator"
)

// Example is the commented configuration of one issuer of this type.
//
//go:embed example.yaml
var Example string

// Config is an issuer of type http: the admin API and the check.
type Config struct {
	Admin `yaml:",inline"`
	Check *Check `yaml:"check" jsonschema:"description=How to ask the service\\, with the credential itself\\, whether it is live; needed"`
}

// Admin is the admin API alone. Another issuer that knows how to check a
// credential by itself embeds it inline and calls NewAdmin.
type Admin struct {
	BaseURL        string                          `yaml:"base_url" jsonschema:"description=Where the paths of all calls begin; https unless the host is this machine"`
	AllowHTTP      bool                            `yaml:"allow_http,omitempty" jsonschema:"description=Allow a base_url without TLS on another host; credentials then travel in the clear"`
	CAFile         string                          `yaml:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust; default: the system's"`
	Timeout        rotator.Duration                `yaml:"timeout,omitempty" jsonschema:"description=Of one call\\, body included; default 30s"`
	Headers        map[string]string               `yaml:"headers,omitempty" jsonschema:"description=Templates of the headers of every call but the check"`
	Secrets        map[string]rotator.SecretSource `yaml:"secrets,omitempty" jsonschema:"description=Secrets by the name under which templates use them: {{ secret \"name\" }}; read anew at each call"`
	RateLimit      float64                         `yaml:"rate_limit,omitempty" jsonschema:"description=Most calls a second; default 0: no limit"`
	MaxCredentials int                             `yaml:"max_credentials,omitempty" jsonschema:"description=How many credentials a token may have at once at this service; default 0: not known"`
	Create         Create                          `yaml:"create" jsonschema:"description=Makes a credential"`
	List           *List                           `yaml:"list,omitempty" jsonschema:"description=Lists credentials; without it a crash during create needs a person"`
	Revoke         Revoke                          `yaml:"revoke" jsonschema:"description=Ends a credential; 404 and 410 count as ended"`
	Ping           *Ping                           `yaml:"ping,omitempty" jsonschema:"description=A call that changes nothing\\, to see that the log-in works; default: the first page of the list\\, where its path needs no params"`
}

// Create is the call that makes a credential. Templates know .params, .marker and .token.
type Create struct {
	Method    string            `yaml:"method,omitempty" jsonschema:"description=HTTP method; default POST"`
	Path      string            `yaml:"path" jsonschema:"description=Template of path and query; inserted values are escaped"`
	Headers   map[string]string `yaml:"headers,omitempty" jsonschema:"description=Templates of headers besides those of the issuer; default of Content-Type: application/json"`
	Body      string            `yaml:"body,omitempty" jsonschema:"description=Template of the body; put .marker where the service keeps the credential's name"`
	ID        string            `yaml:"id" jsonschema:"description=CEL: the ID of the new credential\\, a string or a whole number"`
	Value     string            `yaml:"value" jsonschema:"description=CEL: its value"`
	Name      string            `yaml:"name,omitempty" jsonschema:"description=CEL: its name; default: the marker"`
	ExpiresAt string            `yaml:"expires_at,omitempty" jsonschema:"description=CEL: when it expires\\, as RFC 3339 or Unix seconds; null: never"`
	Scopes    string            `yaml:"scopes,omitempty" jsonschema:"description=CEL: what it may do\\, a list of strings or one string with spaces between"`
}

// List is the call that lists credentials, page by page. Its path knows
// .params, .token and .cursor, which is empty on the first page.
type List struct {
	Path       string `yaml:"path" jsonschema:"description=Template of path and query; .cursor is empty on the first page"`
	Items      string `yaml:"items" jsonschema:"description=CEL: the list of credentials on the page"`
	ID         string `yaml:"id" jsonschema:"description=CEL over item: its ID\\, a string or a whole number"`
	Name       string `yaml:"name" jsonschema:"description=CEL over item: its name\\, in which the marker is looked for"`
	LastUsedAt string `yaml:"last_used_at,omitempty" jsonschema:"description=CEL over item: when it was last used\\, as RFC 3339 or Unix seconds; null: never"`
	ExpiresAt  string `yaml:"expires_at,omitempty" jsonschema:"description=CEL over item: when it expires\\, as RFC 3339 or Unix seconds; null: never"`
	Scopes     string `yaml:"scopes,omitempty" jsonschema:"description=CEL over item: what it may do"`
	NextCursor string `yaml:"next_cursor,omitempty" jsonschema:"description=CEL: .cursor of the next page; empty or null on the last one; default: there is one page"`
}

// Revoke is the call that ends a credential. Templates know .params, .token and .id.
type Revoke struct {
	Method string `yaml:"method,omitempty" jsonschema:"description=HTTP method; default DELETE"`
	Path   string `yaml:"path" jsonschema:"description=Template of path and query; inserted values are escaped"`
	Body   string `yaml:"body,omitempty" jsonschema:"description=Template of the body"`
}

// Ping is a GET that proves the admin log-in. Its path knows no fields.
type Ping struct {
	Path string `yaml:"path" jsonschema:"description=Path and query of a GET"`
	OK   string `yaml:"ok,omitempty" jsonschema:"description=CEL: true when the log-in works; default: any status from 200 to 299"`
}

// Check is the call that tells whether a credential is live. It is sent
// without the issuer's headers. Templates know .params, .token and .value.
type Check struct {
	Method  string            `yaml:"method,omitempty" jsonschema:"description=HTTP method; default GET"`
	Path    string            `yaml:"path" jsonschema:"description=Template of path and query; inserted values are escaped"`
	Headers map[string]string `yaml:"headers,omitempty" jsonschema:"description=Templates of the only headers of this call"`
	Body    string            `yaml:"body,omitempty" jsonschema:"description=Template of the body\\, for services that are asked about a credential"`
	Live    string            `yaml:"live" jsonschema:"description=CEL: true when the answer proves the credential live; 408\\, 429 and 5xx never do"`
	Dead    string            `yaml:"dead" jsonschema:"description=CEL: true when the answer proves it dead; 408\\, 429 and 5xx never do"`
	Scopes  string            `yaml:"scopes,omitempty" jsonschema:"description=CEL: what a live credential may do\\, a list of strings or one string with spaces between"`
}

// Validate finds every mistake in the settings, the templates and the expressions. It is offline.
func (c Config) Validate() error {
	_, err := compile(c, true)
	return err
}

// CheckParams finds, offline, what the templates miss in a token's params.
func (c Config) CheckParams(p rotator.Params) error {
	compiled, err := compile(c, true)
	if err != nil {
		return err
	}
	return compiled.checkParams(p)
}

// Validate finds every mistake in the admin API's part. It is offline.
func (a Admin) Validate() error {
	_, err := compile(Config{Admin: a}, false)
	return err
}

// CheckParams finds, offline, what the templates miss in a token's params.
func (a Admin) CheckParams(p rotator.Params) error {
	compiled, err := compile(Config{Admin: a}, false)
	if err != nil {
		return err
	}
	return compiled.checkParams(p)
}
