// Package issuers lists the types of issuers by name.
//
// It registers nothing on import and has no logic. To add an issuer, write its
// package in a folder of the type's name, and add a line to Types.
package issuers

import (
	"github.com/rotatord/rotatord/internal/registry"
	httpissuer "github.com/rotatord/rotatord/issuers/http"
	"github.com/rotatord/rotatord/issuers/instasent"
	"github.com/rotatord/rotatord/rotator"
)

// Types returns the types of issuers.
func Types() registry.Kind[rotator.Issuer] {
	return registry.Kind[rotator.Issuer]{
		"http":      registry.Of(httpissuer.New, httpissuer.Example),
		"instasent": registry.Of(instasent.New, instasent.Example),
	}
}
