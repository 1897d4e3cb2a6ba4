package kubernetesstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// looks is how often a write looks again when the Secret changes under it.
const looks = 10

// Store keeps credentials in the Secrets of one cluster.
type Store struct {
	session *session
	config  Config
	turn    chan struct{} // of one: our own writers take turns
}

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.KeyChecker   = (*Store)(nil)
	_ rotator.WriteChecker = (*Store)(nil)
	_ rotator.Pinger       = (*Store)(nil)
)

// New makes a store. It calls nobody and reads no file: the first call does.
func New(_ context.Context, c Config) (rotator.Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Store{session: newSession(c), config: c, turn: make(chan struct{}, 1)}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error {
	s.session.close()
	return nil
}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, err := parseKey(key, s.config.Namespace)
	return err
}

// Ping implements rotator.Pinger: the cluster answers, and knows who we are.
// What we may do there it does not ask: that is a question of each Secret.
func (s *Store) Ping(ctx context.Context) error {
	return s.session.do(ctx, func(c *client) error {
		err := c.may(ctx, call{verb: "look at", needs: "get", at: place{namespace: s.config.Namespace}})
		if _, ok := errors.AsType[*denied](err); ok {
			return nil
		}
		return err
	})
}

// CheckWrite implements rotator.WriteChecker: it reads the Secret and asks the
// cluster what our log-in may do with it. The read is needed: what is immutable
// or written by a controller can't be told without it.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	p, err := parseKey(key, s.config.Namespace)
	if err != nil {
		return err
	}
	return s.session.do(ctx, func(c *client) error {
		now, err := c.get(ctx, p)
		if err != nil {
			return beforeWrite(err)
		}
		if !now.found {
			if !s.config.Create {
				return missing(p)
			}
			if err := c.may(ctx, call{verb: "write", needs: "create", at: p}); err != nil {
				return err
			}
		} else if err := now.writable(p.key); err != nil {
			return rotator.Permanent(fmt.Errorf("write %q: %w", p, err))
		}
		return c.may(ctx, call{verb: "write", needs: "patch", at: p})
	})
}

// Get implements rotator.Store. A missing Secret and a missing key are ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	p, err := parseKey(key, s.config.Namespace)
	if err != nil {
		return rotator.Version{}, err
	}
	var version rotator.Version
	err = s.session.do(ctx, func(c *client) error {
		now, err := c.get(ctx, p)
		if err != nil {
			return beforeWrite(err)
		}
		if _, there := now.Data[p.key]; !there {
			return fmt.Errorf("read %q: %w", p, rotator.ErrNotFound)
		}
		version = now.version(p.key)
		return nil
	})
	if err != nil {
		return rotator.Version{}, err
	}
	return version, nil
}

// Put implements rotator.Store. A key that is not yet there is added to a Secret
// that exists; a Secret that does not exist is made with `create: true` only.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	p, err := parseKey(key, s.config.Namespace)
	if err != nil {
		return rotator.Version{}, err
	}
	if err := take(ctx, s.turn); err != nil {
		return rotator.Version{}, err
	}
	defer func() { <-s.turn }()
	var version rotator.Version
	for look := range looks {
		err = s.session.do(ctx, func(c *client) (err error) {
			version, err = s.put(ctx, c, p, w)
			return err
		})
		if !errors.Is(err, errRaced) {
			break
		}
		select { // so that several writers get out of step
		case <-time.After(rand.N(time.Duration(look+1) * 10 * time.Millisecond)): //nolint:gosec // nothing secret is made of it
		case <-ctx.Done():
			return rotator.Version{}, rotator.Unsent(fmt.Errorf("write %q: %w", p, context.Cause(ctx)))
		}
	}
	if errors.Is(err, errRaced) {
		err = rotator.Unsent(fmt.Errorf("write %q: %w", p, err))
	}
	if err != nil {
		return rotator.Version{}, err
	}
	return version, nil
}

// put looks once, and writes when the key still has the value of the version
// w.Prev. errRaced means that nothing was written and another look is worth it.
func (s *Store) put(ctx context.Context, c *client, p place, w rotator.Write) (rotator.Version, error) {
	now, err := c.get(ctx, p)
	if err != nil {
		return rotator.Version{}, beforeWrite(err)
	}
	value := w.Value.Reveal()
	current, there := now.Data[p.key]
	switch {
	case there && string(current) == value:
		return now.version(p.key), nil
	case there != (w.Prev != ""), there && idOf(current) != w.Prev:
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %q: %w", p, rotator.ErrConflict))
	case !now.found && !s.config.Create:
		return rotator.Version{}, missing(p)
	}
	var made record
	if !now.found {
		made, err = c.create(ctx, p, value)
	} else if err = now.writable(p.key); err != nil {
		err = rotator.Permanent(fmt.Errorf("write %q: %w", p, err))
	} else {
		made, err = c.apply(ctx, p, now, value)
	}
	if err != nil {
		return rotator.Version{}, err
	}
	if string(made.Data[p.key]) != value { // an admission webhook can do that
		return rotator.Version{}, fmt.Errorf("write %q: the cluster took the write, but holds another value now", p)
	}
	return made.version(p.key), nil
}

func missing(p place) error {
	return rotator.Permanent(fmt.Errorf("write %q: the Secret does not exist; make it, or set create: true: %w", p, rotator.ErrNotFound))
}

// version names the value of a key that is there.
func (r record) version(key string) rotator.Version {
	value := r.Data[key]
	_, since := r.managersOf(key)
	return rotator.Version{ID: idOf(value), Value: rotator.NewSecret(string(value)), At: since}
}

// idOf is a hash of the value, which does not reveal it.
func idOf(value []byte) string {
	sum := sha256.Sum256(append([]byte("rotatord kubernetes\x00"), value...))
	return hex.EncodeToString(sum[:16])
}
