package webhooknotifier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rotatord/rotatord/rotator"
)

// The specification asks for small payloads (20 kB are suggested); these
// bounds, in bytes, keep an event with every field full below that.
const (
	maxSummary = 1 << 10
	maxDetail  = 8 << 10
	maxAwaited = 16 // stragglers
	maxField   = 200
)

// message is the body of the request; every key is always there.
type message struct {
	Type      rotator.EventKind `json:"type"`
	Timestamp time.Time         `json:"timestamp"`
	Data      data              `json:"data"`
}

type data struct {
	Token       string              `json:"token"`
	Rotation    string              `json:"rotation"`
	Reason      rotator.Reason      `json:"reason"`
	Step        rotator.Step        `json:"step"`
	Status      rotator.Status      `json:"status"`
	Old         rotator.Fingerprint `json:"old_fingerprint"`
	New         rotator.Fingerprint `json:"new_fingerprint"`
	Summary     string              `json:"summary"`
	Detail      string              `json:"detail"`
	Awaited     []awaited           `json:"awaited"`
	MoreAwaited int                 `json:"more_awaited"`
	Urgent      bool                `json:"urgent"`
}

type awaited struct {
	Probe  string `json:"probe"`
	Target string `json:"target"`
	Detail string `json:"detail"`
}

func encode(e rotator.Event) ([]byte, error) {
	m := message{Type: e.Kind, Timestamp: e.At.UTC(), Data: data{
		Token: e.Token, Rotation: e.Rotation, Reason: e.Reason, Step: e.Step, Status: e.Status,
		Old: e.Old, New: e.New, Urgent: e.Urgent,
		Summary: cut(e.Summary, maxSummary), Detail: cut(e.Detail, maxDetail), Awaited: []awaited{},
	}}
	shown := e.Awaited[:min(len(e.Awaited), maxAwaited)]
	m.Data.MoreAwaited = len(e.Awaited) - len(shown)
	for _, a := range shown {
		m.Data.Awaited = append(m.Data.Awaited, awaited{
			Probe: cut(a.Probe, maxField), Target: cut(a.Target, maxField), Detail: cut(a.Detail, maxField),
		})
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(m); err != nil {
		return nil, fmt.Errorf("write message: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// cut shortens text to at most limit bytes, on a rune's edge, and marks that
// with an ellipsis.
func cut(text string, limit int) string {
	const mark = "…"
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= limit {
		return text
	}
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
