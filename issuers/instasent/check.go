package instasent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A target is what a credential is checked against.
type target struct {
	project, datasource string // UIDs; without a datasource the project itself is asked
	path                string
}

// targetOf picks the cheapest call that proves the credential: the datasource's
// stream, for both kinds of tokens [D, V]; for a Product token without a
// datasource its project [D, T].
func targetOf(p rotator.Params) target {
	t := target{project: p[paramProject], datasource: p[paramDatasource]}
	t.path = "/project/" + url.PathEscape(t.project)
	if t.datasource != "" {
		t.path += "/datasource/" + url.PathEscape(t.datasource) + "/stream"
	}
	return t
}

func (t target) String() string {
	if t.datasource == "" {
		return fmt.Sprintf("project %q", t.project)
	}
	return fmt.Sprintf("project %q, datasource %q", t.project, t.datasource)
}

// seen is what a 200 tells of the credential and of the place it works at.
type seen struct {
	project, datasource place
	scopes              []string // nil: not told
}

// Check implements rotator.Issuer with one GET.
func (c *checker) Check(ctx context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	verdict, _, err := c.look(ctx, r)
	return verdict, err
}

// Scopes implements rotator.Scoper: the token's type as "type:<type>" and its
// scopes, sorted, so that two credentials can be compared. nil without an error
// means that the service did not tell.
func (c *checker) Scopes(ctx context.Context, r rotator.CheckRequest) ([]string, error) {
	verdict, found, err := c.look(ctx, r)
	switch {
	case err != nil:
		return nil, err
	case verdict != rotator.Live:
		return nil, rotator.Permanent(errors.New("read scopes: the credential is " + string(verdict)))
	}
	return found.scopes, nil
}

func (c *checker) look(ctx context.Context, r rotator.CheckRequest) (rotator.Verdict, seen, error) {
	if err := checkParams(r.Params, true); err != nil {
		return rotator.Unknown, seen{}, rotator.Permanent(fmt.Errorf("read params: %w", err))
	}
	value := r.Value.Reveal()
	if value == "" || strings.ContainsFunc(value, func(char rune) bool { return char <= ' ' || char > '~' }) {
		return rotator.Unknown, seen{}, rotator.Permanent(
			errors.New("check credential: the value is empty or has characters that no token has, such as a line break"))
	}
	t := targetOf(r.Params)
	answer, err := c.get(ctx, t.path, value)
	if err != nil {
		return rotator.Unknown, seen{}, fmt.Errorf("check %s: %w", t, err)
	}
	if answer.Status != http.StatusOK {
		verdict, err := judge(answer, t, time.Now())
		return verdict, seen{}, err
	}
	found, err := read(answer.Body, t)
	if err != nil {
		return rotator.Unknown, seen{}, fmt.Errorf("check %s: %w", t, err)
	}
	return rotator.Live, found, t.compare(found)
}

// get asks the API; an empty value sends no credential.
func (c *checker) get(ctx context.Context, path, value string) (webclient.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.apiURL+path, http.NoBody)
	if err != nil {
		return webclient.Answer{}, rotator.Permanent(errors.New("api_url and params make no URL"))
	}
	req.Header.Set("Accept", "application/json")
	if value != "" {
		req.Header.Set("Authorization", "Bearer "+value) // [D]
	}
	return webclient.Do(c.client, req)
}

// judge says what an answer other than 200 means for the credential.
func judge(a webclient.Answer, t target, now time.Time) (rotator.Verdict, error) {
	switch a.Status {
	case http.StatusUnauthorized:
		return rotator.Dead, nil // missing, malformed or revoked [D]
	case http.StatusForbidden:
		return judgeForbidden(a.Body, t)
	case http.StatusNotFound:
		// Unknown, not matching, or not visible to the token: this says nothing
		// of the credential's life [D].
		return rotator.Unknown, rotator.Permanent(fmt.Errorf(
			"check %s: answered 404 not found: the UIDs are wrong, or this token is for another place", t))
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		// Listed among those to back off from [D], so trying again is not pointless.
		return rotator.Unknown, fmt.Errorf("check %s: answered %d %s", t, a.Status, words(a.Status))
	}
	// 429 has no body and says in X-RateLimit-Reset, in absolute Unix seconds,
	// when to come back [D]; 5xx: back off exponentially [D].
	if err := webclient.StatusError(a, now); err != nil {
		return rotator.Unknown, fmt.Errorf("check %s: %w", t, err)
	}
	return rotator.Unknown, fmt.Errorf("check %s: answered %d %s; only 200 proves anything", t, a.Status, words(a.Status))
}

// judgeForbidden tells the two meanings of 403 apart: a dead token, which one
// live test is reported to have seen with the message "No token could be found"
// [T], and a live one without the scope [D]. A page of somebody in between (a
// firewall's, say) is neither.
func judgeForbidden(body []byte, t target) (rotator.Verdict, error) {
	said, isJSON := messages(body)
	switch {
	case !isJSON:
		return rotator.Unknown, fmt.Errorf("check %s: answered 403 with a page that is not the API's", t)
	case slices.ContainsFunc(said, saysNoToken):
		return rotator.Dead, nil
	}
	return rotator.Live, rotator.Permanent(fmt.Errorf(
		"check %s: answered 403: the token is live but may not do this; is a scope missing?", t))
}

func saysNoToken(message string) bool {
	message = strings.ToLower(message)
	return slices.ContainsFunc([]string{"no token could be found", "no token found", "token not found"},
		func(words string) bool { return strings.Contains(message, words) })
}

// messages returns the texts of an error body: {"message": string} where there
// is one [D]; connectors look for error and errors[] too [V]. No body at all is
// fine; false means that the body is no JSON object.
func messages(body []byte) ([]string, bool) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, true
	}
	var said struct{ Message, Error, Errors any }
	if json.Unmarshal(body, &said) != nil {
		return nil, false
	}
	return append(append(texts(said.Message), texts(said.Error)...), texts(said.Errors)...), true
}

// texts collects the strings of a value: of a list each, of an object its values.
func texts(value any) []string {
	var all []string
	switch v := value.(type) {
	case string:
		all = append(all, v)
	case []any:
		for _, each := range v {
			all = append(all, texts(each)...)
		}
	case map[string]any:
		for _, each := range v {
			all = append(all, texts(each)...)
		}
	}
	return all
}

// A place of a 200, by its UID, which paths want, and its internal ID [V, T].
type place struct {
	ID  any `json:"id"`
	UID any `json:"uid"`
}

// read takes what is needed out of a 200 and nothing else: the rest is billing
// data. Anything but the documented JSON (a log-in page, say) is an error.
func read(body []byte, t target) (seen, error) {
	var answer struct {
		Project, Datasource place           // of the stream
		Entity              place           // the project, when it was asked for itself
		Token, Metadata     json.RawMessage // read apart: what is odd in them is no reason to doubt the rest
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if decoder.Decode(&answer) != nil {
		return seen{}, errors.New("answered 200 with something that is not the API's JSON")
	}
	found := seen{answer.Project, answer.Datasource, scopesOf(answer.Token)}
	if t.datasource == "" {
		found = seen{project: answer.Entity, scopes: scopesOf(answer.Metadata)}
	}
	if found.project.name() == "" || (t.datasource != "" && found.datasource.name() == "") {
		return seen{}, errors.New("answered 200 without the project or datasource that it is for")
	}
	return found, nil
}

// scopesOf reads token{type, scopes[]} of a stream [V, T] or metadata{scopes[]}
// of a project [D, T]; nil: not told.
func scopesOf(raw json.RawMessage) []string {
	var told struct {
		Type   string
		Scopes []string
	}
	if json.Unmarshal(raw, &told) != nil {
		return nil
	}
	if told.Type != "" {
		told.Scopes = append(told.Scopes, "type:"+told.Type)
	}
	slices.Sort(told.Scopes)
	return slices.Compact(told.Scopes)
}

// compare reports a credential that works, but at another place than asked for.
func (t target) compare(found seen) error {
	if found.project.is(t.project) && (t.datasource == "" || found.datasource.is(t.datasource)) {
		return nil
	}
	there := target{project: found.project.name()}
	if t.datasource != "" {
		there.datasource = found.datasource.name()
	}
	return rotator.Permanent(fmt.Errorf("check %s: the token is live, but the service answered for %s", t, there))
}

func (p place) is(uid string) bool { return asText(p.UID) == uid || asText(p.ID) == uid }

// name is short: it goes into an error, and comes from outside.
func (p place) name() string {
	name := []rune(asText(p.UID))
	if len(name) == 0 {
		name = []rune(asText(p.ID))
	}
	return string(name[:min(len(name), 64)])
}

func asText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func words(status int) string { return strings.ToLower(http.StatusText(status)) }
