// Package instasent is the issuer for tokens of the Instasent Ingest and Product
// API. It knows how to check a credential there. Instasent publishes no API for
// tokens [D, V, T], so by default a person generates and deletes them in the
// dashboard; an account that has been given an admin API declares it under
// admin with the keys of an issuer of type http.
//
// It never writes to the API, never logs or passes on an answer (they hold
// billing data [V, T]), and is sparing with calls: their limit is per datasource
// and endpoint, so each check takes from the workers' budget [D].
//
// A comment about the service ends in the grade of its source: [D] Instasent's
// documentation, [V] connector code by Instasent, [T] third parties, [I]
// inferred. Nothing was tried on a live account; where grades disagree, both
// answers are understood.
//
// To add a kind of token, add it to the kinds below, to target, which says what
// is asked, and to read, which reads the answer.
package instasent

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"unicode"

	"github.com/rotatord/rotatord/internal/webclient"
	httpissuer "github.com/rotatord/rotatord/issuers/http"
	"github.com/rotatord/rotatord/rotator"
)

// Example is the commented configuration of one issuer of this type.
//
//go:embed example.yaml
var Example string

// defaultURL is where the documentation puts the API; no public sandbox is known [D].
const defaultURL = "https://api.instasent.com/v1"

// Config is an issuer of type instasent.
type Config struct {
	APIURL    string           `yaml:"api_url,omitempty" jsonschema:"description=Base URL of the API; default https://api.instasent.com/v1"`
	AllowHTTP bool             `yaml:"allow_http,omitempty" jsonschema:"description=Allow an api_url without TLS on another host; credentials then travel in the clear"`
	CAFile    string           `yaml:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust for api_url; default: the system's"`
	Timeout   rotator.Duration `yaml:"timeout,omitempty" jsonschema:"description=Of one check\\, body included; default 30s"`
	Admin     Admin            `yaml:"admin,omitempty" jsonschema:"description=Who generates and deletes tokens; default {type: manual}"`
}

// Admin says who generates and deletes tokens.
type Admin struct {
	Type string           `yaml:"type,omitempty" jsonschema:"enum=manual,enum=http,description=manual: a person in the dashboard; http: an admin API; default manual"`
	HTTP httpissuer.Admin `yaml:",inline"`
}

const (
	adminManual = "manual"
	adminHTTP   = "http"
)

func (c Config) withDefaults() Config {
	if c.APIURL == "" {
		c.APIURL = defaultURL
	}
	if c.Admin.Type == "" {
		c.Admin.Type = adminManual
	}
	return c
}

// Validate finds every mistake in the settings. It is offline.
func (c Config) Validate() error {
	c = c.withDefaults()
	return errors.Join(
		rotator.Field("api_url", checkURL(c.APIURL, c.AllowHTTP)),
		c.Admin.validate(),
	)
}

func (a Admin) validate() error {
	switch {
	case a.Type == adminHTTP:
		return rotator.Field("admin", a.HTTP.Validate())
	case a.Type != adminManual:
		return rotator.Field("admin.type", fmt.Errorf("no admin of type %q; use manual or http", a.Type))
	case !reflect.ValueOf(a.HTTP).IsZero():
		return rotator.Field("admin.type", errors.New("admin has settings of an admin API; they need type: http"))
	}
	return nil
}

func checkURL(text string, allowHTTP bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("not a URL; use one like " + defaultURL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must have no user, query or fragment")
	}
	return webclient.CheckTLS(u, allowHTTP)
}

// A token's params.
const (
	paramProject    = "project"
	paramDatasource = "datasource"
	paramKind       = "kind"
)

// The kinds of tokens that the Ingest API accepts [D].
const (
	kindDatasource = "datasource" // for one datasource only, generated there [D]
	kindProduct    = "product"    // for a project, with the scopes ticked at creation [D]
)

// checkParams finds, offline, what a token's params lack. Without an admin API
// no template can use others than these three.
func checkParams(p rotator.Params, others bool) error {
	var mistakes []error
	field := func(name string, err error) { mistakes = append(mistakes, rotator.Field(name, err)) }
	kind := kindOf(p)
	if kind != kindDatasource && kind != kindProduct {
		field(paramKind, fmt.Errorf("no kind %q; use datasource or product", kind))
	}
	field(paramProject, checkUID(p[paramProject], true))
	field(paramDatasource, checkUID(p[paramDatasource], kind == kindDatasource))
	for name := range p {
		if name != paramProject && name != paramDatasource && name != paramKind && !others {
			field(name, errors.New("no such param; there are project, datasource and kind"))
		}
	}
	return errors.Join(mistakes...)
}

func kindOf(p rotator.Params) string {
	if p[paramKind] == "" {
		return kindDatasource
	}
	return p[paramKind]
}

// checkUID takes what can be one segment of a path. The API wants UIDs there
// (proj_xxx, ds_xxx), not its internal IDs [D, T]; their form is not documented.
func checkUID(uid string, needed bool) error {
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`/\?#%`, r)
	}
	switch {
	case uid == "" && needed:
		return errors.New("is missing; the dashboard shows it")
	case uid == "." || uid == ".." || strings.ContainsFunc(uid, odd):
		return fmt.Errorf("%q is no UID; use the one that the dashboard shows", uid)
	}
	return nil
}
