package vaultstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/hashicorp/vault/api"

	"github.com/rotatord/rotatord/rotator"
)

// Store keeps credentials in one KV mount.
type Store struct {
	session *session
	config  Config
	turn    chan struct{} // of one: our own writers take turns

	mu      sync.Mutex
	version int // of the KV engine; 0: not known yet
}

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.KeyChecker   = (*Store)(nil)
	_ rotator.WriteChecker = (*Store)(nil)
	_ rotator.Pinger       = (*Store)(nil)
)

// New makes a store. It reads ca_file, and calls nobody: the first call logs in.
func New(_ context.Context, c Config) (rotator.Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	session, err := newSession(c)
	if err != nil {
		return nil, err
	}
	return &Store{session: session, config: c, turn: make(chan struct{}, 1)}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error {
	s.session.close()
	return nil
}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, _, err := parseKey(key)
	return err
}

// Ping implements rotator.Pinger: Vault is unsealed, the log-in works, and the
// mount is a KV mount.
func (s *Store) Ping(ctx context.Context) error {
	return s.with(ctx, func(e engine) error {
		_, err := s.session.lookUp(ctx, e.client)
		return err
	})
}

// CheckWrite implements rotator.WriteChecker by asking Vault what the log-in may do.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	secret, field, err := parseKey(key)
	if err != nil {
		return err
	}
	return s.with(ctx, func(e engine) error {
		now, err := e.read(ctx, secret, 0)
		if err != nil {
			return err
		}
		if _, _, err := now.get(field); err != nil {
			return err
		}
		needs := "update"
		if now.version == 0 && now.fields == nil {
			needs = "create"
		}
		target := e.path(secret)
		can, err := e.client.Sys().CapabilitiesSelfWithContext(ctx, target)
		if err != nil {
			return call{"ask", "sys/capabilities-self", "update"}.explain(ctx, err)
		}
		if !slices.Contains(can, needs) && !slices.Contains(can, "root") {
			return rotator.Permanent(fmt.Errorf("write %q: not allowed; the policy must give the capability %q on it", target, needs))
		}
		return nil
	})
}

// Get implements rotator.Store. A deleted or destroyed version is ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	secret, field, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	var version rotator.Version
	err = s.with(ctx, func(e engine) error {
		now, err := e.read(ctx, secret, 0)
		if err != nil {
			return err
		}
		value, found, err := now.get(field)
		if err == nil && !found {
			err = fmt.Errorf("read %q: %s%w", key, now.gone(e.mount, secret), rotator.ErrNotFound)
		}
		version = now.as(value)
		return err
	})
	if err != nil {
		return rotator.Version{}, err
	}
	return version, nil
}

// Put implements rotator.Store. With KV version 2 the version is that of the
// whole secret: when it moved on because of other fields only, the write goes
// ahead, as long as Vault still has the version before to compare with
// (max_versions of the mount, 10 by default).
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	secret, field, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	if err := take(ctx, s.turn); err != nil {
		return rotator.Version{}, err
	}
	defer func() { <-s.turn }()
	const looks = 10
	var version rotator.Version
	for range looks {
		err = s.with(ctx, func(e engine) (err error) {
			version, err = e.put(ctx, secret, field, w)
			return err
		})
		if !errors.Is(err, errRaced) {
			break
		}
	}
	switch {
	case errors.Is(err, errRaced):
		return rotator.Version{}, rotator.Unsent(fmt.Errorf("write %q: %w", key, err))
	case err != nil:
		return rotator.Version{}, err
	}
	return version, nil
}

// put looks and writes once.
func (e engine) put(ctx context.Context, secret, field string, w rotator.Write) (rotator.Version, error) {
	now, err := e.read(ctx, secret, 0)
	if err != nil {
		return rotator.Version{}, beforeWrite(err)
	}
	current, found, err := now.get(field)
	if err != nil {
		return rotator.Version{}, err
	}
	if found && current == w.Value.Reveal() {
		return now.as(current), nil
	}
	still, err := e.still(ctx, secret, field, w.Prev, now)
	if err != nil {
		return rotator.Version{}, beforeWrite(err)
	}
	if !still {
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %q: %s%w", secret+"#"+field, now.gone(e.mount, secret), rotator.ErrConflict))
	}
	made, err := e.write(ctx, secret, now, field, w.Value.Reveal())
	if err != nil {
		return rotator.Version{}, err
	}
	return made.as(w.Value.Reveal()), nil
}

// still tells whether the field has the value that it had in version prev.
func (e engine) still(ctx context.Context, secret, field, prev string, now record) (bool, error) {
	current, found, err := now.get(field)
	switch {
	case err != nil:
		return false, err
	case !found || prev == "":
		return !found && prev == "", nil
	case prev == now.as(current).ID:
		return true, nil
	}
	number, _ := strconv.Atoi(prev) // 0: not a version of ours
	if e.version != 2 || number < 1 || number > now.version {
		return false, nil
	}
	before, err := e.read(ctx, secret, number)
	if err != nil {
		return false, err
	}
	value, had, err := before.get(field)
	return err == nil && had && value == current, nil
}

// with makes calls to the mount with a log-in that works.
func (s *Store) with(ctx context.Context, calls func(engine) error) error {
	return s.session.do(ctx, func(client *api.Client) error {
		s.mu.Lock()
		version := s.version
		s.mu.Unlock()
		if version == 0 {
			var err error
			if version, err = detect(ctx, client, s.config.Mount, s.config.KVVersion); err != nil {
				return beforeWrite(err)
			}
			s.mu.Lock()
			s.version = version
			s.mu.Unlock()
		}
		return calls(engine{client: client, mount: s.config.Mount, version: version})
	})
}

// get returns a field, which must be a string.
func (r record) get(field string) (value string, found bool, err error) {
	raw, found := r.fields[field]
	if !found {
		return "", false, nil
	}
	value, ok := raw.(string)
	if !ok {
		return "", false, rotator.Permanent(fmt.Errorf("read field %q: it holds no string", field))
	}
	return value, true, nil
}

// as names the version: by its number or, where there are none, by a hash of
// the value, which does not reveal it.
func (r record) as(value string) rotator.Version {
	version := rotator.Version{ID: strconv.Itoa(r.version), Value: rotator.NewSecret(value), At: r.at}
	if r.version == 0 {
		sum := sha256.Sum256([]byte("rotatord vault\x00" + value))
		version.ID = hex.EncodeToString(sum[:16])
	}
	return version
}

// parseKey reads path#field.
func parseKey(key string) (secret, field string, err error) {
	secret, field, _ = strings.Cut(key, "#")
	err = checkPath(secret)
	if err == nil && (field == "" || strings.ContainsFunc(field, unicode.IsControl)) {
		err = errors.New("must be path#field")
	}
	if err != nil {
		return "", "", rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	return secret, field, nil
}

// checkPath refuses paths that lead elsewhere or that Vault would clean.
func checkPath(p string) error {
	switch {
	case p == "":
		return errors.New("names no path")
	case strings.ContainsFunc(p, unicode.IsControl):
		return errors.New("a path can't have control characters")
	case path.Clean("/"+p) != "/"+p:
		return errors.New("a path must not have `..`, `.` or empty parts, nor begin or end with /")
	}
	return nil
}
