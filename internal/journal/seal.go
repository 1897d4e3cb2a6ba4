package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	"github.com/rotatord/rotatord/rotator"
)

const (
	keySize   = 32
	checkSlot = rotator.Slot("key check")
)

// A sealer encrypts values, each bound to its rotation and slot: a ciphertext
// that was moved to another row does not open there.
type sealer struct{ keeper *secrets.Keeper }

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
	if err != nil {
		return rotator.Secret{}, errors.New("the seal key does not open the value: it was changed, or sealed with another key")
	}
	value, ok := strings.CutPrefix(string(plain), sealHeader(rotation, slot))
	if !ok {
		return rotator.Secret{}, errors.New("the value was sealed for another rotation")
	}
	return rotator.NewSecret(value), nil
}

// check returns what tells later whether a key is the same.
func (s *sealer) check(ctx context.Context) ([]byte, error) {
	return s.seal(ctx, "", checkSlot, rotator.NewSecret(""))
}

func (s *sealer) fits(ctx context.Context, check []byte) bool {
	_, err := s.unseal(ctx, "", checkSlot, check)
	return err == nil
}

func (s *sealer) close() error { return s.keeper.Close() }

// openSealer loads the key that fits the check in the journal; where the
// journal is new, a missing key is made. lost tells that what is sealed can't
// be opened and was given up.
func (j *Journal) openSealer(ctx context.Context, o Options, check []byte) (lost bool, err error) {
	if o.SealKeyFile == "" {
		return false, errors.New("no file for the seal key is named")
	}
	key, err := loadKey(o.SealKeyFile)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && (check == nil || o.ReplaceSealKey):
		key, err = makeKey(o.SealKeyFile)
	case missing:
		return false, j.keyError(ctx, o.SealKeyFile, "is missing")
	}
	if err != nil {
		return false, err
	}
	j.sealer = &sealer{localsecrets.NewKeeper(key)}
	if check == nil || j.sealer.fits(ctx, check) {
		return false, nil
	}
	if !o.ReplaceSealKey {
		return false, j.keyError(ctx, o.SealKeyFile, "is not the one that this journal was sealed with")
	}
	return true, nil
}

// keyError says what is lost without the key.
func (j *Journal) keyError(ctx context.Context, file, what string) error {
	rotations, err := texts(ctx, j.write, j.q.sealed)
	if err != nil {
		return err
	}
	lost := "nothing is sealed with it at present"
	if len(rotations) > 0 {
		const most = 5
		more := ""
		if len(rotations) > most {
			more = fmt.Sprintf(" and %d more", len(rotations)-most)
			rotations = rotations[:most]
		}
		lost = "without it these rotations can't go on: " + strings.Join(rotations, ", ") + more
	}
	return fmt.Errorf("seal key %q %s: put the right one back from its backup; %s", file, what, lost)
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
