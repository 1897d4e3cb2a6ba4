package main

import (
	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/rotator"
)

// nextSteps says what a person can do about a rotation that needs one. Why it
// does is in the hold's own text.
func nextSteps(r server.Rotation) []string {
	if r.Hold == nil || r.Status.Final() {
		return nil
	}
	switch r.Hold.Kind {
	case rotator.AskProvide:
		return []string{"`rotatord provide " + r.Token + "` takes the value from standard input"}
	case rotator.AskDelete:
		return []string{"a running daemon sees by itself that it is gone; without one, `rotatord resume " + r.Token + "` looks again"}
	case rotator.HoldReverted:
		return []string{"`rotatord retry " + r.Token + "` writes the value again; `rotatord resume " + r.Token + "` looks again; abort undoes the rotation"}
	case rotator.HoldConflict, rotator.HoldInDoubt, rotator.HoldUnconfirmed:
		return []string{"`rotatord resume " + r.Token + "` looks again; `rotatord approve " + r.Token + "` says yes to what it asks; abort undoes the rotation where that can still be done"}
	case rotator.HoldDeadline, rotator.HoldProbe, rotator.HoldUnhealthy, rotator.HoldPreflight, rotator.HoldStore,
		rotator.HoldDeploy, rotator.HoldRevoke, rotator.HoldLive, rotator.HoldConfig, rotator.HoldSealed:
	}
	return []string{"`rotatord resume " + r.Token + "` looks again; retry acts again; abort undoes the rotation where that can still be done"}
}
