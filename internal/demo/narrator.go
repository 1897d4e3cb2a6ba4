package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// narrator tells what happens, one calm line at a time. It only ever appends
// lines, so that its output reads the same in a terminal, a pipe and a file.
type narrator struct {
	out    io.Writer
	colour bool
	began  time.Time

	// of the rotation that is told about now
	workers int
	told    []rotator.Step
	awaited int
	lastErr string
}

// The colours of a terminal.
const (
	plain = ""
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	reset = "\x1b[0m"
)

func newNarrator(out io.Writer, colour bool) *narrator {
	if out == nil {
		out = io.Discard
	}
	return &narrator{out: out, colour: colour, began: time.Now()}
}

func (n *narrator) paint(colour, text string) string {
	if !n.colour || colour == plain {
		return text
	}
	return colour + text + reset
}

// line prints a line without a time.
func (n *narrator) line(format string, args ...any) {
	_, _ = fmt.Fprintf(n.out, format+"\n", args...) // a demo that nobody can see goes on
}

// at prints a line with the seconds since the start and what it is about.
func (n *narrator) at(colour, about, format string, args ...any) {
	seconds := n.paint(dim, fmt.Sprintf("%5.1f s", time.Since(n.began).Seconds()))
	n.line("%s  %s  %s", seconds, n.paint(colour, fmt.Sprintf("%-8s", about)), fmt.Sprintf(format, args...))
}

func (n *narrator) scene(title string) { n.line("\n%s", n.paint(bold, title)) }

func (n *narrator) opening(s *stage) {
	n.line("%s", n.paint(bold, "rotatord demo: everything runs on this machine; the Instasent is simulated"))
	n.at(plain, "service", "simulated Instasent at %s, its dashboard side at %s", s.api, s.dashboard)
	n.at(plain, "store", "token %s is in %s, fingerprint %s", tokenName, s.tokenFile, s.first)
	n.at(plain, "workers", "%d workers read it there, and post contacts and events without a break", len(s.fleet.workers))
	n.at(plain, "rotatord", "runs with %s", s.configPath)
}

func (n *narrator) adopted(c rotator.Credential) {
	n.at(plain, "adopt", "credential %s, made by hand long ago, is now rotatord's to replace", c.Fingerprint)
}

func (n *narrator) begin(workers int) {
	n.workers, n.told, n.awaited, n.lastErr = workers, nil, -1, ""
}

// see tells what is new in a rotation's status. Several changes may come at once.
func (n *narrator) see(r rotator.RotationStatus) {
	if r.LastErr != "" && r.LastErr != n.lastErr {
		n.at(dim, string(r.Step), "%s; it is tried again", r.LastErr)
	}
	n.lastErr = r.LastErr
	for _, step := range r.Done {
		if !slices.Contains(n.told, step) {
			n.told = append(n.told, step)
			n.at(green, string(step), "%s", n.words(step, r))
		}
	}
	if r.Step == rotator.StepProbe && !r.Status.Final() {
		n.progress(r)
	}
}

// progress tells how many workers are not there yet, whenever that changes.
func (n *narrator) progress(r rotator.RotationStatus) {
	var late []string
	for _, a := range r.Awaited {
		if strings.HasPrefix(a.Probe, userName) {
			late = append(late, a.Probe)
		}
	}
	if len(late) == n.awaited || len(late) == 0 {
		return
	}
	n.awaited = len(late)
	who := strings.Join(late[:min(3, len(late))], ", ")
	if len(late) > 3 {
		who += ", …"
	}
	n.at(dim, "probe", "%d of %d workers proved it; awaited: %s", n.workers-len(late), n.workers, who)
}

// words say what a step that is done has achieved.
func (n *narrator) words(step rotator.Step, r rotator.RotationStatus) string {
	switch step {
	case rotator.StepIssue:
		return fmt.Sprintf("a new credential is live beside the old one: %s", r.New)
	case rotator.StepStore:
		return "the file holds it: written, and read back"
	case rotator.StepDeploy:
		return "the workers were told to reload; the old credential still works"
	case rotator.StepProbe:
		return fmt.Sprintf("all %d workers live on the new credential, by their own word and twice in a row", n.workers)
	case rotator.StepRevoke:
		return fmt.Sprintf("the old credential is deleted at the service: %s", r.Old)
	case rotator.StepConfirm:
		return "the service refuses the old credential: it is dead"
	}
	return ""
}

func (n *narrator) ended(r rotator.RotationStatus, t tally) {
	n.at(green, string(r.Status), "after %.1f s; the workers made %d calls so far, %d were refused",
		r.ClosedAt.Sub(r.OpenedAt).Seconds(), t.calls, t.refused)
}

// table prints the result.
func (n *narrator) table(r report) {
	n.scene("Result")
	refused := n.paint(green, "0")
	if r.refused > 0 {
		refused = n.paint(red, fmt.Sprint(r.refused))
	}
	n.line("  calls made by the workers       %d", r.calls)
	n.line("  calls refused                   %s", refused)
	n.line("  calls failed otherwise          %d", r.failed)
	n.line("  credentials accepted in the end %d", len(r.live))
	n.line("")
	n.line("  %-26s  %-9s  %-6s  %8s  %14s", "rotation", "reason", "ended", "took", "revoke to dead")
	for _, rotation := range r.rotations {
		n.line("  %-26s  %-9s  %-6s  %6.1f s  %12.1f s", rotation.ID, rotation.Reason, rotation.Status,
			rotation.ClosedAt.Sub(rotation.OpenedAt).Seconds(), rotation.Dead.Seconds())
	}
}

func (n *narrator) keep(program, config string) {
	n.scene("Still running. Try in another terminal:")
	for _, command := range []string{
		"status", "plan " + tokenName, "rotate " + tokenName, "rotate " + tokenName + " --reason leak",
		"history " + tokenName, "audit verify", "sweep " + tokenName,
	} {
		n.line("  %s -c %s %s", program, config, command)
	}
	n.line("Ctrl-C ends it and removes its folder.")
}
