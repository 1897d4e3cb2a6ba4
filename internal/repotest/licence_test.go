package repotest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Licences whose terms can be met by a work under Apache-2.0 that only links
// the module. MPL-2.0 asks for the module's own files, which nobody changes here.
func compatible() []string {
	return []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "public domain"}
}

// odd are files that are called like a licence but are no licence of what is
// built, by module, each with what a person found in it.
func odd() map[string]string {
	return map[string]string{
		"modernc.org/memory LICENSE-LOGO":         "where a picture for its README comes from; no build has the picture",
		"modernc.org/sqlite LICENSE-3RD-PARTY.md": "all that its repository holds and its tests use; what gets into a build is MIT, BSD and public domain",
	}
}

type module struct {
	Path, Version, Dir string
	Indirect           bool
}

// goTool runs a command that reads go.mod or Go's settings; it may not reach
// for a network.
func goTool(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOTOOLCHAIN=local", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// requirements are the modules of go.mod: all that any build of this one needs.
func requirements(t *testing.T) []module {
	t.Helper()
	var file struct{ Require []module }
	if err := json.Unmarshal(goTool(t, "mod", "edit", "-json"), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Require) < 20 {
		t.Fatalf("go.mod requires %d modules: is the root right?", len(file.Require))
	}
	return file.Require
}

// withFolders finds the modules in the module cache, where `go mod download` or
// a build puts them (its layout: https://go.dev/ref/mod#module-cache). One that is
// not there has no Dir: no package of it is part of a build on this machine.
func withFolders(t *testing.T, modules []module) []module {
	t.Helper()
	cache := strings.TrimSpace(string(goTool(t, "env", "GOMODCACHE")))
	found := slices.Clone(modules)
	for i, m := range found {
		dir := filepath.Join(cache, filepath.FromSlash(escaped(m.Path)+"@"+escaped(m.Version)))
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			found[i].Dir = dir
		}
	}
	return found
}

// escaped is how the module cache writes capital letters: !c for C.
func escaped(text string) string {
	return regexp.MustCompile("[A-Z]").ReplaceAllStringFunc(text, func(letter string) string { return "!" + strings.ToLower(letter) })
}

// licenceFile is how files with a licence are called.
var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying)([-._].*)?$`)

// licencesIn tells which licences a text holds, by a sentence that each one has.
// A GNU licence is told apart from the MPL, which names those.
func licencesIn(text string) []string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(parts ...string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
	}
	var found []string
	if has("mozilla public license", "2.0", "covered software") {
		found = append(found, "MPL-2.0")
	} else if has("gnu ", "general public license") || has("gnu affero") {
		found = append(found, "GPL")
	}
	if has("apache license", "version 2.0") {
		found = append(found, "Apache-2.0")
	}
	if has("redistribution and use in source and binary forms", "redistributions in binary form must") {
		if has("endorse or promote products") {
			found = append(found, "BSD-3-Clause")
		} else {
			found = append(found, "BSD-2-Clause")
		}
	}
	if has("all advertising materials mentioning") {
		found = append(found, "BSD-4-Clause")
	}
	if has("permission is hereby granted, free of charge, to any person obtaining a copy", `provided "as is"`) {
		found = append(found, "MIT")
	}
	if has("permission to use, copy, modify, and", "distribute this software for any purpose with or without fee") {
		found = append(found, "ISC")
	}
	if has("dedicated to the public domain") {
		found = append(found, "public domain")
	}
	return found
}

// licencesOf reads the licence files of a module, and says what is wrong.
func licencesOf(m module) (licences, wrong []string) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, []string{err.Error()}
	}
	files := 0
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !licenceFile.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		files++
		if _, known := odd()[m.Path+" "+entry.Name()]; known {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, entry.Name()))
		found := licencesIn(string(text))
		if err != nil || len(found) == 0 {
			wrong = append(wrong, entry.Name()+": no licence that is known")
		}
		for _, licence := range found {
			if !slices.Contains(compatible(), licence) {
				wrong = append(wrong, entry.Name()+": "+licence+" does not go with Apache-2.0")
			}
		}
		licences = append(licences, found...)
	}
	if files == 0 {
		wrong = append(wrong, "has no licence file")
	}
	slices.Sort(licences)
	return slices.Compact(licences), wrong
}

func TestLicencesGoWithApache2(t *testing.T) {
	seen := 0
	for _, m := range withFolders(t, requirements(t)) {
		if m.Dir == "" { // `go mod download` would bring it
			t.Logf("%s: not in the module cache, so not in a build here", m.Path)
			continue
		}
		seen++
		licences, wrong := licencesOf(m)
		if len(wrong) > 0 {
			t.Errorf("%s %s: %s; find out whether it may be used, then list it in licence_test.go with a reason",
				m.Path, m.Version, strings.Join(wrong, "; "))
		}
		t.Logf("%s: %v", m.Path, licences)
	}
	if seen < 20 {
		t.Errorf("%d modules were looked at; want all that are built", seen)
	}
}

func TestLicencesIn(t *testing.T) {
	for text, want := range map[string][]string{
		"GNU GENERAL PUBLIC LICENSE\n Version 3":                                                   {"GPL"},
		"Mozilla Public License, version 2.0\n Covered Software … the GNU General\nPublic License": {"MPL-2.0"},
		"GNU Lesser General Public License, and the Apache License, Version 2.0":                   {"GPL", "Apache-2.0"},
		"All rights reserved. Ask before you use it.":                                              nil,
		"Redistribution and use in source and binary forms … Redistributions in binary form must … All advertising materials mentioning": {
			"BSD-2-Clause", "BSD-4-Clause",
		},
	} {
		if got := licencesIn(text); !slices.Equal(got, want) {
			t.Errorf("licencesIn(%q) = %q; want %q", text, got, want)
		}
	}
	folder := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x", "license_test.go": "package x", "LICENSE": "GNU Affero General Public License", "COPYING.txt": "Ask."} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, wrong := licencesOf(module{Path: "x", Dir: folder}); len(wrong) != 2 {
		t.Errorf("licencesOf a module under the AGPL with a file nobody knows = %q; want both", wrong)
	}
	if _, wrong := licencesOf(module{Path: "x", Dir: t.TempDir()}); len(wrong) != 1 {
		t.Errorf("licencesOf a module without a licence = %q; want that", wrong)
	}
}
