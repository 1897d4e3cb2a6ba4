package execstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

const value = "s3cr3t-v&lue"

// says is a program that reads its request and prints a text.
func says(t *testing.T, writeOnly bool, text, then string) rotator.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "answer")
	write(t, file, text)
	return openCommand(t, Config{Command: []string{"sh", "-c", `cat >/dev/null; cat "$1"; ` + then, "sh", file}, WriteOnly: writeOnly})
}

// effect is what an error says of whether the call had one.
func effect(err error) string {
	switch {
	case err == nil:
		return "success"
	case errors.Is(err, rotator.ErrNotFound):
		return "not found"
	case errors.Is(err, rotator.ErrConflict) && rotator.HadNoEffect(err):
		return "conflict"
	case rotator.IsPermanent(err):
		return "permanent"
	case !rotator.RetryTime(err).IsZero() && rotator.HadNoEffect(err):
		return "later"
	case rotator.HadNoEffect(err):
		return "unsent"
	}
	return "unknown"
}

func TestPut(t *testing.T) {
	for name, test := range map[string]struct{ answer, then, effect, text string }{
		"success":            {`{"version_id": "7", "at": "2026-01-31T11:00:00+01:00"}`, "", "success", ""},
		"newer program":      {`{"version_id": "7", "etag": {"a": [1]}}`, "", "success", ""},
		"null error":         {`{"version_id": "7", "error": null}`, "", "success", ""},
		"conflict":           {`{"error": {"code": "conflict", "message": "holds s3cr3t-other"}}`, "", "conflict", "changed by somebody else in between"},
		"conflict, exit 1":   {`{"error": {"code": "conflict"}}`, "exit 1", "conflict", "changed by somebody else in between"},
		"permanent":          {`{"error": {"code": "permanent", "message": "no folder \"crm\""}}`, "exit 1", "permanent", `answered permanent: no folder "crm"`},
		"not found":          {`{"error": {"code": "not_found"}}`, "", "not found", ""},
		"unsent":             {`{"error": {"code": "unsent", "message": "locked"}}`, "", "unsent", "answered unsent: locked"},
		"later":              {`{"error": {"code": "retry_after", "seconds": 30}}`, "", "later", "answered retry_after"},
		"later, no time":     {`{"error": {"code": "retry_after"}}`, "", "unsent", "answered retry_after"},
		"unsupported":        {`{"error": {"code": "unsupported"}}`, "", "permanent", "answered unsupported: unsupported operation"},
		"unknown":            {`{"error": {"code": "unknown", "message": "timed out"}}`, "", "unknown", "answered unknown: timed out"},
		"a later code":       {`{"error": {"code": "s3cr3t-v&lue", "message": "x"}}`, "", "unknown", "answered an error of an unknown code: x"},
		"no code":            {`{"error": {}}`, "", "unknown", "answered an error of an unknown code"},
		"error is a text":    {`{"error": "s3cr3t"}`, "", "unknown", "answer: error has the wrong type"},
		"seconds are a text": {`{"error": {"code": "retry_after", "seconds": "9"}}`, "", "unknown", "answer: error.seconds has the wrong type"},
		"both":               {`{"version_id": "7", "error": {"code": "permanent"}}`, "", "unknown", "answer: has both an error and a version"},
		"no version":         {`{"at": "2026-01-31T10:00:00Z"}`, "", "unknown", "answer: has no version_id"},
		"version is number":  {`{"version_id": 535353}`, "", "unknown", "answer: version_id has the wrong type"},
		"version is value":   {`{"version_id": "v s3cr3t-v&lue"}`, "", "unknown", "answer: version_id holds a value"},
		"version is base64":  {`{"version_id": "czNjcjN0LXYmbHVl"}`, "", "unknown", "answer: version_id holds a value"},
		"version is long":    {`{"version_id": "` + strings.Repeat("7", 513) + `"}`, "", "unknown", "answer: version_id is longer than 512 bytes"},
		"version has a line": {`{"version_id": "7\n8"}`, "", "unknown", "answer: version_id has characters that can't be printed"},
		"no time":            {`{"version_id": "7", "at": "s3cr3t"}`, "", "unknown", "answer: at is not a time like 2026-01-31T10:00:00Z"},
		"nothing":            {"", "", "unknown", "answer: there is none"},
		"nothing, exit 3":    {"", "exit 3", "unknown", "exit status 3 without an error that can be read"},
		"success, exit 3":    {`{"version_id": "7"}`, "exit 3", "unknown", "exit status 3 without an error that can be read"},
		"cut off, exit 1":    {`{"error": {"code": "perman`, "exit 1", "unknown", "exit status 1 without an error that can be read"},
		"cut off":            {`{"version_id": "7"`, "", "unknown", "answer: not one JSON object"},
		"two":                {`{"version_id": "7"} {}`, "", "unknown", "answer: not one JSON object"},
		"chatter":            {"s3cr3t\n" + `{"version_id": "7"}`, "", "unknown", "answer: not one JSON object"},
		"null":               {"null", "", "unknown", "answer: not one JSON object"},
		"list":               {`["7"]`, "", "unknown", "answer: not one JSON object"},
		"not UTF-8":          {"{\"version_id\": \"\xff\"}", "", "unknown", "answer: not UTF-8"},
		"endless":            {`{"version_id": "7"}`, "head -c 2000000 /dev/zero | tr '\\0' ' '", "unknown", "answer: longer than 1048576 bytes"},
		"killed":             {`{"version_id": "7"}`, "kill -KILL $$", "unknown", `run command "sh": signal: killed`},
	} {
		t.Run(name, func(t *testing.T) {
			store := says(t, false, test.answer, test.then)
			got, err := store.Put(t.Context(), "crm", rotator.Write{Value: rotator.NewSecret(value), Attempt: "a"})
			want := test.effect
			if want == "not found" {
				want = "permanent" // there is no place to write to
			}
			if effect(err) != want {
				t.Errorf("Put() = %v: %s; want %s", err, effect(err), want)
			}
			if err == nil {
				if got.ID != "7" || got.Value.Reveal() != value || !got.At.IsZero() && !got.At.Equal(storedAt) {
					t.Errorf("Put() = %+v", got)
				}
				return
			}
			if got.ID != "" || strings.Contains(err.Error(), "s3cr3t") || !strings.HasPrefix(err.Error(), `write "crm": `) || !strings.HasSuffix(err.Error(), test.text) {
				t.Errorf("Put() = %+v, %v; want an error that ends in %q", got, err, test.text)
			}
		})
	}
}

func TestGet(t *testing.T) {
	for answer, want := range map[string]struct {
		effect  string
		version rotator.Version
	}{
		`{"version_id": "7", "value": "a\nb"}`:                               {"success", rotator.Version{ID: "7", Value: rotator.NewSecret("a\nb")}},
		`{"version_id": "7", "value": "", "at": "2026-01-31T10:00:00.000Z"}`: {"success", rotator.Version{ID: "7", Value: rotator.NewSecret(""), At: storedAt}},
		`{"version_id": "7"}`:                                                {effect: "unknown"},
		`{"version_id": "7", "value": null}`:                                 {effect: "unknown"},
		`{"value": "s3cr3t"}`:                                                {effect: "unknown"},
		`{"version_id": "of s3cr3t", "value": "s3cr3t"}`:                     {effect: "unknown"},
		`{"error": {"code": "not_found", "message": "s3cr3t"}}`:              {effect: "not found"},
		`{"error": {"code": "unsupported"}}`:                                 {effect: "permanent"},
		`{"error": {"code": "conflict"}}`:                                    {effect: "unknown"},
	} {
		got, err := says(t, false, answer, "").Get(t.Context(), "crm")
		if effect(err) != want.effect || errors.Is(err, errors.ErrUnsupported) || err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("Get() of %s = %v: %s; want %s", answer, err, effect(err), want.effect)
		}
		if got.ID != want.version.ID || got.Value.Reveal() != want.version.Value.Reveal() || got.Value.IsZero() != want.version.Value.IsZero() || !got.At.Equal(want.version.At) {
			t.Errorf("Get() of %s = %+v; want %+v", answer, got, want.version)
		}
	}
}

// Of a program that can only write, what it can tell of the version comes with
// errors.ErrUnsupported, and a value never does.
func TestWriteOnlyGet(t *testing.T) {
	for answer, want := range map[string]rotator.Version{
		`{"version_id": "7", "at": "2026-01-31T10:00:00Z"}`: {ID: "7", At: storedAt},
		`{"at": "2026-01-31T10:00:00Z"}`:                    {At: storedAt},
		`{}`:                                                {},
		`{"version_id": "7", "value": "s3cr3t"}`:            {ID: "7"},
		`{"error": {"code": "unsupported"}}`:                {},
		`{"error": {"code": "not_found"}}`:                  {},
	} {
		got, err := says(t, true, answer, "").Get(t.Context(), "crm")
		if !errors.Is(err, errors.ErrUnsupported) || got.ID != want.ID || !got.At.Equal(want.At) || !got.Value.IsZero() {
			t.Errorf("Get() of %s = %+v, %v; want %+v and errors.ErrUnsupported", answer, got, err, want)
		}
	}
	// Whatever else went wrong is not the store's nature.
	for _, answer := range []string{`{"error": {"code": "permanent"}}`, "", `{"version_id": "of s3cr3t", "value": "s3cr3t"}`} {
		if got, err := says(t, true, answer, "").Get(t.Context(), "crm"); err == nil || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Get() of %q = %+v, %v; want an error that is not errors.ErrUnsupported", answer, got, err)
		}
	}
	if _, ok := says(t, false, "", "").(rotator.WriteOnly); ok {
		t.Error("a store is WriteOnly without write_only")
	}
	if _, ok := says(t, true, "", "").(rotator.WriteOnly); !ok {
		t.Error("a store with write_only is no WriteOnly")
	}
}

func TestChecksThatAProgramDoesNotDo(t *testing.T) {
	for answer, want := range map[string]string{
		`{}`: "success", `{"error": {"code": "unsupported"}}`: "success",
		`{"error": {"code": "permanent", "message": "read only"}}`: "permanent", "": "unknown", "null": "unknown",
	} {
		store := says(t, false, answer, "")
		if err := store.(rotator.Pinger).Ping(t.Context()); effect(err) != want {
			t.Errorf("Ping() of %q = %v; want %s", answer, err, want)
		}
		if err := store.(rotator.WriteChecker).CheckWrite(t.Context(), "crm"); effect(err) != want {
			t.Errorf("CheckWrite() of %q = %v; want %s", answer, err, want)
		}
	}
}

func TestRetryTimeIsBounded(t *testing.T) {
	for seconds, want := range map[string]time.Duration{"0.5": 500 * time.Millisecond, "30": 30 * time.Second, "1e300": 15 * time.Minute} {
		_, err := says(t, false, `{"error": {"code": "retry_after", "seconds": `+seconds+`}}`, "").Get(t.Context(), "crm")
		if got := time.Until(rotator.RetryTime(err)); got > want || got < want-10*time.Second {
			t.Errorf("with %s seconds the retry is in %s; want %s", seconds, got, want)
		}
	}
	for _, seconds := range []string{"0", "-1"} {
		if _, err := says(t, false, `{"error": {"code": "retry_after", "seconds": `+seconds+`}}`, "").Get(t.Context(), "crm"); !rotator.RetryTime(err).IsZero() {
			t.Errorf("with %s seconds the retry is at %s; want none", seconds, rotator.RetryTime(err))
		}
	}
}

// The program's own words are shown, but not what it should not have said.
func TestMessages(t *testing.T) {
	t.Setenv("KEYRING_TOKEN", "own log in")
	t.Setenv("SHORT", "folder")
	for message, want := range map[string]string{
		"folder crm is missing":            "folder crm is missing",
		"can't store s3cr3t-v&lue here":    "can't store [redacted] here",
		`{"value":"s3cr3t-v\u0026lue"}`:    `{"value":"[redacted]"}`,
		"POST /?value=s3cr3t-v%26lue":      "POST /?value=[redacted]",
		"czNjcjN0LXYmbHVl":                 "[redacted]",
		"401 for own log in":               "401 for [redacted]",
		"Bearer 1pqeFXbFHCEwPBrwQD3mC2uV":  "Bearer [redacted]",
		"host keyring.crm.example.com":     "host keyring.crm.example.com",
		"a\033[31m\nb":                     "a [31m b",
		strings.Repeat("x ", 200) + "y":    strings.TrimSpace(strings.Repeat("x ", 100))[:199] + "…",
		"no such folder: /srv/crm/tokens/": "no such folder: /srv/crm/tokens/",
	} {
		s := &Store{command: Config{PassEnv: []string{"KEYRING_TOKEN", "SHORT", "UNSET_HERE"}}.command()}
		got := shown(message, append([]string{value}, s.logIns()...))
		if diff := cmp.Diff(": "+want, got); diff != "" {
			t.Errorf("shown(%q) (-want +got):\n%s", message, diff)
		}
	}
	if got := shown(" \n", nil); got != "" {
		t.Errorf("shown of blanks = %q; want nothing", got)
	}
}

// The request of each operation, letter by letter: it is a contract.
func TestRequests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "requests")
	store := openCommand(t, Config{Command: []string{"sh", "-c", `cat >>"$1"; echo '{"version_id": "8", "value": "x"}'`, "sh", file}})
	ctx := t.Context()
	_, putErr := store.Put(ctx, "crm/<1>", rotator.Write{Value: rotator.NewSecret("a\"\n<é"), Prev: "7", Attempt: "r/1"})
	_, firstErr := store.Put(ctx, "crm", rotator.Write{Value: rotator.NewSecret(""), Attempt: "r/1"})
	_, getErr := store.Get(ctx, "crm")
	err := errors.Join(putErr, firstErr, getErr, store.(rotator.Pinger).Ping(ctx), store.(rotator.WriteChecker).CheckWrite(ctx, "crm"))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := readIf(t, file)
	want := `{"version":1,"op":"put","key":"crm/<1>","value":"a\"\n<é","prev":"7","attempt":"r/1"}
{"version":1,"op":"put","key":"crm","value":"","prev":"","attempt":"r/1"}
{"version":1,"op":"get","key":"crm"}
{"version":1,"op":"ping"}
{"version":1,"op":"check_write","key":"crm"}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// JSON can't hold what is not UTF-8: the program isn't even started.
func TestValueThatIsNotUTF8(t *testing.T) {
	file := filepath.Join(t.TempDir(), "started")
	store := openCommand(t, Config{Command: []string{"touch", file}})
	_, err := store.Put(t.Context(), "crm", rotator.Write{Value: rotator.NewSecret("s3cr3t\xff"), Attempt: "a"})
	if !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Put() = %v; want a permanent error without the value", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program was started")
	}
}

func TestNoProgram(t *testing.T) {
	store := openCommand(t, Config{Command: []string{"/no/such/program", "argument-secret"}})
	_, err := store.Put(t.Context(), "crm", rotator.Write{Value: rotator.NewSecret(value), Attempt: "a"})
	want := `write "crm": start command "/no/such/program": no such file or directory`
	if !rotator.IsPermanent(err) || err.Error() != want {
		t.Errorf("Put() = %v; want permanent %q", err, want)
	}
	if err := store.(rotator.Pinger).Ping(t.Context()); !rotator.IsPermanent(err) {
		t.Errorf("Ping() = %v; want a permanent error", err)
	}
}

// A program that is cut off may have written.
func TestOutOfTime(t *testing.T) {
	store := openCommand(t, Config{Command: []string{"sleep", "1000"}, Timeout: rotator.Duration(200 * time.Millisecond)})
	_, err := store.Put(t.Context(), "crm", rotator.Write{Value: rotator.NewSecret(value), Attempt: "a"})
	if want := `write "crm": run command "sleep": not ended after 200ms`; err == nil || err.Error() != want || effect(err) != "unknown" {
		t.Errorf("Put() = %v: %s; want %q, its effect in doubt", err, effect(err), want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = openCommand(t, Config{Command: []string{"sleep", "1000"}}).Put(ctx, "crm", rotator.Write{Value: rotator.NewSecret(value), Attempt: "a"})
	if !errors.Is(err, context.DeadlineExceeded) || effect(err) != "unknown" {
		t.Errorf("Put() = %v: %s; want the context's error, the effect in doubt", err, effect(err))
	}
}

func TestValidate(t *testing.T) {
	if err := (Config{Command: []string{""}, PassEnv: []string{"A=B"}}).Validate(); err == nil ||
		!strings.Contains(err.Error(), "command: ") || !strings.Contains(err.Error(), "pass_env[0]: ") {
		t.Errorf("Validate() = %v; want both mistakes", err)
	}
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("New() of an invalid configuration = nil error")
	}
	if got := (Config{}).command().Timeout; got != 30*time.Second {
		t.Errorf("the default timeout is %s", got)
	}
}
