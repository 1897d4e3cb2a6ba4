package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const readConnections = 4

// sqliteFile is a journal's file. shown is the path as the user wrote it.
type sqliteFile struct{ path, shown string }

func openSQLite(ctx context.Context, shown string, o Options) (b backend, err error) {
	file, err := findFile(shown)
	if err != nil {
		return b, err
	}
	b = backend{
		q: sqliteQueries(), migrations: sqliteMigrations,
		explain: file.explain, constraint: isConstraint, release: func() error { return nil },
	}
	if o.ReadOnly {
		b.read, err = file.openReader(ctx)
		return b, err
	}
	lock, err := lockFile(file.path+".lock", shown, o.Command)
	if err != nil {
		return b, err
	}
	b.release = lock.release
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.release())
		}
	}()
	if err := file.create(); err != nil {
		return b, err
	}
	sync := "FULL"
	if o.NoSync {
		sync = "OFF"
	}
	b.write, err = file.connect(ctx, 1, "mode=rw", "_txlock=immediate", "_pragma=busy_timeout(5000)", "_pragma=journal_mode(WAL)",
		"_pragma=synchronous("+sync+")", "_pragma=secure_delete(ON)", "_pragma=foreign_keys(ON)", "_pragma=cache_size(-4000)")
	if err != nil {
		return b, err
	}
	if b.guard, err = file.guard(ctx, b.write); err == nil {
		b.read, err = file.connect(ctx, readConnections, "mode=rw", "_pragma=busy_timeout(5000)", "_pragma=query_only(ON)")
	}
	if err != nil {
		_ = b.write.Close()
	}
	return b, err
}

// findFile resolves the path, so that a second name of the same file meets the
// same lock, and refuses a folder that can't keep a journal.
func findFile(shown string) (sqliteFile, error) {
	path, err := filepath.Abs(shown)
	if err != nil {
		return sqliteFile{}, err
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	} else if _, err := os.Lstat(path); err == nil {
		return sqliteFile{}, fmt.Errorf("%q is a link that leads nowhere: remove it, or make the file it names", shown)
	}
	folder := filepath.Dir(path)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return sqliteFile{}, fmt.Errorf("the folder of %q does not exist: mkdir -m 700 -p %s", shown, folder)
	case err != nil:
		return sqliteFile{}, err
	case !info.IsDir():
		return sqliteFile{}, fmt.Errorf("the folder of %q is not a folder", shown)
	}
	if kind, err := networkFileSystem(folder); err != nil {
		return sqliteFile{}, err
	} else if kind != "" {
		return sqliteFile{}, fmt.Errorf("%q is on a network file system (%s), where locks and fsync can't be relied on: use a local disk", shown, kind)
	}
	return sqliteFile{path, shown}, nil
}

// create makes an empty file with mode 0600, or checks the one that is there.
func (f sqliteFile) create() error {
	made, err := os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	switch {
	case err == nil:
		return errors.Join(made.Chmod(0o600), made.Close(), syncFolder(filepath.Dir(f.path)))
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w (rotatord writes in that folder)", err)
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a file", f.shown)
	}
	return checkPrivate(f.shown, info)
}

func checkPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%q can be read or written by others (mode %04o): chmod 600 %s", path, mode, path)
	}
	return nil
}

func syncFolder(folder string) error {
	f, err := os.Open(folder) //nolint:gosec // the configuration names it
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// connect opens connections to the file; options are parts of a query string.
func (f sqliteFile) connect(ctx context.Context, most int, options ...string) (*sql.DB, error) {
	options = append(options, "_error_rc=1", "_pragma=trusted_schema(OFF)", "_pragma=cell_size_check(ON)")
	uri := url.URL{Scheme: "file", Path: f.path, RawQuery: strings.Join(options, "&")}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	var schema int // the first read of the file
	if err := db.QueryRowContext(ctx, `PRAGMA schema_version`).Scan(&schema); err != nil {
		return nil, errors.Join(f.explain(err), db.Close())
	}
	return db, nil
}

// openReader opens beside an owner. SQLite makes files for its log beside the
// database even for a reader; where it may not, and there is no log (a backup
// on a medium that can't be written), the file is read as it is.
func (f sqliteFile) openReader(ctx context.Context) (*sql.DB, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no journal yet: %w", err)
	case err != nil:
		return nil, err
	case info.Size() == 0:
		return nil, errEmpty
	}
	options := []string{"mode=ro", "_pragma=busy_timeout(5000)", "_pragma=query_only(ON)"}
	db, err := f.connect(ctx, readConnections, options...)
	if code := sqliteCode(err); code == sqlite3.SQLITE_CANTOPEN || code == sqlite3.SQLITE_READONLY {
		if log, errLog := os.Stat(f.path + "-wal"); errLog != nil || log.Size() == 0 {
			return f.connect(ctx, readConnections, append(options, "immutable=1")...)
		}
	}
	return db, err
}

// guard returns a check that the database and its log are still the files that
// are open: what is written to a file without a name is lost.
func (f sqliteFile) guard(ctx context.Context, db *sql.DB) (func() error, error) {
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return nil, f.explain(err)
	}
	if mode != "wal" {
		return nil, fmt.Errorf("the file system of %q can't keep SQLite's write-ahead log: use a local disk", f.shown)
	}
	// A first write makes sure that the log exists.
	if err := inTx(ctx, db, func(*sql.Tx) error { return nil }); err != nil {
		return nil, f.explain(err)
	}
	var opened [2]fs.FileInfo
	names := [2]string{f.path, f.path + "-wal"}
	for i, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		opened[i] = info
	}
	return func() error {
		for i, name := range names {
			if now, err := os.Stat(name); err != nil || !os.SameFile(now, opened[i]) {
				return fmt.Errorf("%q was removed or replaced while it was open: stop rotatord, put the file back, start it again", name)
			}
		}
		return nil
	}, nil
}

// explain says what an error of SQLite means for this file and what to do.
// Another error comes back as it is.
func (f sqliteFile) explain(err error) error {
	code := sqliteCode(err)
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE {
		code = sqlite3.SQLITE_FULL // no room for the index of the log
	}
	switch code {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk of %q is full; free some space: %w", f.shown, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return fmt.Errorf("%q can't be written; check its owner, its mode and the file system: %w", f.shown, err)
	case sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%q can't be opened; check owner and mode of the file and its folder: %w", f.shown, err)
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%q is not a journal; name another file, or restore the newest backup: %w", f.shown, err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%q is damaged; stop rotatord, keep a copy, restore the newest backup: %w", f.shown, err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("the disk of %q failed; check it before you go on: %w", f.shown, err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("%q is locked by another program: %w", f.shown, err)
	}
	return err
}

// sqliteCode returns the primary result code, or 0 for another error.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func isConstraint(err error) bool { return sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT }
