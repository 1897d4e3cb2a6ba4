package config

import (
	"github.com/rotatord/rotatord/issuers"
	"github.com/rotatord/rotatord/notify"
	"github.com/rotatord/rotatord/rollout"
	"github.com/rotatord/rotatord/stores"
)

// BuiltIn lists the types of plug-ins that rotatord has.
func BuiltIn() Plugins {
	return Plugins{
		Issuers: issuers.Types(), Stores: stores.Types(),
		Deployers: rollout.Deployers(), Probes: rollout.Probes(), Notifiers: notify.Types(),
	}
}
