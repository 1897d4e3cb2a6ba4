package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// LockedError says who owns a journal.
type LockedError struct {
	Path    string    // of the database, as it was asked for
	PID     int       // 0: it could not be read
	Since   time.Time // when it took the lock
	Command string    // what it runs
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%q is in use by another process", e.Path)
	}
	return fmt.Sprintf("%q is in use by process %d since %s", e.Path, e.PID, e.Since.UTC().Format(time.RFC3339))
}

type lockOwner struct {
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
	Command string    `json:"command"`
}

// A processLock is a file that this process has locked. The file stays when
// the lock is given up: removing it would let two processes lock two files.
type processLock struct{ f *os.File }

// lockFile locks the file and writes into it who we are. A file that another
// process has locked is a *LockedError for the database that shown names.
func lockFile(path, shown, command string) (*processLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|noFollow, 0o600) //nolint:gosec // beside the database
	if err != nil {
		return nil, fmt.Errorf("%w (rotatord writes in that folder)", err)
	}
	taken, err := flock(f)
	if err == nil && !taken {
		err = lockedBy(f, shown)
	}
	if err == nil {
		err = writeOwner(f, command)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &processLock{f}, nil
}

func lockedBy(f *os.File, shown string) error {
	var owner lockOwner
	const most = 4096
	raw, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil || json.Unmarshal(raw, &owner) != nil {
		owner = lockOwner{} // it has the lock and is about to write, or somebody spoilt the file
	}
	return &LockedError{Path: shown, PID: owner.PID, Since: owner.Since, Command: owner.Command}
}

func writeOwner(f *os.File, command string) error {
	if command == "" {
		command = filepath.Base(os.Args[0])
	}
	raw, err := json.Marshal(lockOwner{PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second), Command: command})
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(0), f.Chmod(0o600)); err != nil {
		return err
	}
	_, err = f.WriteAt(append(raw, '\n'), 0)
	return err
}

func (l *processLock) release() error {
	return errors.Join(l.f.Truncate(0), l.f.Close())
}
