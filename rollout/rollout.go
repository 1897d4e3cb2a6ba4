// Package rollout lists the types of deployers and probes by name.
//
// It registers nothing on import and has no logic. To add one, write its
// package in a folder of the type's name, and add a line to Deployers or Probes.
package rollout

import (
	"github.com/rotatord/rotatord/internal/registry"
	execrollout "github.com/rotatord/rotatord/rollout/exec"
	httpprobe "github.com/rotatord/rotatord/rollout/http"
	"github.com/rotatord/rotatord/rotator"
)

// Deployers returns the types of deployers.
func Deployers() registry.Kind[rotator.Deployer] {
	return registry.Kind[rotator.Deployer]{
		"exec": registry.Of(execrollout.NewDeployer, execrollout.DeployExample),
	}
}

// Probes returns the types of probes.
func Probes() registry.Kind[rotator.Probe] {
	return registry.Kind[rotator.Probe]{
		"exec": registry.Of(execrollout.NewProbe, execrollout.ProbeExample),
		"http": registry.Of(httpprobe.New, httpprobe.Example),
	}
}
