package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)

func at(d time.Duration) *time.Time {
	moment := noon.Add(d)
	return &moment
}

// someTokens are tokens in the states that people meet.
func someTokens() []server.Token {
	dead := 1.25
	last := server.Rotation{
		ID: "01LAST", Token: "crm-sync", Reason: rotator.Scheduled, Status: rotator.Done, Course: rotator.ReplaceFirst,
		OpenedAt: at(-48 * time.Hour), ClosedAt: at(-47 * time.Hour), Old: "0000000000000000", New: "1111111111111111", DeadSeconds: &dead,
	}
	hold := "1 of 2 probes not green after 30m0s: crm-worker"
	return []server.Token{
		{
			Name: "billing", Issuer: "billing", Failures: 3, Paused: true, Blind: []string{"github acme/billing#TOKEN"},
			Current: &server.Credential{ID: "7", Fingerprint: "aaaaaaaaaaaaaaaa", IssuedAt: at(-400 * 24 * time.Hour)},
			Due:     &server.Due{At: *at(-35 * 24 * time.Hour), Reason: rotator.Scheduled, Rule: "max_age"},
		},
		{
			Name: "crm-sync", Issuer: "instasent", Last: &last,
			Current: &server.Credential{ID: "8", Fingerprint: "1111111111111111", IssuedAt: at(-48 * time.Hour)},
			Due:     &server.Due{At: *at(363 * 24 * time.Hour), Reason: rotator.Scheduled, Rule: "cron"},
			Open: &server.Rotation{
				ID: "01OPEN", Token: "crm-sync", Reason: rotator.Offboarding, Status: rotator.Held, Course: rotator.ReplaceFirst,
				Step: rotator.StepProbe, StartedAt: at(-time.Hour), DeadlineAt: at(-30 * time.Minute),
				Done:    []rotator.Step{rotator.StepIssue, rotator.StepStore, rotator.StepDeploy},
				Awaited: []server.Awaited{{Probe: "crm-worker", Target: "http://crm:8080/healthz", Detail: "says \x1b[31mno"}},
				Hold:    &server.Hold{Kind: rotator.HoldDeadline, Text: hold}, Settled: true,
			},
		},
		{Name: "new", Issuer: "hand"},
	}
}

func TestStatusGolden(t *testing.T) {
	var text, data bytes.Buffer
	printStatus(&text, someTokens(), noon)
	if err := printJSON(&data, statusOf(someTokens())); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.txt", text.String())
	golden(t, "status.json", data.String())
}

func openAt(step rotator.Step, status rotator.Status, awaited ...server.Awaited) server.Rotation {
	return server.Rotation{
		ID: "01OPEN", Token: "crm-sync", Reason: rotator.Manual, Status: status, Course: rotator.ReplaceFirst,
		Step: step, DeadlineAt: at(90 * time.Second), Awaited: awaited,
	}
}

func TestLineViewPrintsChangesOnly(t *testing.T) {
	var out bytes.Buffer
	view := &lineView{out: &out, now: func() time.Time { return noon }, last: map[string]string{}}
	late := server.Awaited{Probe: "crm-worker", Target: "http://crm/", Detail: "still on 0000000000000000"}
	view.see(openAt(rotator.StepIssue, rotator.Running))
	view.see(openAt(rotator.StepProbe, rotator.Waiting, late))
	view.see(openAt(rotator.StepProbe, rotator.Waiting, late))
	view.see(openAt(rotator.StepProbe, rotator.Waiting, late, late, late, late, late))
	done := openAt("", rotator.Done)
	view.see(done)
	view.end()
	golden(t, "lines.txt", out.String())
}

// stillLive is a live view that draws only when it sees something.
func stillLive(out io.Writer, height *int) *liveView {
	stopped := make(chan struct{})
	close(stopped)
	return &liveView{
		out: out, size: func() (int, int) { return 60, *height }, now: func() time.Time { return noon },
		stop: func() {}, stopped: stopped,
	}
}

func TestLiveView(t *testing.T) {
	var out bytes.Buffer
	height := 24
	view := stillLive(&out, &height)
	view.see(openAt(rotator.StepProbe, rotator.Waiting, server.Awaited{Probe: "crm-worker", Target: "http://crm/" + strings.Repeat("long", 20)}))
	rolling := openAt(rotator.StepDeploy, rotator.Running)
	rolling.Course = rotator.RollBack
	view.see(rolling)
	view.end()
	golden(t, "live.txt", strings.ReplaceAll(out.String(), "\x1b", "ESC"))

	// Many rotations on a small screen: a line each, and no more than fit.
	out.Reset()
	height = 6
	view = stillLive(&out, &height)
	for i := range 10 {
		r := openAt(rotator.StepStore, rotator.Running)
		r.ID, r.Token = fmt.Sprint(i), fmt.Sprintf("token-%d", i)
		view.see(r)
	}
	view.end()
	frames := strings.Split(out.String(), "\x1b[J")
	last := frames[len(frames)-2]
	if got := strings.Count(last, "\n"); got != height-1 {
		t.Errorf("a screen of %d lines gets %d:\n%s", height, got, last)
	}
	if !strings.Contains(last, "… and 6 more") {
		t.Errorf("last frame = %q; want it to count those left out", last)
	}
}

func TestFinishExitCodes(t *testing.T) {
	done, held := openAt("", rotator.Done), openAt(rotator.StepProbe, rotator.Held)
	held.Hold, held.Settled = &server.Hold{Kind: rotator.HoldDeadline, Text: "not green"}, true
	running, back, aborted := openAt(rotator.StepStore, rotator.Running), openAt("", rotator.RolledBack), openAt("", rotator.Aborted)
	for _, test := range []struct {
		rotations []server.Rotation
		want      int
	}{
		{nil, exitDone},
		{[]server.Rotation{done, running}, exitDone},
		{[]server.Rotation{done, held}, exitHeld},
		{[]server.Rotation{held, back}, exitFailed},
		{[]server.Rotation{aborted}, exitFailed},
	} {
		a := newApp(nil, io.Discard, io.Discard)
		if got := report(io.Discard, classify(a.finish(test.rotations, rotator.Done))); got != test.want {
			t.Errorf("finish(%v) leads to exit code %d; want %d", test.rotations, got, test.want)
		}
	}
	a := newApp(nil, io.Discard, io.Discard)
	if err := a.finish([]server.Rotation{aborted}, rotator.Done, rotator.Aborted); err != nil {
		t.Errorf("finish of what was to be aborted = %v; want nil", err)
	}
}

func TestReportKeepsTerminalsSafe(t *testing.T) {
	var out bytes.Buffer
	code := report(&out, failed(errors.New("read token \"x\": \x1b[2J\nnext"), "try \x1b]0;title\x07"))
	want := "rotatord: read token \"x\": \\x1b[2J\nrotatord: next\nhint: try \\x1b]0;title\\a\n"
	if code != exitFailed || out.String() != want {
		t.Errorf("report() = %d %q; want %d %q", code, out.String(), exitFailed, want)
	}
}
