// Package lognotifier tells people through a log: one JSON line an event, on
// standard error or at the end of a file.
//
// It opens the file for each line, so that it can be moved away at any time. It
// never rotates, truncates or reads the file, and knows no values of
// credentials: an Event has none. A new field of Event needs a field of line
// and a row in example.yaml.
package lognotifier

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Example is one documented entry of `notifiers`.
//
//go:embed example.yaml
var Example string

// Config is the configuration of the notifier.
type Config struct {
	Path string `yaml:"path,omitempty" jsonschema:"description=File that lines are appended to; it is made with mode 0600\\, its folder must exist. Default: standard error"`
}

// Validate reports every mistake that can be seen offline.
func (c Config) Validate() error {
	if strings.ContainsRune(c.Path, 0) {
		return rotator.Field("path", errors.New("a path can't hold a NUL character"))
	}
	return nil
}

// New makes a notifier. It opens nothing.
func New(_ context.Context, c Config) (rotator.Notifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &notifier{path: c.Path, stderr: os.Stderr}, nil
}

type notifier struct {
	path   string
	stderr io.Writer

	mu   sync.Mutex
	torn bool // the last line was written in part: the next one starts anew
}

var _ rotator.Pinger = (*notifier)(nil)

// line is what is written; a key is left out only where example.yaml says so.
type line struct {
	Time     time.Time           `json:"time"`
	Level    string              `json:"level"`
	Msg      string              `json:"msg"`
	Event    rotator.EventKind   `json:"event"`
	ID       string              `json:"id"`
	Token    string              `json:"token"`
	Rotation string              `json:"rotation,omitempty"`
	Reason   rotator.Reason      `json:"reason,omitempty"`
	Step     rotator.Step        `json:"step,omitempty"`
	Status   rotator.Status      `json:"status,omitempty"`
	Old      rotator.Fingerprint `json:"old_fingerprint,omitempty"`
	New      rotator.Fingerprint `json:"new_fingerprint,omitempty"`
	Detail   string              `json:"detail,omitempty"`
	Awaited  []awaited           `json:"awaited,omitempty"`
	Urgent   bool                `json:"urgent,omitempty"`
}

type awaited struct {
	Probe  string `json:"probe"`
	Target string `json:"target"`
	Detail string `json:"detail"`
}

// Notify writes one line. The same event twice is two lines with one id.
func (n *notifier) Notify(ctx context.Context, e rotator.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	text, err := encode(e)
	if err != nil {
		return rotator.Permanent(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.torn {
		text = append([]byte{'\n'}, text...)
	}
	written, err := n.write(text)
	if written > 0 {
		n.torn = written < len(text)
	}
	return err
}

// Ping tells whether the file can be opened for writing; it writes nothing,
// but makes the file where it is missing.
func (n *notifier) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := n.write(nil)
	return err
}

func (n *notifier) write(text []byte) (int, error) {
	if n.path == "" {
		written, err := n.stderr.Write(text)
		if err != nil {
			return written, fmt.Errorf("write standard error: %w", err)
		}
		return written, nil
	}
	file, err := os.OpenFile(n.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, openError(err)
	}
	written, err := file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return written, fmt.Errorf("write log: %w", err)
	}
	return written, nil
}

// openError tells a wrong path, which stays wrong, from a full disk.
func openError(err error) error {
	wrapped := fmt.Errorf("open log: %w", err)
	for _, final := range []error{fs.ErrNotExist, fs.ErrPermission, syscall.EISDIR, syscall.ENOTDIR, syscall.EROFS} {
		if errors.Is(err, final) {
			return rotator.Permanent(wrapped)
		}
	}
	return wrapped
}

func encode(e rotator.Event) ([]byte, error) {
	entry := line{
		Time: e.At.UTC(), Level: level(e), Msg: e.Summary, Event: e.Kind, ID: e.ID,
		Token: e.Token, Rotation: e.Rotation, Reason: e.Reason, Step: e.Step, Status: e.Status,
		Old: e.Old, New: e.New, Detail: e.Detail, Urgent: e.Urgent,
	}
	for _, a := range e.Awaited {
		entry.Awaited = append(entry.Awaited, awaited(a))
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(entry); err != nil {
		return nil, fmt.Errorf("write line: %w", err)
	}
	return out.Bytes(), nil
}

// level is WARN where somebody should look.
func level(e rotator.Event) string {
	switch e.Kind {
	case rotator.EventHeld, rotator.EventFailed, rotator.EventPaused, rotator.EventReminder:
		return "WARN"
	case rotator.EventStarted, rotator.EventWaiting, rotator.EventDone, rotator.EventRolledBack, rotator.EventAborted:
	}
	if e.Urgent {
		return "WARN"
	}
	return "INFO"
}
