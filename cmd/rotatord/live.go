package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

// A view shows rotations while a person waits. see may be called by many
// goroutines; end leaves what was shown last.
type view interface {
	see(r server.Rotation)
	end()
}

// newView shows rotations on standard output: redrawn in place on a terminal,
// a line a change elsewhere, and nothing where only JSON is to be printed.
func (a *app) newView(ctx context.Context) view {
	if a.json() {
		return noView{}
	}
	if _, _, ok := terminal(a.out); ok {
		return startLive(ctx, a.out, func() (int, int) { w, h, _ := terminal(a.out); return w, h }, a.now)
	}
	return &lineView{out: a.out, now: a.now, last: map[string]string{}}
}

type noView struct{}

func (noView) see(server.Rotation) {}
func (noView) end()                {}

// lineView prints a line when something changed that a person would notice.
type lineView struct {
	out io.Writer
	now func() time.Time

	mu   sync.Mutex
	last map[string]string
}

func (v *lineView) see(r server.Rotation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	line := changeText(r)
	if v.last[r.ID] == line {
		return
	}
	v.last[r.ID] = line
	printf(v.out, "%s: %s%s\n", clean(r.Token), line, leftText(r, v.now()))
}

func (v *lineView) end() {}

// changeText is a rotation in a line, without what changes by the clock, and
// without what a hold says: the command's last word is that.
func changeText(r server.Rotation) string {
	text := strings.TrimSpace(string(r.Step) + " " + string(r.Status))
	if r.Course == rotator.RollBack && !r.Status.Final() {
		text = "roll back: " + text
	}
	switch {
	case r.Status.Final() && r.Detail != "":
		return text + ": " + clean(r.Detail)
	case len(stragglers(r)) > 0 && !r.Status.Final():
		return text + ", awaits " + awaitedList(stragglers(r))
	case r.NeedsPerson():
		return text + " for a person"
	case r.LastError != "" && !r.Status.Final():
		return text + ", attempt " + fmt.Sprint(r.Attempt) + ": " + clean(r.LastError)
	}
	return text
}

// stragglers are who is awaited besides the person that the hold's text is for.
func stragglers(r server.Rotation) []server.Awaited {
	return slices.DeleteFunc(slices.Clone(r.Awaited), func(a server.Awaited) bool {
		return r.Hold != nil && a.Detail == r.Hold.Text
	})
}

// awaitedList names at most three: who has a hundred stragglers asks status.
func awaitedList(list []server.Awaited) string {
	const most = 3
	var texts []string
	for i, a := range list {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(list)-most))
			break
		}
		texts = append(texts, awaitedText(a))
	}
	return strings.Join(texts, "; ")
}

// liveView redraws all rotations in place, at each change and every second.
type liveView struct {
	out  io.Writer
	size func() (width, height int)
	now  func() time.Time

	mu        sync.Mutex
	rotations []server.Rotation // in the order in which they were first seen
	drawn     int               // lines on the screen that are ours
	stop      func()
	stopped   chan struct{}
}

func startLive(ctx context.Context, out io.Writer, size func() (int, int), now func() time.Time) *liveView {
	ctx, cancel := context.WithCancel(ctx)
	v := &liveView{out: out, size: size, now: now, stop: cancel, stopped: make(chan struct{})}
	go v.tick(ctx)
	return v
}

func (v *liveView) tick(ctx context.Context) {
	defer close(v.stopped)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			v.mu.Lock()
			v.draw()
			v.mu.Unlock()
		}
	}
}

func (v *liveView) see(r server.Rotation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := slices.IndexFunc(v.rotations, func(o server.Rotation) bool { return o.ID == r.ID })
	if i < 0 {
		v.rotations = append(v.rotations, r)
	} else {
		v.rotations[i] = r
	}
	v.draw()
}

func (v *liveView) end() {
	v.stop()
	<-v.stopped
	printf(v.out, "\r\x1b[2K") // the ^C that a terminal echoes
}

// draw writes over what it drew before: the cursor goes up by the lines drawn,
// and each line clears what was there (ECMA-48: CUU, EL, ED).
func (v *liveView) draw() {
	columns, height := v.size()
	var lines []string
	for _, r := range v.rotations {
		lines = append(lines, liveLines(r, v.now())...)
	}
	if len(lines) > height-1 {
		lines = lines[:0]
		for _, r := range v.rotations {
			lines = append(lines, clean(r.Token)+": "+changeText(r)+leftText(r, v.now()))
		}
	}
	if len(lines) > height-1 {
		rest := len(lines) - (height - 2)
		lines = append(lines[:height-2], fmt.Sprintf("… and %d more", rest))
	}
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[2K" + fit(line, columns-1) + "\n")
	}
	b.WriteString("\x1b[J")
	printf(v.out, "%s", b.String())
	v.drawn = len(lines)
}

// liveLines is one rotation, step by step.
func liveLines(r server.Rotation, now time.Time) []string {
	lines := []string{fmt.Sprintf("%s  rotation %s (%s)%s %s%s",
		clean(r.Token), clean(r.ID), r.Reason, courseText(r.Course), r.Status, leftText(r, now))}
	steps := stepsOf(r.Course)
	at := slices.Index(steps, r.Step)
	for i, step := range steps {
		state := ""
		switch {
		case r.Status == rotator.Done, slices.Contains(r.Done, step) && i != at, i < at:
			state = "done"
		case i == at:
			state = string(r.Status)
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("  %-8s %s", step, state), " "))
		if i == at && !r.Status.Final() {
			lines = append(lines, detailLines(r)...)
		}
	}
	if r.Status.Final() && r.Detail != "" {
		lines = append(lines, "  "+clean(r.Detail))
	}
	return lines
}

func detailLines(r server.Rotation) []string {
	const most = 5
	var lines []string
	awaited := stragglers(r)
	for i, a := range awaited {
		if i == most {
			lines = append(lines, fmt.Sprintf("           and %d more", len(awaited)-most))
			break
		}
		lines = append(lines, "           awaits "+awaitedText(a))
	}
	if r.Hold == nil && r.LastError != "" {
		lines = append(lines, fmt.Sprintf("           attempt %d: %s", r.Attempt, clean(r.LastError)))
	}
	return lines
}

// stepsOf lists a course's steps in its order.
func stepsOf(course rotator.Course) []rotator.Step {
	all := rotator.Steps()
	split := slices.Index(all, rotator.StepRevoke)
	switch course {
	case rotator.RevokeFirst:
		return append(slices.Clone(all[split:]), all[:split]...)
	case rotator.RollBack:
		return all[slices.Index(all, rotator.StepStore):]
	case rotator.ReplaceFirst:
	}
	return all
}

// fit cuts a line to the columns of the screen: one that wraps would break the
// count of lines. Letters that may be wide are counted as two columns.
func fit(line string, columns int) string {
	const firstWide = 0x1100 // Hangul Jamo, the first wide block
	used := 0
	for i, r := range line {
		used++
		if r >= firstWide && r != '…' {
			used++
		}
		if used > columns {
			return line[:i]
		}
	}
	return line
}
