package gcpsecretmanagerstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"

	"github.com/rotatord/rotatord/internal/jsonfield"
	"github.com/rotatord/rotatord/rotator"
)

// maxPayload is the most that a version holds, in bytes:
// https://cloud.google.com/secret-manager/quotas.
const maxPayload = 64 << 10

// errRaced means that somebody wrote between the look and the write, and that
// the write is undone or never was.
var errRaced = errors.New("the secret is changed all the time")

// Store keeps credentials in Secret Manager.
type Store struct {
	config  Config
	session *session
	turn    chan struct{} // of one: our own writers take turns

	mu      sync.Mutex
	updated map[string]updates // by the secret's name
}

// updates are what our last updates made of a secret, and the etags that it had
// before each of them: an answer with one of those is an old one.
type updates struct {
	now    *pb.Secret
	before []string
}

// maxUpdates is how many etags are remembered for a secret.
const maxUpdates = 20

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
	session, err := newSession(c)
	if err != nil {
		return nil, err
	}
	return &Store{config: c, session: session, turn: make(chan struct{}, 1), updated: map[string]updates{}}, nil
}

// Close closes the connection. The store can still be used.
func (s *Store) Close() error {
	s.session.close()
	return nil
}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, err := s.config.parse(key)
	return err
}

// Ping implements rotator.Pinger: the log-in works and the API is enabled. It
// asks for permissions on a secret that need not exist, which needs none.
func (s *Store) Ping(ctx context.Context) error {
	if s.config.Project == "" {
		now, err := s.session.ready(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := now.credentials.Token(ctx); err != nil {
			return logInError(ctx, err)
		}
		return nil
	}
	p, err := s.config.parse("rotatord-ping")
	if err != nil {
		return err
	}
	_, err = s.allowed(ctx, p.name(), []string{"secretmanager.versions.access"})
	return err
}

// CheckWrite implements rotator.WriteChecker by asking what the log-in may do
// on the secret. Whether it may create one that does not exist can't be asked.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	p, err := s.config.parse(key)
	if err != nil {
		return err
	}
	needed := s.permissions()
	have, err := s.allowed(ctx, p.name(), needed)
	if err != nil {
		return err
	}
	var missing []string
	for _, permission := range needed {
		if !slices.Contains(have, permission) {
			missing = append(missing, permission)
		}
	}
	switch {
	case len(missing) > 0 && (len(have) > 0 || !s.config.Create):
		return rotator.Permanent(fmt.Errorf("write secret %q: not allowed; the log-in needs %s on it (or there is no such secret)", p.secret, strings.Join(missing, ", ")))
	}
	now, err := s.look(ctx, p) // of a secret that is still to be created: not found, or no right to create it
	if err != nil {
		return err
	}
	if _, _, err := now.get(p.field); err != nil {
		return err
	}
	_, err = now.with(p.field, "x")
	return err
}

// permissions that this store's settings need on a secret.
func (s *Store) permissions() []string {
	needed := []string{"secretmanager.versions.access", "secretmanager.versions.add", "secretmanager.versions.get"}
	if s.config.Alias != "" {
		needed = append(needed, "secretmanager.secrets.get", "secretmanager.secrets.update", "secretmanager.versions.disable")
	}
	if s.config.DisableOld {
		needed = append(needed, "secretmanager.secrets.get", "secretmanager.versions.disable", "secretmanager.versions.list")
	}
	slices.Sort(needed)
	return slices.Compact(needed)
}

// Get implements rotator.Store. A version that is disabled is an error; one that
// is destroyed is not there.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	p, err := s.config.parse(key)
	if err != nil {
		return rotator.Version{}, err
	}
	now, err := s.look(ctx, p)
	if err != nil {
		return rotator.Version{}, err
	}
	value, found, err := now.get(p.field)
	if err != nil {
		return rotator.Version{}, err
	}
	if !found {
		return rotator.Version{}, fmt.Errorf("read %q: %s: %w", key, now.absence(s.config.Alias), rotator.ErrNotFound)
	}
	return now.as(value), nil
}

// A record is what consumers read of a secret now.
type record struct {
	version
	place   place
	secret  *pb.Secret // with an alias only; nil: there is none
	content []byte
}

// look reads what consumers read: the version that the alias points to, or the newest.
func (s *Store) look(ctx context.Context, p place) (record, error) {
	now := record{place: p}
	var err error
	if s.config.Alias == "" {
		now.version, err = s.newest(ctx, p)
	} else {
		now.secret, err = s.meta(ctx, p)
		if number := now.secret.GetVersionAliases()[s.config.Alias]; number > 0 && err == nil {
			now.version, err = s.metadata(ctx, p, strconv.FormatInt(number, 10))
		}
	}
	if err == nil && now.state == pb.SecretVersion_ENABLED {
		if now.content, err = s.access(ctx, p, now.number); codeOf(err) == codes.FailedPrecondition {
			now.state, err = pb.SecretVersion_DISABLED, nil // since it was looked at
		}
	}
	return now, beforeWrite(err)
}

// get returns the value of the whole secret or of a field.
func (r record) get(field string) (value string, found bool, err error) {
	switch {
	case r.number == 0 || r.state == pb.SecretVersion_DESTROYED:
		return "", false, nil
	case r.state != pb.SecretVersion_ENABLED:
		return "", false, rotator.Permanent(fmt.Errorf("read secret %q: version %d, which consumers would read, is %s; enable it, or add a version",
			r.place.secret, r.number, strings.ToLower(r.state.String())))
	case field == "":
		return string(r.content), true, nil
	}
	return jsonfield.Get(r.content, field)
}

// with returns the content of the next version.
func (r record) with(field, value string) ([]byte, error) {
	content := []byte(value)
	if field != "" {
		before := r.content
		if before == nil {
			before = []byte("{}")
		}
		var err error
		if content, err = jsonfield.Set(before, field, value); err != nil {
			return nil, err
		}
	}
	switch {
	case len(content) == 0:
		return nil, rotator.Permanent(fmt.Errorf("write secret %q: Secret Manager can't hold an empty value", r.place.secret))
	case len(content) > maxPayload:
		return nil, rotator.Permanent(fmt.Errorf("write secret %q: longer than %d bytes", r.place.secret, maxPayload))
	}
	return content, nil
}

// absence says why there is no value.
func (r record) absence(alias string) string {
	switch {
	case r.state == pb.SecretVersion_DESTROYED:
		return fmt.Sprintf("version %d is destroyed", r.number)
	case r.number > 0:
		return "the secret has no such field"
	case alias != "" && r.secret != nil:
		return fmt.Sprintf("the secret has no alias %q", alias)
	}
	return "there is no such secret (deleted or expired ones are gone), or it has no version"
}
