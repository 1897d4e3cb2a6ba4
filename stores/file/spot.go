package filestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

const (
	maxBytes   = 4 << 20 // of a file
	maxLinks   = 40      // on the way to a file, as the kernel has it
	lockPolled = 5 * time.Millisecond
)

// errMoved means that the file changed between a look and the write that is based on it.
var errMoved = errors.New("somebody changes the file all the time")

// A spot is the real place of a file, with all links on the way followed.
type spot struct {
	root *os.Root
	dir  *os.File // the directory that the file is in
	name string   // the file below root; no part of it is a link
}

// find follows the links to a file, as long as they stay below root. The file
// may be missing; when its directory is, the error is fs.ErrNotExist.
func find(root *os.Root, file string) (spot, error) {
	name, err := follow(root, file)
	if err != nil {
		return spot{}, fail("find", file, err)
	}
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return spot{}, fail("open directory of", file, err)
	}
	return spot{root: root, dir: dir, name: name}, nil
}

// lock is find, and holds the directory's lock until close: against every other
// rotatord, whichever directory its store begins at.
func lock(ctx context.Context, root *os.Root, file string) (spot, error) {
	found, err := find(root, file)
	if err != nil {
		return spot{}, err
	}
	for {
		locked, err := tryLock(found.dir)
		if err != nil {
			found.close()
			return spot{}, fail("lock directory of", file, err)
		}
		if locked {
			break
		}
		select {
		case <-ctx.Done():
			found.close()
			return spot{}, rotator.Unsent(fmt.Errorf("lock directory of %q: %w", file, ctx.Err()))
		case <-time.After(lockPolled):
		}
	}
	// A link on the way may have been turned while we waited.
	if name, err := follow(root, file); err != nil || name != found.name {
		found.close()
		return spot{}, errMoved
	}
	return found, nil
}

func (s spot) close() { _ = s.dir.Close() }

// follow returns the path of a file below root without any link in it. It does
// by hand what the kernel does, because a rename onto a link would replace the
// link; root itself refuses whatever changes in between and leads out.
func follow(root *os.Root, file string) (string, error) {
	var done []string
	todo := strings.Split(file, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(done) == 0 {
				return "", errOutside
			}
			done = done[:len(done)-1]
			continue
		}
		here := path.Join(slices.Concat(done, []string{part})...)
		info, err := root.Lstat(here)
		if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(todo) > 0) {
			return "", err
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			done = append(done, part)
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("too many symbolic links")
		}
		target, err := root.Readlink(here)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			return "", errOutside
		}
		todo = slices.Concat(strings.Split(target, "/"), todo)
	}
	return path.Join(done...), nil
}

var errOutside = errors.New("a symbolic link leaves the store's dir; only relative links that stay below it are followed")

// read returns the file's content; without a file, nil and nil.
func (s spot) read() ([]byte, fs.FileInfo, error) {
	// Without O_NONBLOCK a named pipe would hold us for ever.
	file, err := s.root.OpenFile(s.name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fail("open", s.name, err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, nil, fail("look at", s.name, err)
	case info.IsDir():
		return nil, nil, rotator.Permanent(fmt.Errorf("read %q: is a directory, not a file", s.name))
	case !info.Mode().IsRegular():
		return nil, nil, rotator.Permanent(fmt.Errorf("read %q: is not a regular file", s.name))
	}
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, nil, fail("read", s.name, err)
	}
	if len(content) > maxBytes {
		return nil, nil, rotator.Permanent(fmt.Errorf("read %q: longer than %d bytes", s.name, maxBytes))
	}
	return content, info, nil
}

// replace puts content in the place of the file that old describes (nil: there
// is none) and makes it durable. Before the rename any error leaves the old file
// as it was and nothing beside it; unchanged is asked at the last moment.
func (s *Store) replace(at spot, content []byte, old fs.FileInfo, unchanged func() bool) (fs.FileInfo, error) {
	temp := tempName(at.name)
	if err := at.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fail("remove", temp, err)
	}
	file, err := at.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fail("write", at.name, err)
	}
	info, err := s.fill(file, content, old)
	if err == nil && !unchanged() {
		err = errMoved
	}
	if err == nil {
		err = at.root.Rename(temp, at.name)
	}
	if err != nil {
		_ = at.root.Remove(temp)
		return nil, fail("write", at.name, err)
	}
	return info, s.syncDir(at)
}

// fill writes, gives the file its owner and mode, syncs and closes it.
func (s *Store) fill(file *os.File, content []byte, old fs.FileInfo) (fs.FileInfo, error) {
	_, err := file.Write(content)
	mode := s.mode
	if err == nil && old != nil {
		mode = old.Mode().Perm()
		err = setOwner(file, old)
	}
	if err == nil {
		err = file.Chmod(mode) // after the owner: changing that takes bits away
	}
	if err == nil {
		err = s.sync(file)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = file.Stat()
	}
	return info, errors.Join(err, file.Close())
}

// syncDir makes a rename durable. Some file systems can't and needn't.
func (s *Store) syncDir(at spot) error {
	err := s.sync(at.dir)
	if err == nil || errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return fmt.Errorf("sync directory of %q: %w", at.name, cause(err))
}

// fail says what could not be done to a file, before anything was changed.
func fail(verb, name string, err error) error {
	if errors.Is(err, errMoved) {
		return err
	}
	wrapped := fmt.Errorf("%s %q: %w", verb, name, cause(err))
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, errOutside),
		errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, errors.ErrUnsupported):
		return rotator.Permanent(wrapped)
	}
	return rotator.Unsent(wrapped)
}

// cause takes the operation and the path out of an error of package os.
func cause(err error) error {
	var inPath *fs.PathError
	var inLink *os.LinkError
	switch {
	case errors.As(err, &inPath):
		return inPath.Err
	case errors.As(err, &inLink):
		return inLink.Err
	}
	return err
}
