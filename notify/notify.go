// Package notify lists the types of notifiers by name.
//
// It registers nothing on import and has no logic. To add a notifier, write its
// package in a folder of the type's name, and add a line to Types.
package notify

import (
	"github.com/rotatord/rotatord/internal/registry"
	lognotifier "github.com/rotatord/rotatord/notify/log"
	webhooknotifier "github.com/rotatord/rotatord/notify/webhook"
	"github.com/rotatord/rotatord/rotator"
)

// Types returns the types of notifiers.
func Types() registry.Kind[rotator.Notifier] {
	return registry.Kind[rotator.Notifier]{
		"log":     registry.Of(lognotifier.New, lognotifier.Example),
		"webhook": registry.Of(webhooknotifier.New, webhooknotifier.Example),
	}
}
