//go:build mutants

package journal

import "os"

// without tells whether a defence is switched off. A build with the tag mutants
// lacks the one that ROTATORD_WITHOUT names, so that a test can show that its
// promise is then seen to break. No released binary has this tag.
func without(defence string) bool { return os.Getenv("ROTATORD_WITHOUT") == defence }
