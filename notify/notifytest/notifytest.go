// Package notifytest is the conformance suite of notifiers: what the engine and
// the people who are told rely on, held for every plug-in of the kind.
//
// A plug-in's test opens a Harness, with the notifier set against a real
// service or a stand-in, and calls Run. What a service can't do is declared in
// the Harness, not skipped by an option. The suite never looks into a plug-in;
// to add a line, add a function to the table in Run, and what it needs to Harness.
package notifytest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/rotatord/rotatord/rotator"
)

const patience = 30 * time.Second

// A Message is what people got.
type Message struct {
	ID   string // the event's, where the service knows one
	Text string // all of it, as people read it
}

// A Harness is a notifier and the service behind it, fresh for each test.
type Harness struct {
	// Notifier sends to the service.
	Notifier rotator.Notifier
	// Messages returns what the service accepted, in order.
	Messages func() []Message
	// HasID declares that the service carries the event's ID.
	HasID bool
	// Fits tells whether a message is within the service's limit; nil declares
	// that it has none.
	Fits func(m Message) bool

	// Local declares that the plug-in talks to no service over HTTP; without
	// it, Answer, Calls and Refused are needed.
	Local bool
	// Answer makes the service answer each call with a status and these
	// headers from now on; a status below 300 accepts.
	Answer func(status int, header http.Header)
	// Calls counts the calls that the service saw.
	Calls func() int
	// Refused is a notifier at whose address nothing listens.
	Refused rotator.Notifier

	// Secrets are values given to the plug-in, webhook URLs among them, that
	// neither a message nor an error may show.
	Secrets []string
}

// Run holds the suite against the harnesses that open makes. open registers
// its own clean-up with t.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Harness){
		"one message an event":                       oneMessage,
		"every kind of event can be told":            everyKind,
		"the same event keeps its id":                sameID,
		"text is cut at the service's limit":         longText,
		"text of any kind stays valid":               oddText,
		"a cancelled context sends nothing":          cancelled,
		"20 goroutines":                              concurrent,
		"429 and 5xx are retried":                    retried,
		"other 4xx are permanent":                    permanent,
		"a refused connection is retried":            refused,
		"a notifier that can be pinged says nothing": ping,
	} {
		t.Run(name, func(t *testing.T) {
			// Registered first, so it runs after everything that open cleans up.
			ignore := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
			h := open(t)
			if h.Notifier == nil || h.Messages == nil {
				t.Fatal("Harness: Notifier and Messages are required")
			}
			if !h.Local && (h.Answer == nil || h.Calls == nil || h.Refused == nil) {
				t.Fatal("Harness: Answer, Calls and Refused are required, or declare Local")
			}
			test(t, h)
			h.checkMessages(t)
		})
	}
}

// Event makes an event with every field set; its fields depend on the id alone.
func Event(id string) rotator.Event {
	return rotator.Event{
		ID: id, Kind: rotator.EventHeld, At: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		Token: "crm-sync", Rotation: "01JD0000000000000000000000",
		Reason: rotator.Scheduled, Step: rotator.StepProbe, Status: rotator.Held,
		Old: rotator.FingerprintOf("old " + id), New: rotator.FingerprintOf("new " + id),
		Summary: "crm-sync is held: a consumer of " + id + " is not ready",
		Detail:  "Both credentials are live.\nLook at the consumer, then resume.",
		Awaited: []rotator.Awaited{{Probe: "http 1", Target: "http://crm-worker:8080/healthz", Detail: "answered 503"}},
	}
}

func (h Harness) notify(t *testing.T, n rotator.Notifier, e rotator.Event) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := n.Notify(ctx, e)
	h.checkError(t, err)
	return err
}

func (h Harness) mustNotify(t *testing.T, e rotator.Event) {
	t.Helper()
	if err := h.notify(t, h.Notifier, e); err != nil {
		t.Fatalf("Notify(%q) = %v; want nil", e.ID, err)
	}
}

func (h Harness) wantMessages(t *testing.T, want int) []Message {
	t.Helper()
	got := h.Messages()
	if len(got) != want {
		t.Fatalf("messages = %d; want %d: %+v", len(got), want, got)
	}
	return got
}

func (h Harness) checkError(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	for _, secret := range h.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("an error shows a secret: %s", strings.ReplaceAll(text, secret, "[SECRET]"))
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q; want one line", err)
	}
}

// checkMessages holds what is true of every message.
func (h Harness) checkMessages(t *testing.T) {
	t.Helper()
	for _, m := range h.Messages() {
		for _, secret := range h.Secrets {
			if strings.Contains(m.Text, secret) {
				t.Error("a message shows a secret")
			}
		}
		if !utf8.ValidString(m.Text) {
			t.Errorf("message %q; want valid UTF-8", m.Text)
		}
		if h.Fits != nil && !h.Fits(m) {
			t.Errorf("a message of %d bytes is over the service's limit", len(m.Text))
		}
	}
}

func oneMessage(t *testing.T, h Harness) {
	for i, id := range []string{"e1", "e2"} {
		e := Event(id)
		h.mustNotify(t, e)
		got := h.wantMessages(t, i+1)[i]
		if !strings.Contains(got.Text, e.Summary) {
			t.Errorf("message %q; want the summary %q in it", got.Text, e.Summary)
		}
		if h.HasID && got.ID != id {
			t.Errorf("message's id = %q; want %q", got.ID, id)
		}
	}
}

func everyKind(t *testing.T, h Harness) {
	kinds := []rotator.EventKind{
		rotator.EventStarted, rotator.EventWaiting, rotator.EventHeld, rotator.EventReminder, rotator.EventDone,
		rotator.EventRolledBack, rotator.EventFailed, rotator.EventAborted, rotator.EventPaused,
	}
	for i, kind := range kinds {
		e := Event(fmt.Sprintf("e%d", i))
		e.Kind, e.Urgent = kind, i%2 == 0
		h.mustNotify(t, e)
	}
	bare := rotator.Event{ID: "bare", Kind: rotator.EventPaused, Token: "crm-sync", Summary: "crm-sync is paused", At: time.Unix(0, 0)}
	h.mustNotify(t, bare)
	h.wantMessages(t, len(kinds)+1)
}

func sameID(t *testing.T, h Harness) {
	if !h.HasID {
		t.Skip("the harness declares no HasID: the service knows none")
	}
	h.mustNotify(t, Event("e1"))
	h.mustNotify(t, Event("e1"))
	got := h.wantMessages(t, 2)
	if got[0].ID != got[1].ID {
		t.Errorf("ids of one event = %q and %q; want the same", got[0].ID, got[1].ID)
	}
}

// longText shifts the text by each count of bytes, so that a cut in the middle
// of a rune shows.
func longText(t *testing.T, h Harness) {
	if h.Fits == nil {
		t.Skip("the harness declares no limit")
	}
	for shift := range 4 {
		e := Event("e1")
		e.Summary = strings.Repeat("x", shift) + e.Summary
		e.Detail = strings.Repeat("x", shift) + strings.Repeat("señal de cambio → 世界 😀 ", 20_000)
		for i := range 500 {
			e.Awaited = append(e.Awaited, rotator.Awaited{
				Probe: "http", Target: fmt.Sprintf("http://worker-%d/", i), Detail: strings.Repeat("😀", 200),
			})
		}
		h.mustNotify(t, e)
		got := h.wantMessages(t, shift+1)[shift]
		if !strings.Contains(got.Text, e.Summary) {
			t.Error("the cut text has lost its summary")
		}
		if strings.ContainsRune(got.Text, utf8.RuneError) || strings.Contains(got.Text, `\ufffd`) {
			t.Error("the text was cut in the middle of a rune")
		}
	}
	e := Event("e2")
	e.Summary = strings.Repeat("😀", 20_000)
	h.mustNotify(t, e)
}

func oddText(t *testing.T, h Harness) {
	e := Event("e1")
	e.Detail = "quotes \" ' ` <b>&amp;</b> \\ {{ . }} %s \x00 \x1b[31m \xff\xfe \u202e end"
	h.mustNotify(t, e)
	h.wantMessages(t, 1)
}

func cancelled(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Notifier.Notify(ctx, Event("e1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Notify with a cancelled context = %v; want context.Canceled", err)
	}
	h.wantMessages(t, 0)
}

func concurrent(t *testing.T, h Harness) {
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if err := h.notify(t, h.Notifier, Event(fmt.Sprintf("e%d", i))); err != nil {
				t.Errorf("Notify() = %v; want nil", err)
			}
		})
	}
	group.Wait()
	var told strings.Builder
	for _, m := range h.wantMessages(t, 20) {
		told.WriteString(m.Text + "\n")
	}
	all := told.String()
	for i := range 20 {
		if summary := Event(fmt.Sprintf("e%d", i)).Summary; strings.Count(all, summary) != 1 {
			t.Errorf("%q was told %d times; want once", summary, strings.Count(all, summary))
		}
	}
}

func retried(t *testing.T, h Harness) {
	if h.Local {
		t.Skip("the harness declares Local: no service that could answer")
	}
	for i, status := range []int{429, 500, 502, 503, 504} {
		h.Answer(status, nil)
		err := h.notify(t, h.Notifier, Event("e1"))
		if err == nil || rotator.IsPermanent(err) {
			t.Errorf("Notify answered with %d = %v; want an error that is not permanent", status, err)
		}
		if calls := h.Calls(); calls != i+1 {
			t.Errorf("calls = %d; want %d: the engine retries, not the plug-in", calls, i+1)
		}
	}
	before := time.Now()
	h.Answer(429, http.Header{"Retry-After": {"60"}})
	err := h.notify(t, h.Notifier, Event("e1"))
	if at := rotator.RetryTime(err); at.Before(before.Add(60*time.Second)) || at.After(time.Now().Add(61*time.Second)) {
		t.Errorf("retry time of a 429 with Retry-After 60 = %v; want 60 seconds from now", at)
	}
	h.wantMessages(t, 0)
	h.Answer(204, nil)
	h.mustNotify(t, Event("e1"))
	h.wantMessages(t, 1)
}

func permanent(t *testing.T, h Harness) {
	if h.Local {
		t.Skip("the harness declares Local: no service that could answer")
	}
	for i, status := range []int{400, 401, 403, 404, 410, 413, 422} {
		h.Answer(status, nil)
		if err := h.notify(t, h.Notifier, Event("e1")); !rotator.IsPermanent(err) {
			t.Errorf("Notify answered with %d = %v; want a permanent error", status, err)
		}
		if calls := h.Calls(); calls != i+1 {
			t.Errorf("calls = %d; want %d", calls, i+1)
		}
	}
	h.wantMessages(t, 0)
}

func refused(t *testing.T, h Harness) {
	if h.Local {
		t.Skip("the harness declares Local: no service that could be away")
	}
	if err := h.notify(t, h.Refused, Event("e1")); err == nil || rotator.IsPermanent(err) {
		t.Errorf("Notify at a refused connection = %v; want an error that is not permanent", err)
	}
}

func ping(t *testing.T, h Harness) {
	pinger, ok := h.Notifier.(rotator.Pinger)
	if !ok {
		t.Skip("the notifier declares that it can't be pinged: no rotator.Pinger")
	}
	if err := pinger.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v; want nil", err)
	}
	h.wantMessages(t, 0)
}
