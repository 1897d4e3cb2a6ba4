package instasentsim

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"time"
)

// maxBody is the most that is read of a request, in bytes.
const maxBody = 4 << 20

type object = map[string]any

// streamAnswer is the 200 of GET …/stream: these five objects at the top, no
// envelope [V, T]. Times and amounts that the real one has and nobody here
// reads are left out.
func (s *Sim) streamAnswer(p Place, t *token) object {
	here := s.places[p]
	return object{
		"organization": organization(),
		"project":      s.project(p),
		"datasource": object{
			"id": here.id, "uid": p.Datasource, "name": "Datasource " + p.Datasource, "type": "api", "locale": "en",
			"lastContactReceivedAt": timeOrNull(here.lastContact), "lastEventReceivedAt": timeOrNull(here.lastEvent),
		},
		"stream": object{
			"id": "stream-" + here.id, "type": "api", "purpose": nil, "exposed": true,
			"callsTotal": here.calls, "callsSuccess": here.success, "callsFailures": here.failures,
			"lastCallTime": timeOrNull(here.lastCall), "lastSuccessTime": timeOrNull(here.lastGood),
			"lastFailureTime": timeOrNull(here.lastKO),
		},
		"token": object{"type": t.kind, "scopes": t.scopes},
	}
}

// projectAnswer is the 200 of GET /project/{project} [D, T].
func (s *Sim) projectAnswer(p Place, t *token) object {
	return object{
		"entity":   s.project(p),
		"metadata": object{"organization": organization(), "scopes": t.scopes},
	}
}

func (s *Sim) project(p Place) object {
	id := s.places[Place{Project: p.Project}].id
	return object{"id": id, "uid": p.Project, "name": "Project " + p.Project, "locale": "en", "timezone": "Europe/Madrid"}
}

// organization holds billing data, as the real one does: no caller may log it [V, T].
func organization() object {
	return object{
		"id": "org-4711", "name": "Simulated Organisation",
		"plan": object{"key": "growth", "status": "active", "quality": 1},
		"api":  object{"tier": 1},
		"account": object{
			"credit": object{"value": 12345.67, "currency": "EUR", "resetTo": 20000, "resetAt": nil},
			"funds":  object{"value": 765.43, "currency": "EUR"},
		},
	}
}

// writeAnswer is the 202 of a write: an outcome per item [D], in lists of
// accepted items and of errors with their position [T]. An item that is not an
// object fails alone.
func (s *Sim) writeAnswer(p Place, items []json.RawMessage) object {
	accepted, failed := []object{}, []object{}
	for i, item := range items {
		if strings.HasPrefix(strings.TrimSpace(string(item)), "{") {
			accepted = append(accepted, object{"position": i, "item": item})
		} else {
			failed = append(failed, object{"position": i, "item": item, "error": "not an object"})
		}
	}
	here := s.places[p]
	return object{
		"success": len(failed) == 0, "status": http.StatusAccepted, "dryRun": false,
		"projectId": s.places[Place{Project: p.Project}].id, "projectUid": p.Project,
		"datasourceId": here.id, "datasourceUid": p.Datasource, "streamId": "stream-" + here.id,
		"entitiesLimit": maxItems, "entitiesSuccess": len(accepted), "entitiesFailures": len(failed),
		"accepted": accepted, "errors": failed,
	}
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller is gone: nothing to do about it
}

// answerError answers as Instasent documents errors: {"message": string} [D].
func answerError(w http.ResponseWriter, status int, message string) {
	answer(w, status, object{"message": message})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	answerError(w, http.StatusNotFound, "No route found.")
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	answerError(w, http.StatusMethodNotAllowed, "Method not allowed.")
}

func isJSON(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}
