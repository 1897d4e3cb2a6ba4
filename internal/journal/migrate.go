package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

var (
	errForeign = errors.New("the database is not a journal of rotatord; name another file")
	errEmpty   = errors.New("the database holds no journal yet")
)

type migration struct {
	version int
	text    string
}

// loadMigrations reads files named 0001_what.sql in the order of their numbers,
// which have no gap.
func loadMigrations(load func() (fs.FS, error)) ([]migration, error) {
	files, err := load()
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	all := make([]migration, 0, len(names))
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(all)+1 {
			return nil, fmt.Errorf("migration %q is out of order", name)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		all = append(all, migration{version, string(text)})
	}
	return all, nil
}

// schema returns the version of the database, 0 where there is no journal yet.
func (j *Journal) schema(ctx context.Context, db querier) (int, error) {
	var tables int
	if err := db.QueryRowContext(ctx, j.q.hasTables).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	var version int
	err := db.QueryRowContext(ctx, j.q.schemaVersion).Scan(&version)
	if err != nil && ctx.Err() == nil && j.explain(err) == err { //nolint:errorlint // a healthy database without our table
		return 0, errForeign
	}
	return version, err
}

func newerSchema(found, known int) error {
	return fmt.Errorf("the journal was written by a newer rotatord (schema %d, this one knows %d): use that one, or restore a backup from before the upgrade", found, known)
}

// checkSchema is migrate for those who may not write.
func (j *Journal) checkSchema(ctx context.Context) error {
	all, err := loadMigrations(j.migrations)
	if err != nil {
		return err
	}
	found, err := j.schema(ctx, j.read)
	switch {
	case err != nil:
		return err
	case found == 0:
		return errEmpty
	case found > len(all):
		return newerSchema(found, len(all))
	case found < len(all):
		return fmt.Errorf("the journal has the older schema %d: start rotatord once, it brings it to %d", found, len(all))
	}
	return nil
}

// migrate brings the schema up to date in one transaction.
func (j *Journal) migrate(ctx context.Context) error {
	all, err := loadMigrations(j.migrations)
	if err != nil {
		return err
	}
	return inTx(ctx, j.write, func(tx *sql.Tx) error {
		found, err := j.schema(ctx, tx)
		if err != nil {
			return err
		}
		if found > len(all) {
			return newerSchema(found, len(all))
		}
		if found == 0 {
			if _, err := tx.ExecContext(ctx, j.q.schemaCreate); err != nil {
				return err
			}
		}
		for _, m := range all[found:] {
			if _, err := tx.ExecContext(ctx, m.text); err != nil {
				return fmt.Errorf("migrate to schema %d: %w", m.version, err)
			}
			if _, err := tx.ExecContext(ctx, j.q.schemaRaise, m.version); err != nil {
				return err
			}
		}
		return nil
	})
}
