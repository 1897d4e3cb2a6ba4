package githubactionsstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v89/github"
	"golang.org/x/crypto/nacl/box"

	"github.com/rotatord/rotatord/rotator"
)

const (
	// maxValue is how long a value may be, in bytes.
	// Source: https://docs.github.com/en/actions/reference/security/secrets
	maxValue = 48 << 10
	// maxPause is the longest wait for GitHub's next second.
	maxPause = 3 * time.Second
	// Of the repositories that were selected for a secret: a page stays below
	// webclient.MaxBody, since GitHub describes each of them at length.
	pageSize = 50
	maxPages = 200
)

// Store keeps credentials as secrets of GitHub Actions.
type Store struct {
	session *session
	config  Config
	turn    chan struct{} // of one: our own writers take turns; GitHub asks for that too

	written map[string]write // by key, the last write of this process; guarded by turn
}

// A write is what this process put last under a key.
type write struct {
	version     string
	fingerprint rotator.Fingerprint
}

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.WriteOnly    = (*Store)(nil)
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
	return &Store{session: session, config: c, turn: make(chan struct{}, 1), written: map[string]write{}}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error {
	s.session.http.CloseIdleConnections()
	return nil
}

// WriteOnly implements rotator.WriteOnly: GitHub gives no value back.
func (s *Store) WriteOnly() {}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, err := parseKey(key)
	return err
}

// Ping implements rotator.Pinger: GitHub takes the log-in.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.session.send(ctx, call{"ask for the rate limit", "nothing"}, http.MethodGet, "rate_limit", nil, nil)
	if statusOf(err) == http.StatusNotFound {
		return nil // an Enterprise Server without rate limits, which has taken the log-in
	}
	return err
}

// CheckWrite implements rotator.WriteChecker. What an App and a classic token may
// do, GitHub tells. Of a fine-grained token it tells only what it may read: that
// one may not write is found at the write.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	p, err := parseKey(key)
	if err != nil {
		return err
	}
	now, err := s.look(ctx, p)
	if err != nil {
		return err
	}
	if !now.found() && !s.config.Create {
		return p.missing()
	}
	kind := p.kind()
	login, err := s.session.ready(ctx)
	if err != nil {
		return err
	}
	if granted := kind.granted(login.may); login.may != nil && granted != "write" && granted != "admin" {
		return rotator.Permanent(fmt.Errorf("write %s: not allowed: the App has %q on %s; it needs write", p, granted, kind.permission))
	}
	// Only classic tokens have scopes; of others the header is missing or empty.
	if scopes := fields(now.header.Values("X-OAuth-Scopes")); len(scopes) > 0 && !slices.Contains(scopes, kind.scope) {
		return rotator.Permanent(fmt.Errorf("write %s: not allowed: the classic token lacks the scope %q", p, kind.scope))
	}
	if p.org != "" && now.found() && now.secret.Visibility == "selected" {
		_, err = s.selected(ctx, p, now)
	}
	return err
}

func fields(headers []string) []string {
	return strings.FieldsFunc(strings.Join(headers, ","), func(r rune) bool { return r == ',' || r == ' ' })
}

// Get implements rotator.Store: errors.ErrUnsupported with the version, whose
// ID is empty when there is no such secret.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	p, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	now, err := s.look(ctx, p)
	if err != nil {
		return rotator.Version{}, err
	}
	return now.version(), fmt.Errorf("read %s: GitHub gives no value back: %w", p, errors.ErrUnsupported)
}

// Put implements rotator.Store. What this process wrote last, and GitHub still
// dates as it was then, is not written again.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	p, err := parseKey(key)
	if err == nil {
		err = checkValue(p, w.Value.Reveal())
	}
	if err != nil {
		return rotator.Version{}, err
	}
	if err := take(ctx, s.turn); err != nil {
		return rotator.Version{}, err
	}
	defer func() { <-s.turn }()
	now, err := s.lookBeforeWrite(ctx, p)
	if err != nil {
		return rotator.Version{}, beforeWrite(err)
	}
	before := now.version()
	last := s.written[key]
	switch {
	case now.found() && last == (write{before.ID, w.Value.Fingerprint()}):
		return before, nil
	case before.ID != w.Prev:
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %s: %w", p, rotator.ErrConflict))
	case !now.found() && !s.config.Create:
		return rotator.Version{}, p.missing()
	}
	if err := s.send(ctx, p, now, w.Value); err != nil {
		return rotator.Version{}, err
	}
	delete(s.written, key)
	after, err := s.look(ctx, p)
	if err != nil {
		return rotator.Version{}, afterWrite(ctx, err)
	}
	made := after.version()
	if made.ID == before.ID {
		return rotator.Version{}, fmt.Errorf("write %s: GitHub took it, but does not show it yet", p)
	}
	s.written[key] = write{made.ID, w.Value.Fingerprint()}
	return made, nil
}

// checkValue refuses what GitHub can't keep. A workflow can't tell an empty
// secret from none, so the empty value is none.
func checkValue(p place, value string) error {
	switch {
	case value == "":
		return rotator.Permanent(fmt.Errorf("write %s: the value is empty, which GitHub takes for no secret", p))
	case len(value) > maxValue:
		return rotator.Permanent(fmt.Errorf("write %s: the value has %d bytes; GitHub takes %d", p, len(value), maxValue))
	}
	return nil
}

// lookBeforeWrite looks, and waits while a write could not be told apart from
// the one before it: GitHub's times have whole seconds only.
func (s *Store) lookBeforeWrite(ctx context.Context, p place) (record, error) {
	now, err := s.look(ctx, p)
	if err != nil || !now.found() {
		return now, err
	}
	wait := now.at.Sub(now.seen) + time.Second
	if wait <= 0 || wait > maxPause { // much later than GitHub's own clock: waiting does not help
		return now, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return record{}, context.Cause(ctx)
	}
	return s.look(ctx, p)
}

// send seals a value and writes it.
func (s *Store) send(ctx context.Context, p place, now record, value rotator.Secret) error {
	key, _, err := s.publicKey(ctx, p)
	if err != nil {
		return beforeWrite(err)
	}
	sealed, err := seal(key, value)
	if err != nil {
		return rotator.Permanent(fmt.Errorf("write %s: %w", p, err))
	}
	var body any = github.SecretRequest{KeyID: key.GetKeyID(), EncryptedValue: sealed}
	if p.org != "" {
		forOrg := github.OrgSecretRequest{KeyID: key.GetKeyID(), EncryptedValue: sealed, Visibility: s.config.Visibility}
		if now.found() {
			forOrg.Visibility = now.secret.Visibility
		}
		if forOrg.Visibility == "selected" {
			// GitHub takes a write without the list for one that empties it.
			if forOrg.SelectedRepositoryIDs, err = s.selected(ctx, p, now); err != nil {
				return beforeWrite(err)
			}
		}
		body = forOrg
	}
	this := call{"write " + p.String(), fmt.Sprintf("read and write on %s", p.kind().permission)}
	_, err = s.session.send(ctx, this, http.MethodPut, p.path()+"/"+p.name, body, nil)
	if statusOf(err) == http.StatusUnprocessableEntity || statusOf(err) == http.StatusConflict || statusOf(err) == http.StatusBadRequest {
		return s.refused(ctx, p, now, key, err)
	}
	return err
}

// refused says why GitHub did not take a write: it has exchanged its key since
// we asked for it, the place is full, or something that we can't know.
func (s *Store) refused(ctx context.Context, p place, now record, key *github.PublicKey, err error) error {
	if again, _, keyErr := s.publicKey(ctx, p); keyErr == nil && again.GetKeyID() != key.GetKeyID() {
		return rotator.Unsent(fmt.Errorf("write %s: GitHub has exchanged its public key meanwhile", p))
	}
	if !now.found() {
		return rotator.Permanent(fmt.Errorf("%w; if the place is full: GitHub keeps at most %d secrets there", err, p.kind().most))
	}
	return err
}

// publicKey returns the key for which values of a place are sealed. Having it
// also means that the place is there.
func (s *Store) publicKey(ctx context.Context, p place) (*github.PublicKey, http.Header, error) {
	var key github.PublicKey
	this := call{fmt.Sprintf("read public key of %s", p.kind().within), fmt.Sprintf("at least read on %s", p.kind().permission)}
	header, err := s.session.send(ctx, this, http.MethodGet, p.path()+"/public-key", nil, &key)
	if err != nil {
		return nil, nil, err
	}
	if key.GetKeyID() == "" || key.GetKey() == "" {
		return nil, nil, fmt.Errorf("%s: the answer has none", this.what)
	}
	return &key, header, nil
}

// seal is libsodium's sealed box, as GitHub asks for: only the key's owner opens it.
func seal(key *github.PublicKey, value rotator.Secret) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(key.GetKey())
	if err != nil || len(raw) != 32 {
		return "", errors.New("the public key of GitHub has not 32 bytes")
	}
	sealed, err := box.SealAnonymous(nil, []byte(value.Reveal()), (*[32]byte)(raw), rand.Reader)
	if err != nil {
		return "", errors.New("the value can't be sealed")
	}
	return base64.StdEncoding.EncodeToString(sealed), nil
}
