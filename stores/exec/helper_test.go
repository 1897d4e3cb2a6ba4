package execstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The store's program is this test binary, started again as
//
//	TEST-BINARY helper MODE DIR
//
// over a directory of files under a lock. It is strict about what it is asked,
// and careless about what it says: its messages are full of secrets.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "helper" {
		os.Exit(helper(os.Args[2], os.Args[3]))
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // else each process takes a second to end
	os.Exit(m.Run())
}

// What the program is; others are "normal".
const (
	modeWriteOnly   = "write-only"  // can't read
	modeBreaking    = "breaking"    // dies in the middle of a write
	modeUnreachable = "unreachable" // its own service is not there
	modeRefused     = "refused"     // its own service refuses it
)

// logIn is the variable with the program's own log-in.
const logIn = "HELPER_LOG_IN"

type helperRequest struct {
	Version *int    `json:"version"`
	Op      string  `json:"op"`
	Key     *string `json:"key"`
	Value   *string `json:"value"`
	Prev    *string `json:"prev"`
	Attempt *string `json:"attempt"`
}

// wrong says what a request has or lacks against the contract.
func (r helperRequest) wrong(raw []byte) string {
	put := r.Op == "put"
	switch {
	case r.Version == nil || *r.Version != 1:
		return "version"
	case (r.Key == nil) != (r.Op == "ping"):
		return "key"
	case (r.Value != nil) != put || (r.Prev != nil) != put || (r.Attempt != nil) != put:
		return "value, prev and attempt"
	case put && *r.Attempt == "":
		return "attempt is empty"
	case !bytes.HasSuffix(raw, []byte("}\n")) || bytes.Count(raw, []byte("\n")) != 1:
		return "not one line"
	}
	if put && len(*r.Value) > 3 && strings.Contains(strings.Join(append(os.Args, os.Environ()...), "\n"), *r.Value) {
		return "the value is in the arguments or the environment"
	}
	return ""
}

type object map[string]any

func refuse(code, message string) object {
	return object{"error": object{"code": code, "message": message}}
}

func helper(mode, dir string) int {
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return 3
	}
	_, _ = os.Stderr.Write(raw)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var r helperRequest
	if err := decoder.Decode(&r); err != nil {
		return 4
	}
	told := refuse("permanent", "the request is wrong: "+r.wrong(raw))
	if r.wrong(raw) == "" {
		told = r.answer(mode, dir, string(raw)+os.Getenv(logIn))
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		return 5
	}
	if told["error"] != nil {
		return 1
	}
	return 0
}

func (r helperRequest) answer(mode, dir, gossip string) object {
	switch {
	case mode == modeUnreachable:
		return refuse("unsent", "nobody there for "+gossip)
	case mode == modeRefused:
		return refuse("permanent", "not allowed: "+gossip)
	case r.Op == "ping":
		return object{}
	case *r.Key != filepath.Base(*r.Key) || strings.HasPrefix(*r.Key, "."):
		return refuse("permanent", "not the name of a file: "+gossip)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return refuse("permanent", "the directory is not there")
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return refuse("unsent", "no lock")
	}
	path := filepath.Join(dir, *r.Key)
	content, err := os.ReadFile(path)
	current := object{}
	if err == nil {
		current = versionOf(string(content))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return refuse("permanent", "can't read")
	}
	switch r.Op {
	case "check_write":
		return object{}
	case "get":
		if err != nil {
			return refuse("not_found", gossip)
		}
		if mode != modeWriteOnly {
			current["value"] = string(content)
		}
		return current
	case "put":
		return r.put(mode, path, current)
	}
	return refuse("unsupported", r.Op)
}

func (r helperRequest) put(mode, path string, current object) object {
	made := versionOf(*r.Value)
	id, _ := current["version_id"].(string)
	switch {
	case made["version_id"] == id:
		return current
	case *r.Prev != id:
		return refuse("conflict", "holds something else than "+*r.Prev)
	}
	value := []byte(*r.Value)
	if mode == modeBreaking {
		_ = os.WriteFile(path+".new", value[:len(value)/2], 0o600)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if err := errors.Join(os.WriteFile(path+".new", value, 0o600), os.Rename(path+".new", path)); err != nil {
		return refuse("unknown", "half of it")
	}
	return made
}

var storedAt = time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)

func versionOf(value string) object {
	sum := sha256.Sum256([]byte(value))
	return object{"version_id": hex.EncodeToString(sum[:8]), "at": storedAt.Format(time.RFC3339)}
}
