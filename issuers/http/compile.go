package httpissuer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// The compiled calls: what to send, and what to read from the answer. An
// optional expression that isn't configured is nil.
type (
	createCall struct {
		*call
		id, value, name, expiresAt, scopes *expr
	}
	listCall struct {
		*call
		items, id, name, lastUsedAt, expiresAt, scopes, nextCursor *expr
	}
	pingCall struct {
		*call
		ok *expr // nil: any 2xx
	}
	checkCall struct {
		*call
		live, dead, scopes *expr
	}
)

type compiledConfig struct {
	base   string // without a final slash
	create createCall
	list   *listCall
	revoke *call
	ping   *pingCall
	check  *checkCall
}

// compiler gathers the mistakes of a whole configuration.
type compiler struct {
	answer, item *cel.Env
	declared     map[string]bool  // secrets
	shared       map[string]*tmpl // the issuer's headers
	contentType  string           // among them
	mistakes     []error
}

func compile(c Config, withCheck bool) (*compiledConfig, error) {
	answer, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	item, err := answer.Extend(cel.Variable("item", cel.DynType))
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	k := &compiler{answer: answer, item: item, declared: map[string]bool{}}
	out := &compiledConfig{base: strings.TrimSuffix(c.BaseURL, "/")}
	k.settings(c.Admin)
	k.shared, k.contentType = k.headers("headers", c.Headers, nil, []string{"params", "token"})
	out.create = k.create(c.Create)
	out.list = k.list(c.List)
	out.revoke = k.revoke(c.Revoke)
	out.ping = k.ping(c.Ping)
	switch {
	case c.Check != nil:
		out.check = k.check(*c.Check)
	case withCheck:
		k.fail("check", errors.New("is missing; say how the service is asked whether a credential is live"))
	}
	if err := errors.Join(k.mistakes...); err != nil {
		return nil, err
	}
	return out, nil
}

func (k *compiler) fail(path string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			k.fail(path, one)
		}
		return
	}
	if err != nil {
		k.mistakes = append(k.mistakes, rotator.Field(path, err))
	}
}

func (k *compiler) settings(a Admin) {
	k.fail("base_url", checkBase(a.BaseURL, a.AllowHTTP))
	if a.MaxCredentials < 0 {
		k.fail("max_credentials", errors.New("can't be negative"))
	}
	if a.RateLimit < 0 || math.IsNaN(a.RateLimit) || math.IsInf(a.RateLimit, 0) {
		k.fail("rate_limit", errors.New("must be a number of calls a second"))
	}
	for _, name := range slices.Sorted(maps.Keys(a.Secrets)) {
		k.declared[name] = true
		k.fail("secrets."+name, a.Secrets[name].Validate())
	}
}

// checkBase never prints the URL: it may carry a log-in by mistake.
func checkBase(text string, allowHTTP bool) error {
	if text == "" {
		return errors.New("is missing")
	}
	base, err := url.Parse(text)
	switch {
	case err != nil, base.Host == "", base.Scheme != "https" && base.Scheme != "http":
		return errors.New("is no URL; write it like https://admin.example.com")
	case base.User != nil:
		return errors.New("must not hold a user or password; put the log-in into headers, with a secret")
	case base.RawQuery != "" || base.ForceQuery || strings.Contains(text, "#"):
		return errors.New("must not hold a query or a fragment; put queries into the paths of the calls")
	}
	return webclient.CheckTLS(base, allowHTTP)
}

func (k *compiler) create(c Create) createCall {
	roots := []string{"params", "marker", "token"}
	out := createCall{call: k.call("create", parts{
		c.Method, http.MethodPost, writing(), c.Path, c.Headers, c.Body, roots, true,
	})}
	if !out.broken && !out.uses("marker") {
		k.fail("create.body", errors.New("nothing puts .marker into the credential's name; without it a crash leaves a credential that nobody finds"))
	}
	out.id = k.needed(k.answer, "create.id", c.ID, anID)
	out.value = k.needed(k.answer, "create.value", c.Value, aText)
	out.name = k.optional(k.answer, "create.name", c.Name, aText)
	out.expiresAt = k.optional(k.answer, "create.expires_at", c.ExpiresAt, aTime)
	out.scopes = k.optional(k.answer, "create.scopes", c.Scopes, scopes)
	return out
}

func (k *compiler) list(c *List) *listCall {
	if c == nil {
		return nil
	}
	roots := []string{"params", "token", "cursor"}
	out := &listCall{call: k.call("list", parts{"", http.MethodGet, reading(), c.Path, nil, "", roots, true})}
	out.items = k.needed(k.answer, "list.items", c.Items, aList)
	out.id = k.needed(k.item, "list.id", c.ID, anID)
	out.name = k.needed(k.item, "list.name", c.Name, aText)
	out.lastUsedAt = k.optional(k.item, "list.last_used_at", c.LastUsedAt, aTime)
	out.expiresAt = k.optional(k.item, "list.expires_at", c.ExpiresAt, aTime)
	out.scopes = k.optional(k.item, "list.scopes", c.Scopes, scopes)
	paged, err := k.answer.Extend(cel.Variable("cursor", cel.StringType))
	if err != nil {
		paged = k.answer
	}
	out.nextCursor = k.optional(paged, "list.next_cursor", c.NextCursor, anID)
	switch asks := out.uses("cursor"); {
	case asks && c.NextCursor == "":
		k.fail("list.next_cursor", errors.New("is missing; the path uses .cursor"))
	case !asks && !out.broken && c.NextCursor != "":
		k.fail("list.path", errors.New("must use .cursor, since there is a next_cursor"))
	}
	return out
}

func (k *compiler) revoke(c Revoke) *call {
	roots := []string{"params", "token", "id"}
	out := k.call("revoke", parts{c.Method, http.MethodDelete, writing(), c.Path, nil, c.Body, roots, true})
	if !out.broken && !out.uses("id") {
		k.fail("revoke.path", errors.New("neither path nor body uses .id"))
	}
	return out
}

func (k *compiler) ping(c *Ping) *pingCall {
	if c == nil {
		return nil
	}
	out := &pingCall{call: k.call("ping", parts{"", http.MethodGet, reading(), c.Path, nil, "", nil, true})}
	out.ok = k.optional(k.answer, "ping.ok", c.OK, aBool)
	if out.uses("params") || out.uses("token") {
		k.fail("ping", errors.New("belongs to no token, but the issuer's headers use .params or .token"))
	}
	return out
}

func (k *compiler) check(c Check) *checkCall {
	roots := []string{"params", "token", "value"}
	out := &checkCall{call: k.call("check", parts{c.Method, http.MethodGet, reading(), c.Path, c.Headers, c.Body, roots, false})}
	if !out.broken && !out.uses("value") {
		k.fail("check.headers", errors.New("nothing uses .value; a check asks with the credential itself"))
	}
	out.live = k.needed(k.answer, "check.live", c.Live, aBool)
	out.dead = k.needed(k.answer, "check.dead", c.Dead, aBool)
	out.scopes = k.optional(k.answer, "check.scopes", c.Scopes, scopes)
	return out
}

func (k *compiler) needed(env *cel.Env, path, text string, want kind) *expr {
	if text == "" {
		k.fail(path, fmt.Errorf("is missing; it is a CEL expression that yields %s", want))
		return nil
	}
	return k.optional(env, path, text, want)
}

func (k *compiler) optional(env *cel.Env, path, text string, want kind) *expr {
	if text == "" {
		return nil
	}
	compiled, err := compileExpr(env, path, text, want)
	k.fail(path, err)
	return compiled
}

// Creating by GET is out: HTTP clients and proxies repeat a GET.
func writing() []string {
	return []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
}

func reading() []string { return append(writing(), http.MethodGet, http.MethodHead) }

// parts are one call as it is configured.
type parts struct {
	method, standard string // standard: where method is empty
	methods          []string
	path             string
	headers          map[string]string
	body             string
	roots            []string // fields that its templates may use
	login            bool     // send the issuer's headers
}

func (k *compiler) call(name string, p parts) *call {
	out := &call{name: name, method: p.method}
	if out.method == "" {
		out.method = p.standard
	}
	if !slices.Contains(p.methods, out.method) {
		k.fail(name+".method", fmt.Errorf("must be one of %s", strings.Join(p.methods, ", ")))
	}
	switch {
	case p.path == "":
		k.fail(name+".path", errors.New("is missing"))
	case !strings.HasPrefix(p.path, "/"):
		k.fail(name+".path", errors.New("must begin with a slash"))
	default:
		out.path = k.template(name+".path", p.path, inPath, p.roots)
	}
	var shared map[string]*tmpl
	contentType := ""
	if p.login {
		shared, contentType = k.shared, k.contentType
	}
	var own string
	out.headers, own = k.headers(name+".headers", p.headers, shared, p.roots)
	if own != "" {
		contentType = own
	}
	if p.body != "" {
		out.bodyIn = bodyPlace(contentType)
		out.body = k.template(name+".body", p.body, out.bodyIn, p.roots)
		out.addType = contentType == ""
	}
	out.broken = len(out.templates()) < 1+len(out.headers) || p.body != "" && out.body == nil
	k.tryOut(out)
	return out
}

// bodyPlace says how values are escaped in a body of a content type.
func bodyPlace(contentType string) place {
	switch {
	case contentType == "", strings.Contains(contentType, "json"):
		return inJSON
	case strings.Contains(contentType, "x-www-form-urlencoded"):
		return inForm
	}
	return verbatim
}

// headers compiles headers on top of those shared by all calls, and returns
// the content type that they set themselves.
func (k *compiler) headers(path string, own map[string]string, shared map[string]*tmpl, roots []string) (map[string]*tmpl, string) {
	all := map[string]*tmpl{}
	maps.Copy(all, shared)
	contentType := ""
	for _, name := range slices.Sorted(maps.Keys(own)) {
		k.fail(path+"."+name, headerOK(name))
		canonical := http.CanonicalHeaderKey(name)
		if canonical == "Content-Type" {
			contentType = strings.ToLower(own[name])
		}
		all[canonical] = k.template(path+"."+name, own[name], verbatim, roots)
	}
	return all, contentType
}

func (k *compiler) template(path, text string, to place, roots []string) *tmpl {
	parsed, err := parseTemplate(text, to, roots, k.declared)
	k.fail(path, err)
	if err != nil {
		return nil
	}
	return parsed
}

// tryOut executes a call's templates on placeholders.
func (k *compiler) tryOut(c *call) {
	params := map[string]string{}
	for _, t := range c.templates() {
		for name := range t.params {
			params[name] = "1" // a number is valid JSON within quotes and without
		}
	}
	k.mistakes = append(k.mistakes, c.try(params)...)
}

// checkParams executes every call's templates on a token's params.
func (c *compiledConfig) checkParams(p rotator.Params) error {
	var mistakes []error
	calls := []*call{c.create.call, c.revoke}
	if c.list != nil {
		calls = append(calls, c.list.call)
	}
	if c.check != nil {
		calls = append(calls, c.check.call)
	}
	for _, one := range calls {
		missing := one.missing(p)
		mistakes = append(mistakes, missing...)
		if len(missing) == 0 {
			mistakes = append(mistakes, one.try(p)...)
		}
	}
	return errors.Join(mistakes...)
}
