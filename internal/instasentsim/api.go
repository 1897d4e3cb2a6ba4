package instasentsim

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxItems is the most that one write may carry [D].
const maxItems = 100

// API is the side of the Ingest and Product API, below /v1:
//
//	GET  /v1/project/{project}                                          a Product token's check → 200 {entity, metadata} [D, T]
//	GET  /v1/project/{project}/datasource/{datasource}/stream           the cheapest check [D, V] → 200
//	POST /v1/project/{project}/datasource/{datasource}/stream/contacts  array of at most 100 → 202 with an outcome per item [D]
//	POST /v1/project/{project}/datasource/{datasource}/stream/events    the same
//
// Answers: 401 missing, malformed or revoked token [D] (or 403, see Knobs); 403
// valid, but a scope is missing [D]; 404 project or datasource unknown, not
// matching or not visible to the token [D]; 429 without a body [D]; 400 and 422
// for a body that is wrong [D]; 405 and 415 [I]. Error bodies are {"message"} [D].
func (s *Sim) API() http.Handler {
	return s.serve(SideAPI, s.serveAPI)
}

// A route is an endpoint with what it asks for.
type route struct {
	endpoint, method, scope string
	place                   Place
}

func routeOf(path string) (route, bool) {
	rest, below := strings.CutPrefix(path, "/v1/project/")
	parts := strings.Split(rest, "/")
	if !below || slices.Contains(parts, "") {
		return route{}, false
	}
	switch {
	case len(parts) == 1:
		return route{"project", http.MethodGet, ScopeProjectRead, Place{Project: parts[0]}}, true
	case len(parts) < 4 || parts[1] != "datasource" || parts[3] != "stream":
		return route{}, false
	}
	p := Place{parts[0], parts[2]}
	switch {
	case len(parts) == 4:
		return route{"stream", http.MethodGet, ScopeStreamRead, p}, true
	case len(parts) == 5 && (parts[4] == "contacts" || parts[4] == "events"):
		return route{parts[4], http.MethodPost, ScopeStreamWrite, p}, true
	}
	return route{}, false
}

func (s *Sim) serveAPI(w http.ResponseWriter, r *http.Request) {
	// The body is read before the lock is taken: a slow sender holds up nobody else.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	at, found := routeOf(r.URL.Path)
	value := bearer(r)
	c := call{at: time.Now(), value: value, userAgent: r.UserAgent()}
	if found {
		c.endpoint = r.Method + " " + at.endpoint
	}
	status, message, answered := http.StatusBadRequest, "The body can't be read.", any(nil)

	s.mu.Lock()
	c.token = s.byValue[value]
	if err == nil {
		status, message = s.admit(w.Header(), r, c, at, found)
	}
	if status == 0 {
		status, message, answered = s.act(c, at, body)
	}
	s.book(c, status)
	s.mu.Unlock()

	switch {
	case answered != nil:
		answer(w, status, answered)
	case status == http.StatusTooManyRequests:
		w.WriteHeader(status) // without a body [D]
	default:
		answerError(w, status, message)
	}
}

// admit decides whether a call may act, in the order in which a service would:
// the token, the place, the scope, the rate, the form. Status 0: it may.
func (s *Sim) admit(h http.Header, r *http.Request, c call, at route, found bool) (status int, message string) {
	t := c.token
	if t == nil || !t.accepted(c.at) {
		if status = s.knobs.deadStatus(); status == http.StatusForbidden {
			return status, "No token could be found." // [T]
		}
		return status, "Invalid credentials."
	}
	if !found {
		return http.StatusNotFound, "No route found."
	}
	here := s.places[at.place]
	if here == nil {
		return http.StatusNotFound, "Resource not found."
	}
	// A datasource token is for one datasource only; no request widens it [D].
	if t.place.Project != at.place.Project || (t.kind == TypeDatasource && at.place.Datasource != "" && t.place != at.place) {
		return s.knobs.foreignStatus(), "The resource is not visible to this token."
	}
	if !slices.Contains(t.scopes, at.scope) {
		return http.StatusForbidden, "Not privileged to request the resource."
	}
	if !s.allow(h, at, c.at) {
		return http.StatusTooManyRequests, ""
	}
	switch {
	case r.Method != at.method:
		h.Set("Allow", at.method)
		return http.StatusMethodNotAllowed, "Method not allowed."
	case at.method == http.MethodPost && !isJSON(r):
		return http.StatusUnsupportedMediaType, "Content-Type must be application/json."
	}
	return 0, ""
}

// act does what an admitted call asks for. The counters count per datasource;
// whether the real ones do is unknown [I].
func (s *Sim) act(c call, at route, body []byte) (status int, message string, answered any) {
	if at.endpoint == "project" {
		return http.StatusOK, "", s.projectAnswer(at.place, c.token)
	}
	here := s.places[at.place]
	here.calls, here.lastCall = here.calls+1, c.at
	status = http.StatusOK
	var items []json.RawMessage
	if at.method == http.MethodPost {
		switch err := json.Unmarshal(body, &items); {
		case err != nil || items == nil:
			status, message = http.StatusBadRequest, "The body must be a JSON array."
		case len(items) == 0 || len(items) > maxItems:
			status, message = http.StatusUnprocessableEntity, "The array must hold 1 to 100 items."
		}
	}
	if status != http.StatusOK {
		here.failures, here.lastKO = here.failures+1, c.at
		return status, message, nil
	}
	here.success, here.lastGood = here.success+1, c.at
	switch at.endpoint {
	case "contacts":
		here.lastContact = c.at
	case "events":
		here.lastEvent = c.at
	default:
		return http.StatusOK, "", s.streamAnswer(at.place, c.token)
	}
	return http.StatusAccepted, "", s.writeAnswer(at.place, items)
}

// bearer returns what follows "Bearer" and one space in the Authorization header
// [D]. Without exactly one such header it is empty.
func bearer(r *http.Request) string {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return ""
	}
	scheme, value, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return value
}
