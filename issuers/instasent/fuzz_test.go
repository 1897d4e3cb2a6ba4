package instasent

import (
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Whatever the API answers: no panic, only a clear answer is live or dead, and
// nothing of it gets into an error.
func FuzzCheckAnswer(f *testing.F) {
	for _, body := range []string{
		`{"entity": {"uid": "proj_x", "name": "x"}}`, `{"errors": ["No token could be found"]}`, `{"errors": {"a": [{"message": "canary-in-body"}]}}`,
		`{"project": {"uid": "proj_x"}, "datasource": {"uid": "ds_y", "id": 7}, "token": {"scopes": ["a", 1, null]}}`, `[[[[`, "\xff", "",
	} {
		for _, status := range []int{200, 401, 403, 404, 422, 429, 503} {
			f.Add(status, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		at := targetOf(rotator.Params{paramProject: "proj_x", paramDatasource: "ds_y"})
		answer := webclient.Answer{Status: status, Body: []byte("canary-in-body" + body)}
		for _, answer.Body = range [][]byte{[]byte(body), answer.Body} {
			if status == 200 {
				found, err := read(answer.Body, at)
				if err == nil {
					err = at.compare(found)
				}
				silent(t, err)
				continue
			}
			verdict, err := judge(answer, at, time.Now())
			silent(t, err)
			if verdict == rotator.Live && status != 403 || verdict == rotator.Dead && status != 401 && status != 403 {
				t.Errorf("judge(%d) = %s", status, verdict)
			}
			if verdict == rotator.Unknown && err == nil {
				t.Errorf("judge(%d) = unknown without an error", status)
			}
		}
	})
}

func silent(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("the error shows the answer: %v", err)
	}
}
