package repotest

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

// maxText is the size in bytes above which a file is no source or page.
const maxText = 1 << 20

// root is the folder with go.mod: tests run in their package's folder.
const root = "../.."

// files returns the paths below the root that match, relative to it. Stub
// modules of the test servers are left out: they are not our code's style.
func files(t *testing.T, match func(path string) bool) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && relative != "." {
			hidden := strings.HasPrefix(name, ".") && name != ".ci"
			if hidden || name == "dist" || name == "stub" && strings.Contains(relative, "testservers") {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.Type().IsRegular() && name != ".git" && match(relative) { // .git is a file in a work tree of its own
			found = append(found, relative)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
	if len(found) == 0 {
		t.Fatal("no file to test: is the root right?")
	}
	return found
}

func ending(suffix string) func(string) bool {
	return func(path string) bool { return strings.HasSuffix(path, suffix) && !strings.Contains(path, "testdata") }
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, read(t, path), parser.ParseComments)
	if err != nil {
		t.Fatalf("parse %s: %v", path, err)
	}
	return file
}

func TestEveryPackageHasAComment(t *testing.T) {
	comments := map[string]string{} // folder → package comment, "" while none was seen
	names := map[string]string{}
	for _, path := range files(t, ending(".go")) {
		file := parse(t, path)
		folder := filepath.Dir(path)
		comments[folder] += file.Doc.Text()
		if name := strings.TrimSuffix(file.Name.Name, "_test"); names[folder] == "" || !strings.HasSuffix(path, "_test.go") {
			names[folder] = name
		}
	}
	for folder, comment := range comments {
		want := "Package " + names[folder] + " "
		if names[folder] == "main" {
			want = "" // says what the command does, in its own words
		}
		if comment == "" || !strings.HasPrefix(comment, want) {
			t.Errorf("%s: the package comment is %.40q; want one that starts with %q", folder, comment, want)
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, path := range files(t, ending(".go")) {
		for _, declaration := range parse(t, path).Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if ok && function.Recv == nil && function.Name.Name == "init" {
				t.Errorf("%s: has an init(): register it in an explicit list", path)
			}
		}
	}
}

func TestGoFilesAreFormatted(t *testing.T) {
	for _, path := range files(t, ending(".go")) {
		raw := read(t, path)
		formatted, err := format.Source(raw)
		if err != nil {
			t.Errorf("format %s: %v", path, err)
		} else if !bytes.Equal(raw, formatted) {
			t.Errorf("%s: is not formatted: run make fmt", path)
		}
	}
}

// machinePath finds paths that exist on the author's machine only.
var machinePath = regexp.MustCompile(`(?m)(^|[\s"'=:(\x60])/(work|root|home|Users)/[A-Za-z.]`)

func TestNoPathsOfAMachine(t *testing.T) {
	for _, path := range files(t, func(string) bool { return true }) {
		info, err := os.Stat(filepath.Join(root, path))
		if err != nil || info.Size() > maxText {
			continue // gone meanwhile, or a built binary
		}
		raw := read(t, path)
		if !utf8.Valid(raw) {
			continue
		}
		for number, line := range strings.Split(string(raw), "\n") {
			if found := machinePath.FindString(line); found != "" {
				t.Errorf("%s:%d: names a path of somebody's machine: %q", path, number+1, found)
			}
		}
	}
}

func TestMachinePath(t *testing.T) {
	for line, want := range map[string]bool{
		"see /" + "work/main":             true,
		`dir: "/` + `home/ana/x"`:         true,
		"https://example.com/" + "home/x": false,
		"/run/secrets/token":              false,
	} {
		if got := machinePath.MatchString(line); got != want {
			t.Errorf("machinePath.MatchString(%q) = %v; want %v", line, got, want)
		}
	}
}

func TestGoModReplacesNothing(t *testing.T) {
	for number, line := range strings.Split(string(read(t, "go.mod")), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod:%d: a replace breaks `go install …@version`", number+1)
		}
	}
}

func TestChangelogHasUnreleased(t *testing.T) {
	text := string(read(t, "CHANGELOG.md"))
	if !strings.Contains(text, "\n## [Unreleased]\n") {
		t.Error("CHANGELOG.md: has no section ## [Unreleased]")
	}
}

// commandNames reads the names of all commands, subcommands too, from their sources.
func commandNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, path := range files(t, func(path string) bool {
		return strings.HasPrefix(path, "cmd/rotatord/") && strings.HasSuffix(path, ".go")
	}) {
		ast.Inspect(parse(t, path), func(node ast.Node) bool {
			pair, ok := node.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, isName := pair.Key.(*ast.Ident)
			value, isText := pair.Value.(*ast.BasicLit)
			if isName && isText && key.Name == "Use" {
				use, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Errorf("%s: %s: %v", path, value.Value, err)
				}
				name, _, _ := strings.Cut(use, " ")
				names = append(names, name)
			}
			return true
		})
	}
	for _, decision := range []rotator.Decision{rotator.Resume, rotator.Retry, rotator.Abort, rotator.Approve} {
		names = append(names, string(decision)) // one command each
	}
	return append(names, "help", "completion") // those come with cobra
}

var invocation = regexp.MustCompile(`(?m)(?:^|[\x60 /])rotatord ([a-z]+)(?: ([a-z]+))?`)

func TestPagesNameOnlyCommandsThatExist(t *testing.T) {
	known := commandNames(t)
	for _, path := range files(t, ending(".md")) {
		for _, code := range commandsOf(string(read(t, path))) {
			for _, match := range invocation.FindAllStringSubmatch(code, -1) {
				if !slices.Contains(known, match[1]) {
					t.Errorf("%s: names a command that does not exist: %q", path, strings.TrimSpace(match[0]))
				}
				parent := slices.Contains([]string{"docs", "audit"}, match[1])
				if parent && match[2] != "" && !slices.Contains(known, match[2]) {
					t.Errorf("%s: names a subcommand that does not exist: %q", path, strings.TrimSpace(match[0]))
				}
			}
		}
	}
}

// The diagram in the docs is the table that the code runs on.
func TestStatesDiagramInTheDocs(t *testing.T) {
	_, rest, begins := strings.Cut(string(read(t, "docs/concepts.md")), "<!-- states:begin -->\n")
	got, _, ends := strings.Cut(rest, "<!-- states:end -->")
	want := "```mermaid\n" + rotator.StatesDiagram() + "```\n"
	if !begins || !ends || got != want {
		t.Errorf("docs/concepts.md: the diagram between the markers is not that of the transition table: run make docs\n%s", cmp.Diff(want, got))
	}
}
