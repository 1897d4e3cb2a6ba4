// Package testservers starts real servers for tests, on free ports of the
// loopback address. Each server is a module of its own in a folder here; it is
// built once into the user's cache folder, under a name that says its version
// and the hash of its sources, and a lock keeps parallel test packages from
// building it twice.
//
// It never downloads a binary, never listens on another address, and leaves no
// server behind: each one ends with its standard input, thus with the test
// process at the latest.
//
// To add a server, add its folder with main.go and go.mod, list it in Servers,
// and write its Start function beside StartVault.
package testservers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// A Server is one that can be built.
type Server struct {
	Name    string // its folder here
	Version string // of the server that it contains
	Cost    string // what a person is told before the first build
}

// Servers lists the servers that `make test` builds beforehand.
func Servers() []Server { return []Server{vaultServer(), toxiproxyServer()} }

// Build returns the path of a server's binary and builds it first when the
// cache does not have it; say, if it is not nil, is told before it does. It
// needs the Go toolchain and the sources of this repository around the working
// directory.
func Build(ctx context.Context, s Server, say func(message string)) (string, error) {
	sources, err := sourceDir(s.Name)
	if err != nil {
		return "", err
	}
	hash, err := hashSources(sources)
	if err != nil {
		return "", fmt.Errorf("hash sources of %s: %w", s.Name, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "rotatord-test")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	binary := filepath.Join(cache, fmt.Sprintf("%s-%s-%s", s.Name, s.Version, hash))
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(cache, s.Name+".lock")).Lock()
	if err != nil {
		return "", fmt.Errorf("lock cache: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(binary); !errors.Is(err, fs.ErrNotExist) {
		return binary, err
	}
	if say != nil {
		say(fmt.Sprintf("building the test server %s %s into %s: %s", s.Name, s.Version, cache, s.Cost))
	}
	return binary, compile(ctx, sources, binary)
}

// compile builds the module in dir, whatever module and settings the caller is in.
func compile(ctx context.Context, dir, binary string) error {
	unfinished := binary + ".unfinished"
	build := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", "-o", unfinished, ".") //nolint:gosec // our own paths
	build.Dir = dir
	build.Env = append(os.Environ(), "PWD="+dir, "GOWORK=off", "GOFLAGS=", "GOOS=", "GOARCH=", "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		_ = os.Remove(unfinished)
		return fmt.Errorf("build %s: %w\n%s", filepath.Base(dir), err, output)
	}
	return os.Rename(unfinished, binary)
}

// sourceDir looks upwards from the working directory for the repository.
func sourceDir(name string) (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		sources := filepath.Join(dir, "internal", "testservers", name)
		if _, err := os.Stat(filepath.Join(sources, "go.mod")); err == nil {
			return sources, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find internal/testservers/%s: not above %s", name, start)
		}
	}
}

// hashSources names the content of a folder and the platform it is built for.
func hashSources(dir string) (string, error) {
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, runtime.GOOS, runtime.GOARCH)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path) //nolint:gosec // below dir
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		_, _ = fmt.Fprintln(sum, strings.TrimPrefix(path, dir))
		_, err = io.Copy(sum, file)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:12], err
}
