package gcpsecretmanagerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"

	"github.com/rotatord/rotatord/rotator"
)

// Put implements rotator.Store. The version is that of the whole secret: when it
// moved on because of other fields only, the write goes ahead.
//
// With an alias, the version is added first and the alias moved to it with the
// secret's etag; what a lost answer or a crash left between the two is found by
// its content and used. Without, see the package's comment.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	p, err := s.config.parse(key)
	if err != nil {
		return rotator.Version{}, err
	}
	if err := take(ctx, s.turn); err != nil {
		return rotator.Version{}, err
	}
	defer func() { <-s.turn }()
	const looks = 5
	a := attempt{store: s, place: p, write: w}
	for range looks {
		var made version
		if made, err = a.put(ctx); err == nil {
			return made.as(w.Value.Reveal()), nil
		}
		if !errors.Is(err, errRaced) {
			return rotator.Version{}, a.inDoubt(err)
		}
	}
	a.discard(ctx)
	return rotator.Version{}, a.inDoubt(rotator.Unsent(fmt.Errorf("write %q: %w", key, err)))
}

// inDoubt takes the class from an error of an attempt whose value was the latest
// for a moment: it had an effect.
func (a *attempt) inDoubt(err error) error {
	switch {
	case !a.shown:
		return err
	case errors.Is(err, rotator.ErrConflict):
		return fmt.Errorf("our value was the latest for a moment: %w", rotator.ErrConflict)
	}
	return errors.New(err.Error())
}

// An attempt is one Put.
type attempt struct {
	store *Store
	place place
	write rotator.Write
	added version // by this attempt, and not where consumers read
	shown bool    // consumers of latest may have read our value
}

// put looks and writes once.
func (a *attempt) put(ctx context.Context) (version, error) {
	s, p := a.store, a.place
	now, err := s.look(ctx, p)
	if err != nil {
		return version{}, err
	}
	value, found, err := now.get(p.field)
	if err != nil {
		return version{}, err
	}
	if found && value == a.write.Value.Reveal() {
		if err := a.confirm(ctx, now); err != nil {
			return version{}, err
		}
		a.disableOld(ctx, now.number)
		return now.version, nil
	}
	still, err := a.still(ctx, now, value, found)
	if err != nil {
		return version{}, beforeWrite(err)
	}
	if !still {
		a.discard(ctx)
		return version{}, rotator.Permanent(fmt.Errorf("write %q: %w", p.key, rotator.ErrConflict))
	}
	content, err := now.with(p.field, a.write.Value.Reveal())
	if err != nil {
		return version{}, err
	}
	var made version
	switch {
	case s.config.Alias == "":
		made, err = a.append(ctx, now, content)
	case now.secret == nil:
		err = a.missing(ctx)
	default:
		made, err = a.promote(ctx, now, content)
	}
	if err != nil {
		return version{}, err
	}
	a.disableOld(ctx, made.number)
	return made, nil
}

// still tells whether the place has the value that it had in the version before.
func (a *attempt) still(ctx context.Context, now record, value string, found bool) (bool, error) {
	prev := a.write.Prev
	switch {
	case !found || prev == "":
		return !found && prev == "", nil
	case prev == strconv.FormatInt(now.number, 10):
		return true, nil
	}
	number, err := strconv.ParseInt(prev, 10, 64)
	if err != nil || number < 1 {
		return false, nil //nolint:nilerr // not a version of ours
	}
	before, err := a.read(ctx, number)
	if err != nil || before.state != pb.SecretVersion_ENABLED {
		return false, err
	}
	was, had, err := before.get(a.place.field)
	if err != nil {
		return false, nil //nolint:nilerr // it held no value of ours
	}
	return had && was == value, nil
}

// confirm makes sure that the alias leads to what was read: the answer may be
// old, and an update of ours whose answer was lost may have moved it since.
func (a *attempt) confirm(ctx context.Context, now record) error {
	if now.secret == nil {
		return nil
	}
	newest, err := a.store.newest(ctx, a.place)
	if err != nil || newest.number == now.number {
		return beforeWrite(err)
	}
	return a.store.moveAlias(ctx, a.place, now.secret, now.number)
}

// read reads one version; none is an empty record.
func (a *attempt) read(ctx context.Context, number int64) (record, error) {
	v, err := a.store.metadata(ctx, a.place, strconv.FormatInt(number, 10))
	r := record{version: v, place: a.place}
	if err == nil && v.state == pb.SecretVersion_ENABLED {
		r.content, err = a.store.access(ctx, a.place, number)
	}
	return r, err
}

// append makes content the latest version. Versions are numbered in their order,
// so a number that was skipped is somebody who wrote since the look: what that
// one wrote is put back, and errRaced says to look again.
func (a *attempt) append(ctx context.Context, now record, content []byte) (version, error) {
	made, err := a.store.add(ctx, a.place, content)
	if codeOf(err) == codes.NotFound {
		return version{}, a.missing(ctx)
	}
	if err != nil {
		return version{}, err
	}
	a.shown = true
	for number := now.number + 1; number < made.number; number++ {
		other, err := a.read(ctx, number)
		if err == nil && (other.state != pb.SecretVersion_ENABLED || bytes.Equal(other.content, content)) {
			continue // no version, or the same attempt, whose answer was late
		}
		if err == nil {
			_, err = a.store.add(ctx, a.place, other.content)
		}
		if err != nil { // our write had its effect, whatever this error says
			return version{}, fmt.Errorf("put back version %d of secret %q, which somebody else wrote in between: %s", number, a.place.secret, err) //nolint:errorlint // its class is not this error's
		}
		return version{}, errRaced
	}
	return made, nil
}

// promote adds a version, unless the newest is already the one, and moves the alias to it.
func (a *attempt) promote(ctx context.Context, now record, content []byte) (version, error) {
	made, err := a.store.newest(ctx, a.place)
	if err != nil {
		return version{}, beforeWrite(err)
	}
	same := false
	if made.number != now.number && made.state == pb.SecretVersion_ENABLED {
		newest, err := a.store.access(ctx, a.place, made.number)
		if err != nil && codeOf(err) != codes.FailedPrecondition { // disabled since
			return version{}, beforeWrite(err)
		}
		same = err == nil && bytes.Equal(newest, content)
	}
	if !same {
		a.discard(ctx)
		if made, err = a.store.add(ctx, a.place, content); err != nil {
			return version{}, err
		}
		a.added = made
	}
	if err := a.store.moveAlias(ctx, a.place, now.secret, made.number); err != nil {
		return version{}, err
	}
	a.added = version{}
	return made, nil
}

// missing creates the secret where that is asked for; errRaced says to look again.
func (a *attempt) missing(ctx context.Context) error {
	if !a.store.config.Create {
		return rotator.Permanent(fmt.Errorf("write %q: there is no such secret; create it, or set create: true", a.place.key))
	}
	if err := a.store.create(ctx, a.place); err != nil {
		return err
	}
	return errRaced
}

// discard disables a version that this attempt added for nothing. It is no harm
// when that does not work: consumers read the alias.
func (a *attempt) discard(ctx context.Context) {
	if a.added.number > 0 {
		_ = a.store.disable(ctx, a.place, a.added)
		a.added = version{}
	}
}

// disableOld disables what is older than the version before, where that is asked
// for: never the current one, the one before, or one that an alias points to.
// The write is done by then, so what can't be disabled stays until the next one.
func (a *attempt) disableOld(ctx context.Context, current int64) {
	before, err := strconv.ParseInt(a.write.Prev, 10, 64)
	if err != nil || !a.store.config.DisableOld {
		return
	}
	secret, err := a.store.meta(ctx, a.place)
	if err != nil || secret == nil {
		return
	}
	keep := []int64{current, before}
	for _, number := range secret.GetVersionAliases() {
		keep = append(keep, number)
	}
	all, err := a.store.versions(ctx, a.place)
	if err != nil {
		return
	}
	for _, v := range all {
		if v.number < before && v.state == pb.SecretVersion_ENABLED && !slices.Contains(keep, v.number) {
			_ = a.store.disable(ctx, a.place, v)
		}
	}
}
