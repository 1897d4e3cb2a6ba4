// Package execrollout starts rollouts and looks at consumers by running a
// command of the operator: systemctl, kubectl, a script.
//
// A command is a list of arguments, never a line for a shell. It runs in its
// own process group, with standard input closed, and learns from its
// environment which release it is about: the token's name, the rotation and
// fingerprints. It never gets a credential's value, and none of the daemon's
// own variables but a few harmless ones and those that pass_env names. What it
// prints on standard error is thrown away, because it may hold the operator's
// secrets; an error carries the exit status only.
//
// The deployer is in deploy.go, the probe in probe.go. A new variable for
// commands belongs into about and into both examples.
package execrollout

import (
	"github.com/rotatord/rotatord/internal/childprocess"
	"github.com/rotatord/rotatord/rotator"
)

// about is what a command learns of the release that it is run for.
func about(r rotator.Release) []string {
	return []string{
		childprocess.OwnPrefix + "TOKEN=" + r.Token,
		childprocess.OwnPrefix + "ROTATION=" + r.Rotation,
		childprocess.OwnPrefix + "RELEASE=" + r.ID,
		childprocess.OwnPrefix + "FINGERPRINT=" + string(r.Fingerprint),
		childprocess.OwnPrefix + "PREVIOUS_FINGERPRINT=" + string(r.Previous),
	}
}
