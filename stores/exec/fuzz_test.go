package execstore

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rotatord/rotatord/internal/childprocess"
)

// Whatever a program prints and however it ends: no panic, success only with a
// whole answer and exit status 0, and neither the value that it was given nor a
// control character in an error or a version.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		`{"version_id": "7", "value": "x", "at": "2026-01-31T10:00:00Z"}`, `{"version_id": "s3cr3t-v&lue"}`, `{}`, `null`, ``, "[[[[", "\xff", `{"version_id": "7"}{}`,
		`{"error": {"code": "permanent", "message": "no s3cr3t-v&lue \u001b[31m"}}`, `{"error": {"code": "retry_after", "seconds": 1e300}}`,
		`{"error": {"code": "not_found"}}`, `{"error": {"code": "conflict"}, "version_id": "7"}`, `{"error": {"code": "s3cr3t-v&lue", "message": "s3cr3t-v\u0026lue"}}`,
		`{"s3cr3t-v&lue": 1, "version_id": {"s3cr3t-v&lue": 2}}`,
	} {
		for _, op := range []string{"get", "put", "check_write", "ping"} {
			f.Add(op, text, 0, false)
			f.Add(op, text, 1, true)
		}
	}
	f.Fuzz(func(t *testing.T, op, text string, code int, writeOnly bool) {
		s := &Store{command: Config{Command: []string{"x"}}.command(), writeOnly: writeOnly}
		r := request{Op: operation(op)}
		if r.Op == opPut {
			r.writeRequest = &writeRequest{Value: value}
		}
		printed := childprocess.Output{MaxBytes: maxAnswerBytes}
		_, _ = printed.Write([]byte(text))
		a, err := s.judge(r, code, &printed)
		if err != nil {
			shown := err.Error()
			if r.Op == opPut && strings.Contains(shown, value) || strings.ContainsAny(shown, "\x00\x1b\n\r") || !utf8.ValidString(shown) {
				t.Errorf("judge(%q, %q, %d) = %q", op, text, code, shown)
			}
			if a.VersionID != "" || a.Value != nil {
				t.Errorf("judge(%q, %q, %d) = %+v beside an error", op, text, code, a)
			}
			return
		}
		blind := writeOnly && r.Op == opGet
		needsVersion := r.Op == opPut || r.Op == opGet && !blind
		switch {
		case code != 0, a.Error != nil, !strings.HasPrefix(strings.TrimSpace(text), "{"):
			t.Errorf("judge(%q, %q, %d) is a success", op, text, code)
		case needsVersion && a.VersionID == "", r.Op == opGet && !blind && a.Value == nil:
			t.Errorf("judge(%q, %q, %d) = %+v; want a version with its value", op, text, code, a)
		case r.Op == opPut && strings.Contains(a.VersionID, value), needsVersion && strings.ContainsAny(a.VersionID, "\x00\x1b\n\r"):
			t.Errorf("judge(%q, %q, %d) answers the version %q", op, text, code, a.VersionID)
		}
	})
}
