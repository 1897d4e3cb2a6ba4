package httpissuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/rotatord/rotatord/rotator"
)

// A call is one compiled request. Templates with a mistake are nil.
type call struct {
	name    string
	method  string
	path    *tmpl
	headers map[string]*tmpl // by canonical name
	body    *tmpl            // nil: none
	bodyIn  place
	addType bool // nobody sets Content-Type: it is JSON
	broken  bool // some template has a mistake
}

// templates returns what the call has, by the place in the configuration.
func (c *call) templates() map[string]*tmpl {
	all := map[string]*tmpl{}
	add := func(path string, t *tmpl) {
		if t != nil {
			all[path] = t
		}
	}
	add(c.name+".path", c.path)
	add(c.name+".body", c.body)
	for name, t := range c.headers {
		add(c.name+".headers."+name, t)
	}
	return all
}

func (c *call) uses(root string) bool {
	for _, t := range c.templates() {
		if t.roots[root] {
			return true
		}
	}
	return false
}

// missing reports the params that the templates use and a token lacks.
func (c *call) missing(p rotator.Params) []error {
	var mistakes []error
	all := c.templates()
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if err := all[path].checkParams(p); err != nil {
			mistakes = append(mistakes, rotator.Field(path, err))
		}
	}
	return mistakes
}

// try executes the templates on params, and on placeholders for the rest.
func (c *call) try(p rotator.Params) []error {
	placeholder := func(string) (string, error) { return "secret", nil }
	for _, page := range []cursor{"", "1"} {
		f := fields{
			"params": map[string]string(p), "marker": rotator.Marker("token", "1"), "token": "token",
			"id": "1", "value": "value", "cursor": page,
		}
		if _, mistakes := c.render(f, placeholder); len(mistakes) > 0 {
			return mistakes
		}
	}
	return nil
}

// rendered is a call with every value in its place.
type rendered struct {
	path   string
	header http.Header
	body   string
}

// render executes all templates and checks what came out. Mistakes carry the
// field that they are in.
func (c *call) render(f fields, reveal func(string) (string, error)) (rendered, []error) {
	out := rendered{header: http.Header{}}
	var mistakes []error
	do := func(path string, t *tmpl, check func(string) error) string {
		text := ""
		if t != nil {
			var err error
			if text, err = t.render(f, reveal); err == nil {
				err = check(text)
			}
			if err != nil {
				mistakes = append(mistakes, rotator.Field(path, err))
			}
		}
		return text
	}
	out.path = do(c.name+".path", c.path, checkPath)
	for _, name := range slices.Sorted(maps.Keys(c.headers)) {
		out.header.Set(name, do(c.name+".headers."+name, c.headers[name], checkHeader))
	}
	out.body = do(c.name+".body", c.body, func(text string) error {
		if c.bodyIn == inJSON && !json.Valid([]byte(text)) {
			return errors.New("is not valid JSON once the values are in; write values as {{ json .token }}")
		}
		return nil
	})
	return out, mistakes
}

// checkPath refuses a path that a value has led astray: servers and proxies
// resolve dot segments, some of them after decoding %2F.
func checkPath(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}#", r) }) {
		return errors.New("has a character that a URL can't hold; write it as a percent code")
	}
	path, query, _ := strings.Cut(text, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return errors.New("has a percent sign that is no percent code")
	}
	if _, err := url.ParseQuery(query); err != nil {
		return errors.New("has a query that can't be read")
	}
	for _, segment := range strings.FieldsFunc(decoded, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return errors.New("has a segment of dots only, which leads to another path")
		}
	}
	return nil
}

func checkHeader(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("holds a control character, such as a line break")
	}
	return nil
}

// request makes the request. An error here means that nothing was sent.
func (c *call) request(ctx context.Context, base string, f fields, reveal func(string) (string, error)) (*http.Request, error) {
	out, mistakes := c.render(f, reveal)
	if err := errors.Join(mistakes...); err != nil {
		if rotator.HadNoEffect(err) {
			return nil, err // a secret that can't be read now
		}
		return nil, rotator.Permanent(err)
	}
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader([]byte(out.body))
	}
	req, err := http.NewRequestWithContext(ctx, c.method, base+out.path, body)
	if err != nil {
		// The cause would quote the URL, and with it perhaps a secret.
		return nil, rotator.Permanent(fmt.Errorf("%s.path: makes no URL with base_url", c.name))
	}
	req.Header = out.header
	if c.addType {
		req.Header.Set("Content-Type", "application/json")
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "rotatord")
	}
	return req, nil
}

// headerOK tells whether a header can be set by a template.
func headerOK(name string) error {
	const others = "!#$%&'*+-.^_`|~" // besides letters and digits: RFC 9110, section 5.6.2
	other := func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(others, r)
	}
	if name == "" || strings.ContainsFunc(name, other) {
		return errors.New("is no name of a header")
	}
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer":
		return errors.New("is set by the connection itself")
	}
	return nil
}
