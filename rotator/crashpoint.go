//go:build crashpoints

package rotator

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A build with the tag crashpoints can die where a test wants it to:
//
//	ROTATORD_CRASH_AT=NAME[#N]  SIGKILL to itself when it passes the point NAME for the Nth time (default 1)
//	ROTATORD_CRASH_LIST=FILE    append the name of every point that it passes, a line each
//
// The points are, before and after each call to a plug-in and each append to
// the journal:
//
//	act/ACTION/COURSE/STEP/before|after    act/aside/… outside of a rotation: adopt, provide, sweep, notifications
//	append/KIND[+KIND…]/COURSE/STEP/before|after
//
// An append of several entries names each kind once; an outcome of a part of a
// step says which: outcome.preflight. No released binary has this tag.

var crashing struct {
	mu     sync.Mutex
	passed map[string]int
}

// crashPoint is passed before and after the call of an act.
func crashPoint(a act, when string) {
	kind := string(a.action.Kind)
	if kind == "" {
		kind = "aside"
	}
	pass("act", kind, string(a.state.Course), string(a.state.Step), when)
}

// crashAppend is passed before and after entries are appended.
func crashAppend(entries []Entry, when string) {
	if len(entries) == 0 {
		return
	}
	var kinds []string
	for _, e := range entries {
		kind := string(e.Kind)
		switch e.Target {
		case targetPreflight, targetCapture, targetSettle, targetScopes, targetCount:
			kind += "." + e.Target
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	last := entries[len(entries)-1]
	pass("append", strings.Join(kinds, "+"), string(last.Course), string(last.Step), when)
}

// pass counts a point, notes it, and dies there if it should. Several
// goroutines pass one after the other.
func pass(parts ...string) {
	name := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "/")
	crashing.mu.Lock()
	defer crashing.mu.Unlock()
	if crashing.passed == nil {
		crashing.passed = map[string]int{}
	}
	crashing.passed[name]++
	if path := os.Getenv("ROTATORD_CRASH_LIST"); path != "" {
		if err := appendLine(path, name); err != nil {
			panic(fmt.Sprintf("write ROTATORD_CRASH_LIST: %v", err))
		}
	}
	at, count, numbered := strings.Cut(os.Getenv("ROTATORD_CRASH_AT"), "#")
	n := 1
	if numbered {
		var err error
		if n, err = strconv.Atoi(count); err != nil {
			panic("ROTATORD_CRASH_AT is not NAME[#N]")
		}
	}
	if at == name && crashing.passed[name] == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the kernel ends it before long
	}
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // a test names it
	if err != nil {
		return err
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
