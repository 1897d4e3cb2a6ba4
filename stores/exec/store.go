package execstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rotatord/rotatord/internal/childprocess"
	"github.com/rotatord/rotatord/rotator"
)

// Store keeps credentials by means of a program.
type Store struct {
	command   childprocess.Command
	writeOnly bool
}

// blindStore is a Store whose program can't read values back.
type blindStore struct{ *Store }

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.KeyChecker   = (*Store)(nil)
	_ rotator.WriteChecker = (*Store)(nil)
	_ rotator.Pinger       = (*Store)(nil)

	_ rotator.Store        = (*blindStore)(nil)
	_ rotator.WriteOnly    = (*blindStore)(nil)
	_ rotator.KeyChecker   = (*blindStore)(nil)
	_ rotator.WriteChecker = (*blindStore)(nil)
	_ rotator.Pinger       = (*blindStore)(nil)
)

// CheckKey implements rotator.KeyChecker. What a key means only the program knows.
func (s *Store) CheckKey(key string) error {
	var err error
	switch {
	case key == "":
		err = errors.New("is empty")
	case !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl):
		err = errors.New("must be text without control characters")
	default:
		return nil
	}
	return rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
}

// Ping implements rotator.Pinger. A program that answers `unsupported` is there
// and speaks the protocol; more it can't tell.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.call(ctx, request{Op: opPing}); err != nil && !errors.Is(err, errCantTell) {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// CheckWrite implements rotator.WriteChecker. A program that answers
// `unsupported` is as good as a store that can't tell.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	if err := s.CheckKey(key); err != nil {
		return err
	}
	if _, err := s.call(ctx, request{Op: opCheckWrite, Key: key}); err != nil && !errors.Is(err, errCantTell) {
		return fmt.Errorf("check write of %q: %w", key, err)
	}
	return nil
}

// Get implements rotator.Store.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	a, err := s.get(ctx, key)
	if errors.Is(err, errCantTell) {
		err = rotator.Permanent(fmt.Errorf("read %q: the program can't read: set write_only: true", key))
	}
	if err != nil {
		return rotator.Version{}, err
	}
	return rotator.Version{ID: a.VersionID, Value: rotator.NewSecret(*a.Value), At: a.at}, nil
}

func (s *Store) get(ctx context.Context, key string) (answer, error) {
	if err := s.CheckKey(key); err != nil {
		return answer{}, err
	}
	a, err := s.call(ctx, request{Op: opGet, Key: key})
	if err != nil {
		return answer{}, fmt.Errorf("read %q: %w", key, err)
	}
	return a, nil
}

// WriteOnly implements rotator.WriteOnly.
func (s *blindStore) WriteOnly() {}

// Get implements rotator.Store: always errors.ErrUnsupported, with what the
// program can tell of the current version. A value in its answer is dropped.
func (s *blindStore) Get(ctx context.Context, key string) (rotator.Version, error) {
	a, err := s.get(ctx, key)
	if err != nil && !errors.Is(err, errCantTell) && !errors.Is(err, rotator.ErrNotFound) {
		return rotator.Version{}, err
	}
	return rotator.Version{ID: a.VersionID, At: a.at}, fmt.Errorf("read %q: the program can only write: %w", key, errors.ErrUnsupported)
}

// Put implements rotator.Store, as far as the program does its part: it compares
// with prev, and knows an attempt again.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	if err := s.CheckKey(key); err != nil {
		return rotator.Version{}, err
	}
	a, err := s.call(ctx, request{Op: opPut, Key: key, writeRequest: &writeRequest{Value: w.Value.Reveal(), Prev: w.Prev, Attempt: w.Attempt}})
	if err != nil {
		return rotator.Version{}, fmt.Errorf("write %q: %w", key, err)
	}
	version := rotator.Version{ID: a.VersionID, At: a.at}
	if !s.writeOnly {
		version.Value = w.Value
	}
	return version, nil
}

// call runs the program once. Success needs both: exit status 0 and an answer
// that is whole. An error in the answer counts whatever the exit status is.
func (s *Store) call(ctx context.Context, r request) (answer, error) {
	r.Version = protocolVersion
	line, err := r.encode()
	if err != nil {
		return answer{}, rotator.Permanent(err)
	}
	printed := childprocess.Output{MaxBytes: maxAnswerBytes}
	code, err := s.command.Run(ctx, childprocess.Call{Stdin: bytes.NewReader(line), Stdout: &printed})
	if err != nil {
		return answer{}, err
	}
	a, err := s.judge(r, code, &printed)
	if err != nil {
		return answer{}, fmt.Errorf("command %q: %w", s.command.Argv[0], err)
	}
	return a, nil
}

// judge reads what a program said, together with how it ended.
func (s *Store) judge(r request, code int, printed *childprocess.Output) (answer, error) {
	if printed.Cut() {
		return answer{}, fmt.Errorf("answer: longer than %d bytes", maxAnswerBytes)
	}
	var values []string
	if r.writeRequest != nil {
		values = []string{r.Value}
	}
	a, err := readAnswer(printed.Bytes())
	switch {
	case err == nil && a.Error != nil:
		return answer{}, a.Error.err(r.Op, append(values, s.logIns()...))
	case code != 0:
		return answer{}, fmt.Errorf("exit status %d without an error that can be read", code)
	case err == nil:
		err = a.check(r.Op, s.writeOnly, values)
	}
	if err != nil {
		return answer{}, fmt.Errorf("answer: %w", err)
	}
	return a, nil
}
