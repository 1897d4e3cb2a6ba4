// Package mutants shows that the tests of the promises see a promise break: it
// builds them with one defence switched off at a time, and they must fail and
// name the promise. With none switched off they must pass.
//
// It holds a test only, which an ordinary `go test ./...` skips:
//
//	make mutants
//
// To add a defence, ask without("its name") where the defence is, and add a row
// to defences.
package mutants
