//go:build !mutants

package journal

// without is true for nothing but in a build with the tag mutants: see without.go.
func without(string) bool { return false }
