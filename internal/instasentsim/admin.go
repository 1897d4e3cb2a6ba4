package instasentsim

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Admin is the dashboard side. It is ours alone: Instasent publishes no API for
// tokens [D, V, T].
//
//	POST   /admin/projects/{project}/datasources/{datasource}/tokens        {name, type, scopes} → 201 {data: {id, secret, …}}
//	GET    /admin/projects/{project}/datasources/{datasource}/tokens?cursor= → 200 {data: [{id, name, …}], next}
//	DELETE /admin/projects/{project}/datasources/{datasource}/tokens/{id}   → 204; 404 when it is gone
//
// and the same below /admin/projects/{project}/tokens for Product tokens; GET
// /admin/me answers 200 to a token that is known. Below /sim/ it takes what tests
// change and read at run time: GET and PATCH /sim/knobs, POST and DELETE
// /sim/faults, GET /sim/stats. Every call needs the admin token.
func (s *Sim) Admin() http.Handler {
	admin := http.NewServeMux()
	for _, base := range []string{"/admin/projects/{project}/datasources/{datasource}/tokens", "/admin/projects/{project}/tokens"} {
		admin.HandleFunc(base, s.adminCollection)
		admin.HandleFunc(base+"/{id}", s.adminItem)
	}
	admin.HandleFunc("GET /admin/me", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, object{}) })
	admin.HandleFunc("/", notFound)
	mux := http.NewServeMux()
	mux.Handle("/", s.serve(SideAdmin, s.adminOnly(admin)))
	mux.Handle("/sim/", s.adminOnly(s.control()))
	return mux
}

// adminOnly lets the admin token pass, and the reading one where nothing is written.
func (s *Sim) adminOnly(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sent := bearer(r)
		switch {
		case same(sent, s.adminToken), same(sent, s.readToken) && r.Method == http.MethodGet:
			next.ServeHTTP(w, r)
		case same(sent, s.readToken):
			answerError(w, http.StatusForbidden, "this admin token may only read")
		default:
			answerError(w, http.StatusUnauthorized, "admin token missing or unknown")
		}
	}
}

func same(sent, want string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(sent), []byte(want)) == 1
}

func pathPlace(r *http.Request) Place {
	return Place{Project: r.PathValue("project"), Datasource: r.PathValue("datasource")}
}

func (s *Sim) adminCollection(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		s.adminCreate(w, r)
	case r.Method == http.MethodGet && !s.Knobs().ListUnsupported:
		s.adminList(w, r)
	default:
		notAllowed(w, http.MethodPost)
	}
}

type adminToken struct {
	ID        string    `json:"id"`
	Secret    string    `json:"secret,omitempty"` // in the answer to a create only
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Scopes    []string  `json:"scopes"`
	CreatedAt time.Time `json:"created_at"`
	LastUsed  any       `json:"last_used"` // RFC 3339, or null
}

func describe(t *token) adminToken {
	shown := adminToken{ID: t.id, Name: t.name, Type: t.kind, Scopes: t.scopes, CreatedAt: t.issuedAt.UTC()}
	if !t.acceptedAt.IsZero() {
		shown.LastUsed = t.acceptedAt.UTC()
	}
	return shown
}

func (s *Sim) adminCreate(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Name   string   `json:"name"`
		Type   string   `json:"type"`
		Scopes []string `json:"scopes"`
	}
	p := pathPlace(r)
	if !readJSON(w, r, &asked) {
		return
	}
	if asked.Type == "" {
		asked.Type = TypeDatasource
		if p.Datasource == "" {
			asked.Type = TypeProduct
		}
	}
	switch {
	case strings.TrimSpace(asked.Name) == "":
		answerError(w, http.StatusUnprocessableEntity, "name is missing")
		return
	case asked.Type != TypeProduct && (asked.Type != TypeDatasource || p.Datasource == ""):
		answerError(w, http.StatusUnprocessableEntity, "type must be datasource (below a datasource) or product")
		return
	}
	t, err := s.generate(p, asked.Name, asked.Type, asked.Scopes)
	switch {
	case errors.Is(err, ErrFull):
		answerError(w, s.Knobs().fullStatus(), err.Error())
	case err != nil:
		answerError(w, http.StatusNotFound, err.Error())
	default:
		// The value is shown this once, as the dashboard does [D].
		shown := adminToken{
			ID: t.id, Secret: t.value, Name: t.name, Type: t.kind, Scopes: t.scopes, CreatedAt: t.issuedAt.UTC(),
		}
		answer(w, http.StatusCreated, map[string]any{"data": shown})
	}
}

func (s *Sim) adminList(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := pathPlace(r)
	if s.places[p] == nil {
		answerError(w, http.StatusNotFound, ErrNoPlace.Error())
		return
	}
	from := 0
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		last, err := base64.RawURLEncoding.DecodeString(cursor)
		if from = s.indexOf(string(last)) + 1; err != nil || from == 0 {
			answerError(w, http.StatusBadRequest, "cursor is not one of ours")
			return
		}
	}
	page, next := []adminToken{}, ""
	for _, t := range s.tokens[from:] {
		if t.place != p || !t.deletedAt.IsZero() {
			continue
		}
		if len(page) == s.knobs.pageSize() {
			next = base64.RawURLEncoding.EncodeToString([]byte(page[len(page)-1].ID))
			break
		}
		page = append(page, describe(t))
	}
	answer(w, http.StatusOK, map[string]any{"data": page, "next": next})
}

// indexOf finds a token by its ID, deleted or not, so that a cursor outlives the
// token it points to. -1: there is none.
func (s *Sim) indexOf(id string) int {
	return slices.IndexFunc(s.tokens, func(t *token) bool { return t.id == id })
}

func (s *Sim) adminItem(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodDelete {
		notAllowed(w, http.MethodDelete)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, id := pathPlace(r), r.PathValue("id")
	if err := s.delete(func(t *token) bool { return t.place == p && t.id == id }); err != nil {
		answerError(w, http.StatusNotFound, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// control is what tests of a whole process change and read at run time.
func (s *Sim) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/knobs", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.Knobs())
	})
	mux.HandleFunc("PATCH /sim/knobs", func(w http.ResponseWriter, r *http.Request) {
		knobs := s.Knobs() // fields that are not sent stay as they are
		if readJSON(w, r, &knobs) {
			s.Set(func(k *Knobs) { *k = knobs })
			answer(w, http.StatusOK, knobs)
		}
	})
	mux.HandleFunc("POST /sim/faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if readJSON(w, r, &f) {
			s.Inject(f)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("DELETE /sim/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /sim/stats", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.Stats())
	})
	return mux
}

// readJSON reads a request's JSON body strictly, or answers what is wrong with it.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if !isJSON(r) {
		answerError(w, http.StatusUnsupportedMediaType, "Content-Type must be application/json")
		return false
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil || decoder.More() {
		answerError(w, http.StatusBadRequest, "the body is not the JSON object that was asked for")
		return false
	}
	return true
}
