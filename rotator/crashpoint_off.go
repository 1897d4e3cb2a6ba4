//go:build !crashpoints

package rotator

// crashPoint and crashAppend do nothing but in a build with the tag
// crashpoints: see crashpoint.go.
func crashPoint(act, string) {}

func crashAppend([]Entry, string) {}
