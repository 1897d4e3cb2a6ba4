// Package filestore keeps credentials in files below one directory: a whole
// file (crm.token), a variable of a .env file (crm.env#INSTASENT_TOKEN) or a
// string in a JSON file (crm.json#instasent.token).
//
// A write replaces the file at once or not at all, under a lock that other
// processes of rotatord respect too, and keeps everything else: the other
// values, comments, order and formatting, the mode and the owner. It never
// follows a link or a key out of the directory, never makes directories, and
// leaves no file beside those it was asked for. Access control lists and other
// extended attributes of a file are not carried over.
//
// To add a format, add its codec to codecOf and a harness to the tests.
package filestore

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

const defaultMode = "0600"

// Config is an entry of type file.
type Config struct {
	Dir  string `yaml:"dir" json:"dir" jsonschema:"required,description=Directory that all keys are below; must exist"`
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty" jsonschema:"description=Octal mode of new files (default 0600); a file that exists keeps its own"`
}

// Validate implements the contract of every plug-in's Config; it looks at no file.
func (c Config) Validate() error {
	var dir error
	if c.Dir == "" {
		dir = errors.New("is needed, for example /run/secrets")
	}
	_, mode := c.fileMode()
	return errors.Join(rotator.Field("dir", dir), rotator.Field("mode", mode))
}

func (c Config) fileMode() (fs.FileMode, error) {
	text := c.Mode
	if text == "" {
		text = defaultMode
	}
	if len(text) > 2 && text[:2] == "0o" {
		text = text[2:]
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 || mode&0o400 == 0 {
		return 0, fmt.Errorf("%q is not an octal mode that lets the owner read, like 0600", c.Mode)
	}
	return fs.FileMode(mode), nil
}

// Store keeps credentials in files. It holds nothing open between calls.
type Store struct {
	dir  string
	mode fs.FileMode
	sync func(*os.File) error // of a file before it takes its place, and of its directory after
}

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.KeyChecker   = (*Store)(nil)
	_ rotator.WriteChecker = (*Store)(nil)
	_ rotator.Pinger       = (*Store)(nil)
)

// New makes a store. It does not look at the directory: ask Ping.
func New(_ context.Context, c Config) (rotator.Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	mode, err := c.fileMode()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, mode: mode, sync: (*os.File).Sync}, nil
}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, err := parseKey(key)
	return err
}

// Ping implements rotator.Pinger: the directory is there.
func (s *Store) Ping(ctx context.Context) error {
	root, err := s.open(ctx)
	if err != nil {
		return err
	}
	return root.Close()
}

// CheckWrite implements rotator.WriteChecker: the file's directory can be
// written, the owner can be kept, and the value has a place in the file.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	k, root, err := s.at(ctx, key)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	spot, err := find(root, k.file)
	if err != nil {
		return err
	}
	defer spot.close()
	if err := canWrite(spot.dir); err != nil {
		return fail("write directory of", k.file, err)
	}
	content, info, err := spot.read()
	if err != nil {
		return err
	}
	if err := keepsOwner(info); err != nil {
		return rotator.Permanent(fmt.Errorf("replace %q: %w", k.file, err))
	}
	if _, _, err := k.get(content, info); err != nil {
		return err
	}
	_, err = k.codec.set(content, k.field, "x")
	return err
}

// Get implements rotator.Store. The version's time is the file's where the
// value is the whole file.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	k, root, err := s.at(ctx, key)
	if err != nil {
		return rotator.Version{}, err
	}
	defer func() { _ = root.Close() }()
	spot, err := find(root, k.file)
	if errors.Is(err, fs.ErrNotExist) {
		return rotator.Version{}, fmt.Errorf("read %q: %w", k.file, rotator.ErrNotFound)
	}
	if err != nil {
		return rotator.Version{}, err
	}
	defer spot.close()
	content, info, err := spot.read()
	if err != nil {
		return rotator.Version{}, err
	}
	value, found, err := k.get(content, info)
	switch {
	case err != nil:
		return rotator.Version{}, err
	case !found:
		return rotator.Version{}, fmt.Errorf("read %q: %w", key, rotator.ErrNotFound)
	}
	return k.version(value, info), nil
}

// Put implements rotator.Store. A foreign process that edits the file in the
// instant between the last look and the rename is the one writer that can't be
// seen: it holds no lock.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	k, root, err := s.at(ctx, key)
	if err != nil {
		return rotator.Version{}, err
	}
	defer func() { _ = root.Close() }()
	const looks = 5
	for range looks {
		version, err := s.try(ctx, root, k, w)
		if !errors.Is(err, errMoved) {
			return version, err
		}
	}
	return rotator.Version{}, rotator.Unsent(fmt.Errorf("write %q: %w", key, errMoved))
}

// try looks and writes once; errMoved means that the file changed between the two.
func (s *Store) try(ctx context.Context, root *os.Root, k key, w rotator.Write) (rotator.Version, error) {
	spot, err := lock(ctx, root, k.file)
	if err != nil {
		return rotator.Version{}, err
	}
	defer spot.close()
	content, info, err := spot.read()
	if err != nil {
		return rotator.Version{}, err
	}
	current, found, err := k.get(content, info)
	if err != nil {
		return rotator.Version{}, err
	}
	if found && current == w.Value.Reveal() {
		// The attempt before this one may have ended between the rename and its sync.
		return k.version(current, info), s.syncDir(spot)
	}
	if prev := versionID(current); (found && w.Prev != prev) || (!found && w.Prev != "") {
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %q: %w", k.file, rotator.ErrConflict))
	}
	changed, err := k.codec.set(content, k.field, w.Value.Reveal())
	if err != nil {
		return rotator.Version{}, err
	}
	if err := keepsOwner(info); err != nil {
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("replace %q: %w", k.file, err))
	}
	unchanged := func() bool {
		now, again, err := spot.read()
		return err == nil && (again == nil) == (info == nil) && bytes.Equal(now, content)
	}
	after, err := s.replace(spot, changed, info, unchanged)
	if err != nil {
		return rotator.Version{}, err
	}
	return k.version(w.Value.Reveal(), after), nil
}

// at is what every call with a key begins with. The caller closes the root.
func (s *Store) at(ctx context.Context, text string) (key, *os.Root, error) {
	k, err := parseKey(text)
	if err != nil {
		return key{}, nil, err
	}
	root, err := s.open(ctx)
	return k, root, err
}

func (s *Store) open(ctx context.Context) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, fail("open directory", s.dir, err)
	}
	return root, nil
}

// versionID names a value without revealing it. Only the value counts: other
// values in the same file may change meanwhile.
func versionID(value string) string {
	sum := sha256.Sum256([]byte("rotatord file\x00" + value))
	return hex.EncodeToString(sum[:16])
}

func (k key) version(value string, info fs.FileInfo) rotator.Version {
	version := rotator.Version{ID: versionID(value), Value: rotator.NewSecret(value)}
	if k.field == "" && info != nil {
		version.At = info.ModTime()
	}
	return version
}

func (k key) get(content []byte, info fs.FileInfo) (value string, found bool, err error) {
	if info == nil {
		return "", false, nil
	}
	return k.codec.get(content, k.field)
}

// tempName is where a file's next content waits for its place. It is the same
// at each attempt, so that a crash leaves one file at most, and the next write
// takes that away.
func tempName(file string) string {
	return path.Join(path.Dir(file), "."+path.Base(file)+".rotatord")
}
