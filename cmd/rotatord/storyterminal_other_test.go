//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

func types(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("types works on Linux only; guard it with [linux]")
}
