package gitlabcistore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/rotatord/rotatord/rotator"
)

// Store keeps credentials as CI/CD variables of GitLab.
type Store struct {
	client *client
	config Config
	turn   chan struct{} // of one: our own writers take turns
}

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.KeyChecker   = (*Store)(nil)
	_ rotator.WriteChecker = (*Store)(nil)
	_ rotator.Pinger       = (*Store)(nil)
)

// New makes a store. It reads ca_file, and calls nobody.
func New(_ context.Context, c Config) (rotator.Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	client, err := newClient(c)
	if err != nil {
		return nil, err
	}
	return &Store{client: client, config: c, turn: make(chan struct{}, 1)}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error {
	s.client.http.CloseIdleConnections()
	return nil
}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, err := parseKey(key)
	return err
}

// Ping implements rotator.Pinger: GitLab takes the token, and it may write.
func (s *Store) Ping(ctx context.Context) error {
	this := call{"look at the own token", "the scope api"}
	token, err := send(ctx, s.client, this, func(o ...gitlab.RequestOptionFunc) (*gitlab.PersonalAccessToken, *gitlab.Response, error) {
		return s.client.api.PersonalAccessTokens.GetSinglePersonalAccessToken(o...)
	})
	switch {
	case statusOf(err) == http.StatusNotFound:
		return nil // before GitLab 15.5 a token could not look at itself; a wrong one is 401
	case err != nil:
		return err
	case token == nil || len(token.Scopes) == 0:
		return fmt.Errorf("%s: the answer is not one of GitLab", this.what)
	case !slices.Contains(token.Scopes, "api") && !slices.Contains(token.Scopes, "granular"): // which GitLab does not break down
		return rotator.Permanent(fmt.Errorf("%s: it lacks the scope api, without which nothing can be written", this.what))
	}
	return nil
}

// CheckWrite implements rotator.WriteChecker: to read a variable takes the same
// role as to write it, and the token's scopes say the rest.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	p, err := parseKey(key)
	if err != nil {
		return err
	}
	now, err := s.client.read(ctx, p)
	if err != nil {
		return err
	}
	if now == nil && !s.config.Create {
		return p.missing()
	}
	return s.Ping(ctx)
}

// Get implements rotator.Store. A variable that is masked and hidden answers
// errors.ErrUnsupported, with an ID that knows its attributes only.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	p, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	now, err := s.client.read(ctx, p)
	switch {
	case err != nil:
		return rotator.Version{}, err
	case now == nil:
		return rotator.Version{}, fmt.Errorf("read %s: %w", p, rotator.ErrNotFound)
	case now.Hidden:
		return version(now), fmt.Errorf("read %s: it is hidden: %w", p, errors.ErrUnsupported)
	}
	return version(now), nil
}

// Put implements rotator.Store. A hidden variable is written again at the same
// attempt, since nobody can tell what it holds; that leaves one value too.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	p, err := parseKey(key)
	if err != nil {
		return rotator.Version{}, err
	}
	if err := take(ctx, s.turn); err != nil {
		return rotator.Version{}, err
	}
	defer func() { <-s.turn }()
	value := w.Value.Reveal()
	now, err := s.client.read(ctx, p)
	if err != nil {
		return rotator.Version{}, beforeWrite(err)
	}
	switch {
	case now != nil && !now.Hidden && now.Value == value:
		return version(now), nil
	case version(now).ID != w.Prev:
		return rotator.Version{}, p.conflict()
	case now == nil && !s.config.Create:
		return rotator.Version{}, p.missing()
	case now != nil && !now.Raw && strings.Contains(value, "$"):
		return rotator.Version{}, rotator.Permanent(fmt.Errorf(
			"write %s: the value has a $, and GitLab would expand it in jobs; switch off \"Expand variable reference\" of the variable", p))
	}
	var made *variable
	if now == nil {
		made, err = s.client.create(ctx, p, value, s.config)
	} else {
		made, err = s.client.update(ctx, p, value)
	}
	if statusOf(err) == http.StatusBadRequest {
		return rotator.Version{}, s.refused(ctx, p, now, err)
	}
	if err != nil {
		return rotator.Version{}, err
	}
	return s.written(p, now, made, value)
}

// written compares what GitLab says that it holds with what was asked for. An
// older GitLab leaves out of a new variable what it does not know.
func (s *Store) written(p place, before, made *variable, value string) (rotator.Version, error) {
	want := *made
	if before != nil {
		want = *before
	} else {
		want.Protected, want.Masked, want.Hidden, want.Raw = s.config.Protected, s.config.Masked || s.config.Hidden, s.config.Hidden, true
	}
	if want.Value = value; want.Hidden {
		want.Value = ""
	}
	if want != *made {
		return rotator.Version{}, fmt.Errorf("write %s: written, but GitLab answers with another value or other attributes than were asked for", p)
	}
	return version(made), nil
}

// refused says why GitLab did not take a value: somebody else has made the
// variable meanwhile, it can't be masked, or it is too long.
func (s *Store) refused(ctx context.Context, p place, before *variable, err error) error {
	masked, raw := s.config.Masked || s.config.Hidden, true
	if before != nil {
		masked, raw = before.Masked || before.Hidden, before.Raw
	} else if now, lookErr := s.client.read(ctx, p); lookErr == nil && now != nil {
		return p.conflict()
	}
	switch {
	case masked && raw:
		err = fmt.Errorf("%w; the variable is masked: its value must be one line of at least 8 characters without blanks", err)
	case masked:
		err = fmt.Errorf("%w; the variable is masked: its value must be one line of at least 8 letters, digits and _+=/@:.~-, or the variable raw", err)
	default:
		err = fmt.Errorf("%w; a value has at most 10,000 characters", err)
	}
	return rotator.Permanent(err)
}

func (p place) missing() error {
	return rotator.Permanent(fmt.Errorf("write %s: there is no such variable; make it in GitLab, or set create: true", p))
}

func (p place) conflict() error {
	return rotator.Permanent(fmt.Errorf("write %s: %w", p, rotator.ErrConflict))
}

func take(ctx context.Context, turn chan struct{}) error {
	if ctx.Err() != nil {
		return rotator.Unsent(context.Cause(ctx))
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return rotator.Unsent(context.Cause(ctx))
	}
}
