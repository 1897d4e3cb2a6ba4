package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	"github.com/rotatord/rotatord/rotator"
)

const (
	keySize = 32
	// oldSuffix is what the name of an earlier key ends in: it opens values and
	// seals none.
	oldSuffix = ".old"
)

// A sealer encrypts values, each bound to its rotation and slot: a ciphertext
// that was moved to another row does not open there.
type sealer struct {
	keeper *secrets.Keeper
	old    *secrets.Keeper // of the key before; nil: there is none
}

func sealHeader(rotation string, slot rotator.Slot) string {
	return "rotatord 1\x00" + rotation + "\x00" + string(slot) + "\x00"
}

func (s *sealer) seal(ctx context.Context, rotation string, slot rotator.Slot, value rotator.Secret) ([]byte, error) {
	ciphertext, err := s.keeper.Encrypt(ctx, []byte(sealHeader(rotation, slot)+value.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return ciphertext, nil
}

func (s *sealer) unseal(ctx context.Context, rotation string, slot rotator.Slot, ciphertext []byte) (rotator.Secret, error) {
	plain, err := s.keeper.Decrypt(ctx, ciphertext)
	if err != nil && s.old != nil {
		plain, err = s.old.Decrypt(ctx, ciphertext)
	}
	if err != nil {
		return rotator.Secret{}, errors.New("the seal key does not open the value: it was changed, or sealed with another key")
	}
	value, ok := strings.CutPrefix(string(plain), sealHeader(rotation, slot))
	if !ok {
		return rotator.Secret{}, errors.New("the value was sealed for another rotation")
	}
	return rotator.NewSecret(value), nil
}

func (s *sealer) close() error {
	if s.old == nil {
		return s.keeper.Close()
	}
	return errors.Join(s.keeper.Close(), s.old.Close())
}

// openSealer loads the key, or makes it where it is missing, and the one
// before it, if there is one. It does not ask whether they open what is sealed:
// a lost key stops the rotations that need it, and nothing else.
func openSealer(file string) (*sealer, error) {
	if file == "" {
		return nil, errors.New("no file for the seal key is named")
	}
	old, err := loadKey(file + oldSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	hasOld := err == nil
	key, err := loadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(file)
	}
	if err != nil {
		return nil, err
	}
	s := &sealer{keeper: localsecrets.NewKeeper(key)}
	if hasOld {
		s.old = localsecrets.NewKeeper(old)
	}
	return s, nil
}

// Seals says which keys open what is sealed.
type Seals struct {
	KeyFile string
	OldFile string   // the key before it; empty: there is none
	Lost    []string // rotations with a value that no key opens, oldest first
	NeedOld []string // rotations with a value that only the old key opens
}

// Seals tries the keys on every sealed value. A journal that is read only has
// no key and can't tell.
func (j *Journal) Seals(ctx context.Context) (Seals, error) {
	if j.sealer == nil {
		return Seals{}, errReadOnly()
	}
	found := Seals{KeyFile: j.keyFile}
	if j.sealer.old != nil {
		found.OldFile = j.keyFile + oldSuffix
	}
	rows, err := j.read.QueryContext(ctx, j.q.sealed)
	if err != nil {
		return found, j.explain(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var rotation, slot string
		var ciphertext []byte
		if err := rows.Scan(&rotation, &slot, &ciphertext); err != nil {
			return found, j.explain(err)
		}
		if _, err := j.sealer.keeper.Decrypt(ctx, ciphertext); err == nil {
			continue
		}
		needs := &found.NeedOld
		if _, err := j.sealer.unseal(ctx, rotation, rotator.Slot(slot), ciphertext); err != nil {
			needs = &found.Lost
		}
		if !slices.Contains(*needs, rotation) {
			*needs = append(*needs, rotation)
		}
	}
	return found, j.explain(rows.Err())
}

func loadKey(path string) (key [keySize]byte, err error) {
	f, err := os.Open(path) //nolint:gosec // the configuration names the file
	if err != nil {
		return key, fmt.Errorf("read seal key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return key, fmt.Errorf("read seal key: %w", err)
	}
	if err := checkPrivate(path, info); err != nil {
		return key, fmt.Errorf("seal key %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return key, fmt.Errorf("read seal key: %w", err)
	}
	if len(raw) != keySize {
		return key, fmt.Errorf("seal key %q is not a key: it must have exactly %d bytes, and has %d", path, keySize, info.Size())
	}
	copy(key[:], raw)
	return key, nil
}

// makeKey writes a new key and never over another one. It is complete on the
// disk before it has its name: a crash leaves a whole key or none.
func makeKey(path string) (key [keySize]byte, err error) {
	if key, err = localsecrets.NewRandomKey(); err != nil {
		return key, fmt.Errorf("make seal key: %w", err)
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".rotatord-key-") // mode 0600
	if err != nil {
		return key, fmt.Errorf("make seal key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(key[:])
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return loadKey(path)
	}
	if err == nil {
		err = syncFolder(folder)
	}
	if err != nil {
		return key, fmt.Errorf("make seal key: %w", err)
	}
	return key, nil
}
