package azurekeyvaultstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/rotatord/rotatord/rotator"
)

// errRaced means that somebody wrote between the look and the write, and that
// what that one wrote is current again.
var errRaced = errors.New("the secret is changed all the time")

// versionID is the form of a version's ID.
var versionID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Put implements rotator.Store. The version is that of the whole secret: when it
// moved on because of other fields only, the write goes ahead. See the package's
// comment for what guards it. The attempt is not kept in the vault: a write whose
// answer was lost is known by its value, which is current then.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	p, err := parse(key)
	if err != nil {
		return rotator.Version{}, err
	}
	if err := take(ctx, s.turn); err != nil {
		return rotator.Version{}, err
	}
	defer func() { <-s.turn }()
	const looks = 5
	wrote := false
	for range looks {
		var made rotator.Version
		if made, err = s.put(ctx, p, w, &wrote); !errors.Is(err, errRaced) {
			return made, inDoubt(err, wrote)
		}
	}
	return rotator.Version{}, inDoubt(rotator.Unsent(fmt.Errorf("write %q: %w", key, err)), wrote)
}

// inDoubt takes the class from an error of an attempt whose value was current
// for a moment: a consumer may have read it.
func inDoubt(err error, wrote bool) error {
	switch {
	case err == nil || !wrote:
		return err
	case errors.Is(err, rotator.ErrConflict):
		return fmt.Errorf("our value was current for a moment: %w", rotator.ErrConflict)
	}
	return errors.New(err.Error())
}

// put looks and writes once.
func (s *Store) put(ctx context.Context, p place, w rotator.Write, wrote *bool) (rotator.Version, error) {
	// The list comes first, so that nothing newer than the look is in it.
	known, err := s.versions(ctx, p.secret)
	if err != nil {
		return rotator.Version{}, err
	}
	now, err := s.get(ctx, p.secret, "")
	if err != nil {
		return rotator.Version{}, err
	}
	value, found, err := valueOf(now, p.field)
	if err != nil {
		return rotator.Version{}, err
	}
	if found && value == w.Value.Reveal() {
		return as(now, value), nil
	}
	if now != nil && !known[now.ID.Version()] {
		return rotator.Version{}, errRaced // the list is older than the look: it would be of no use afterwards
	}
	still, err := s.still(ctx, p, w.Prev, now, value, found)
	if err != nil {
		return rotator.Version{}, err
	}
	if !still {
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %q: %w", p.key, rotator.ErrConflict))
	}
	if now == nil && !s.config.Create {
		return rotator.Version{}, missing(p)
	}
	to, err := next(now, p, w.Value.Reveal())
	if err != nil {
		return rotator.Version{}, err
	}
	made, err := s.set(ctx, p.secret, to)
	if err != nil {
		return rotator.Version{}, err
	}
	*wrote = true
	if err := s.alone(ctx, p, known, made.ID.Version(), *to.Value); err != nil {
		return rotator.Version{}, err
	}
	return as(made, w.Value.Reveal()), nil
}

// still tells whether the place has the value that it had in version prev.
func (s *Store) still(ctx context.Context, p place, prev string, now *azsecrets.Secret, value string, found bool) (bool, error) {
	switch {
	case !found || prev == "":
		return !found && prev == "", nil
	case prev == now.ID.Version():
		return true, nil
	case !versionID.MatchString(prev):
		return false, nil
	}
	before, err := s.get(ctx, p.secret, prev)
	if refusalOf(err).code == "SecretDisabled" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	was, had, err := valueOf(before, p.field)
	if err != nil {
		return false, nil //nolint:nilerr // it held no value of ours
	}
	return had && was == value, nil
}

// alone looks for versions that somebody made between our look and our write.
// When ours is on top of one, that one is put back; either way errRaced says to
// look again. Versions with our own content are the same attempt, whose answer
// was late.
func (s *Store) alone(ctx context.Context, p place, known map[string]bool, ours, content string) error {
	err := s.putBack(ctx, p, known, ours, content)
	if err == nil || errors.Is(err, errRaced) {
		return err
	}
	// The write had its effect, whatever this error says.
	return fmt.Errorf("look who else wrote secret %q: %s", p.secret, err) //nolint:errorlint // its class is not this error's
}

func (s *Store) putBack(ctx context.Context, p place, known map[string]bool, ours, content string) error {
	all, err := s.versions(ctx, p.secret)
	if err != nil {
		return err
	}
	var first *azsecrets.Secret // of the versions of others
	for id := range all {
		if known[id] || id == ours {
			continue
		}
		other, err := s.get(ctx, p.secret, id)
		if refusalOf(err).code == "SecretDisabled" {
			continue
		}
		if err != nil {
			return err
		}
		if other != nil && *other.Value != content && (first == nil || created(other.Attributes).Before(created(first.Attributes))) {
			first = other
		}
	}
	if first == nil {
		return nil
	}
	now, err := s.get(ctx, p.secret, "")
	if err != nil {
		return err
	}
	if now != nil && now.ID.Version() == ours {
		if _, err := s.set(ctx, p.secret, copied(first)); err != nil {
			return err
		}
	}
	return errRaced
}
