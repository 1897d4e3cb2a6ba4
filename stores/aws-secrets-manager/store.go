package awssecretsmanagerstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/rotator"
)

// Store keeps credentials in the secrets of one region.
type Store struct {
	config  Config
	session *awsclient.Session[*secretsmanager.Client]
	budget  *budget

	mu    sync.Mutex
	turns map[string]chan struct{} // of one, by secret: our own writers take turns
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
	session, err := awsclient.New(c.Config, func(loaded aws.Config) *secretsmanager.Client {
		return secretsmanager.NewFromConfig(loaded)
	})
	if err != nil {
		return nil, err
	}
	return &Store{config: c, session: session, budget: budgetOf(c.Region, c.Endpoint), turns: map[string]chan struct{}{}}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error { return s.session.Close() }

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, _, err := parseKey(key)
	return err
}

// Ping implements rotator.Pinger: a question about a secret that nobody has
// shows that the log-in works, whether or not the policy lets us ask.
func (s *Store) Ping(ctx context.Context) error {
	const nobodys = "rotatord/ping"
	_, err := s.describe(ctx, nobodys)
	switch awsclient.CodeOf(err) {
	case codeNotFound, "AccessDeniedException":
		return nil
	}
	return err
}

// CheckWrite implements rotator.WriteChecker. AWS has no question for "may I
// write", so it asks to move AWSCURRENT to a version that does not exist: that
// is refused whatever happens, and the refusal tells whether the policy allows
// UpdateSecretVersionStage. The question counts as a write, and is left out
// while real writes need the quota. Whether the policy allows PutSecretValue,
// CreateSecret and the KMS key is only seen by a write.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	secret, field, err := parseKey(key)
	if err != nil {
		return err
	}
	now, err := s.read(ctx, secret)
	if err != nil {
		return err
	}
	if !now.exists {
		return s.mayCreate(secret)
	}
	if _, _, err := now.get(secret, field); err != nil {
		return err
	}
	if err := now.underway(); err != nil {
		return fmt.Errorf("write %q: %w", secret, err)
	}
	if err := now.behind(); err != nil {
		if !rotator.HadNoEffect(err) { // failed, and stays so
			err = rotator.Permanent(err)
		}
		return fmt.Errorf("write %q: %w", secret, err)
	}
	done, ok := s.budget.spare()
	if !ok {
		return nil
	}
	defer done()
	const nobodys = ours + "check-00000000000000000000000000000000"
	err = s.move(ctx, secret, current, nobodys, nobodys)
	switch awsclient.CodeOf(err) {
	case codeInvalidParameter, codeInvalidRequest, codeNotFound, codeValidation:
		return nil
	}
	return awsclient.BeforeWrite(err)
}

func (s *Store) mayCreate(secret string) error {
	if s.config.Create {
		return nil
	}
	return rotator.Permanent(fmt.Errorf("write %q: the secret does not exist; create it, or set create: true", secret))
}

// Get implements rotator.Store. While a replica of the secret is behind, it is
// an error: consumers there would still read another value.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	secret, field, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	now, err := s.read(ctx, secret)
	if err != nil {
		return rotator.Version{}, err
	}
	value, found, err := now.get(secret, field)
	if err == nil && !found {
		err = fmt.Errorf("read %q: %w", key, rotator.ErrNotFound)
	}
	if err != nil {
		return rotator.Version{}, err
	}
	if err := now.behind(); err != nil {
		return rotator.Version{}, fmt.Errorf("read %q: %w", key, awsclient.BeforeWrite(err))
	}
	return now.as(value), nil
}

// Put implements rotator.Store. The version is that of the whole secret: when
// it moved on because of other fields only, the write goes ahead, as long as AWS
// still has the version before to compare with.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	secret, field, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	turn := s.turnOf(secret)
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return rotator.Version{}, rotator.Unsent(ctx.Err())
	}
	const looks = 10
	var version rotator.Version
	staged := ""
	for range looks {
		version, err = s.put(ctx, secret, field, w, &staged)
		if !errors.Is(err, errRaced) {
			break
		}
	}
	switch {
	case errors.Is(err, errRaced):
		err = rotator.Unsent(fmt.Errorf("write %q: %w", key, err))
	case errors.Is(err, rotator.ErrConflict) && staged != "":
		// A label that stays on it would look like a rotation under way. Should this
		// fail, the next write takes the label over.
		if done, refused := s.budget.spend(ctx, secret); refused == nil {
			_ = s.move(ctx, secret, pending, staged, "")
			done()
		}
	}
	if err != nil {
		return rotator.Version{}, err
	}
	return version, nil
}

// put looks and writes once. staged is the version that it made and could not promote.
func (s *Store) put(ctx context.Context, secret, field string, w rotator.Write, staged *string) (rotator.Version, error) {
	now, err := s.read(ctx, secret)
	if err != nil {
		return rotator.Version{}, awsclient.BeforeWrite(err)
	}
	held, found, err := now.get(secret, field)
	if err != nil {
		return rotator.Version{}, err
	}
	if found && held == w.Value.Reveal() {
		return now.as(held), nil
	}
	still, err := s.still(ctx, secret, field, w.Prev, now)
	if err != nil {
		return rotator.Version{}, awsclient.BeforeWrite(err)
	}
	if !still {
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %q: %w", secret, rotator.ErrConflict))
	}
	return s.replace(ctx, secret, field, w, now, staged)
}

// replace writes over what was just read.
func (s *Store) replace(ctx context.Context, secret, field string, w rotator.Write, now record, staged *string) (rotator.Version, error) {
	text, err := now.with(secret, field, w.Value.Reveal())
	if err != nil {
		return rotator.Version{}, err
	}
	token := tokenOf(w.Attempt, secret+"#"+field, now.version)
	if !now.exists {
		if err := s.mayCreate(secret); err != nil {
			return rotator.Version{}, err
		}
		made, err := s.create(ctx, secret, token, text)
		made.Value = w.Value
		return made, err
	}
	if err := now.underway(); err != nil {
		return rotator.Version{}, fmt.Errorf("write %q: %w", secret, err)
	}
	done, err := s.budget.spend(ctx, secret)
	if err != nil {
		return rotator.Version{}, err
	}
	defer done()
	isCurrent, err := s.stage(ctx, secret, token, text)
	if err != nil {
		return rotator.Version{}, err
	}
	if !isCurrent {
		*staged = token
		err = s.move(ctx, secret, current, now.version, token)
	}
	switch {
	case awsclient.CodeOf(err) == codeInvalidParameter:
		return rotator.Version{}, errRaced // AWSCURRENT is no longer where it was
	case err != nil:
		return rotator.Version{}, err
	}
	return rotator.Version{ID: token, Value: w.Value}, nil
}

// still tells whether the key has the value that it had in version prev.
func (s *Store) still(ctx context.Context, secret, field, prev string, now record) (bool, error) {
	held, found, err := now.get(secret, field)
	switch {
	case err != nil:
		return false, err
	case !found || prev == "":
		return !found && prev == "", nil
	case prev == now.version:
		return true, nil
	}
	if _, known := now.stages[prev]; !known && len(prev) < 32 { // the shortest ID of a version
		return false, nil
	}
	before, err := s.value(ctx, secret, &secretsmanager.GetSecretValueInput{VersionId: &prev})
	switch awsclient.CodeOf(err) {
	case codeNotFound, codeInvalidParameter, codeInvalidRequest, codeValidation:
		return false, nil // AWS no longer has it
	}
	if err != nil || before.SecretString == nil {
		return false, err
	}
	was, had, err := record{version: prev, text: *before.SecretString}.get(secret, field)
	return err == nil && had && was == held, nil // what can't be read is not the same
}

func (s *Store) turnOf(secret string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns[secret] == nil {
		s.turns[secret] = make(chan struct{}, 1)
	}
	return s.turns[secret]
}
