package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// Options of a journal.
type Options struct {
	// DSN says where the journal is: sqlite:PATH.
	DSN string
	// SealKeyFile holds the 32 bytes that seal values; a missing one is made. A
	// file beside it with ".old" at the end is the key before, which opens
	// values only. Values that neither opens stay as they are: see Seals. Not
	// read when ReadOnly.
	SealKeyFile string
	// ReadOnly opens beside a running owner, without lock, epoch and key:
	// Append, SetDue and Unseal are refused.
	ReadOnly bool
	// Command is what a second process is told of this one; empty: the
	// executable's name.
	Command string
	// NoSync leaves out the waits for the disk. Only for tests: a power cut
	// may then damage the journal.
	NoSync bool
}

// backend is what a kind of database brings along.
type backend struct {
	q          queries
	migrations func() (fs.FS, error)
	write      *sql.DB           // of one connection; nil: read only
	read       *sql.DB           //
	guard      func() error      // asked before a write: is the database still the one that was opened
	explain    func(error) error // says what an error of the database means and what to do
	constraint func(error) bool  // is the error a broken constraint
	release    func() error      // after the connections are closed
}

// Journal is a rotator.Journal on a database. Its methods may be called from
// many goroutines.
type Journal struct {
	backend
	epoch   int64
	sealer  *sealer
	keyFile string
	writes  map[string]*sql.Stmt
	often   often
	reads   chan func()   // for readForOthers
	quit    chan struct{} // closed at Close

	queueMu sync.Mutex
	queue   []*request
	writing bool // writeQueue runs

	writeMu     sync.Mutex // held for the time of a write transaction
	closed      bool
	residue     bool        // wiped values may still be in the database's own log
	forgotAt    time.Time   // when none were there
	forgetTimer *time.Timer // nil: none runs
}

var _ rotator.Journal = (*Journal)(nil)

// Open opens a journal, makes it where there is none, and takes a new epoch. A
// journal that another process owns is a *LockedError. Close it after use.
func Open(ctx context.Context, o Options) (*Journal, error) {
	j, err := open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

func open(ctx context.Context, o Options) (*Journal, error) {
	path, err := sqlitePath(o.DSN)
	if err != nil {
		return nil, err
	}
	b, err := openSQLite(ctx, path, o)
	if err != nil {
		return nil, err
	}
	j := &Journal{backend: b, reads: make(chan func()), quit: make(chan struct{})}
	for range readConnections {
		go j.readForOthers()
	}
	if o.ReadOnly {
		err = j.checkSchema(ctx)
	} else {
		err = j.own(ctx, o)
	}
	if err == nil {
		j.often.db = j.read
		j.often.stmts, err = prepareAll(ctx, j.read, j.q.entriesOf, j.q.rotationsOf, j.q.record, j.q.sealGet, j.q.streamHead, j.q.due, j.q.nextDue)
	}
	if err != nil {
		return nil, errors.Join(j.explain(err), j.close(context.WithoutCancel(ctx)))
	}
	return j, nil
}

func sqlitePath(dsn string) (string, error) {
	kind, path, _ := strings.Cut(dsn, ":")
	switch {
	case kind == "postgres" || kind == "postgresql":
		return "", errors.New("postgres is not supported yet; use sqlite:PATH")
	case kind != "sqlite":
		return "", errors.New("the dsn does not say what to open; use sqlite:PATH")
	case path == "" || strings.HasPrefix(path, ":"):
		return "", errors.New("the dsn names no file; use sqlite:PATH")
	}
	return path, nil
}

// own makes this process the owner: schema, key, epoch. The key is checked
// before anything is written that would shut out an owner before us.
func (j *Journal) own(ctx context.Context, o Options) error {
	if err := j.migrate(ctx); err != nil {
		return err
	}
	sealer, err := openSealer(o.SealKeyFile)
	if err != nil {
		return err
	}
	j.sealer, j.keyFile = sealer, o.SealKeyFile
	if err := j.takeEpoch(ctx); err != nil {
		return err
	}
	j.writes, err = prepareAll(ctx, j.write, j.q.meta, j.q.headSet, j.q.streamHead, j.q.entryInsert, j.q.openRotation,
		j.q.rotationAdd, j.q.rotationSet, j.q.recordSet, j.q.sealSet, j.q.sealWipe, j.q.dueSet+j.q.dueSetRow+j.q.dueSetEnd)
	return err
}

func (j *Journal) takeEpoch(ctx context.Context) error {
	if _, err := j.write.ExecContext(ctx, j.q.epochRaise); err != nil {
		return err
	}
	m, err := j.readMeta(ctx, j.write)
	j.epoch = m.epoch
	j.residue = true // of an owner that was killed before it cleaned up
	j.forgetWiped(ctx)
	return err
}

// Epoch returns the fencing epoch that Open took; 0 when read only.
func (j *Journal) Epoch() int64 { return j.epoch }

// Close waits for the write under way, closes the database and gives up the
// lock. It may be called twice.
func (j *Journal) Close() error { return j.close(context.Background()) }

func (j *Journal) close(ctx context.Context) error {
	j.writeMu.Lock()
	defer j.writeMu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	close(j.quit)
	var errs []error
	for _, stmt := range j.often.stmts {
		errs = append(errs, stmt.Close())
	}
	errs = append(errs, j.read.Close())
	if j.forgetTimer != nil {
		j.forgetTimer.Stop()
	}
	if j.write != nil {
		j.forgetWiped(ctx)
		for _, stmt := range j.writes {
			errs = append(errs, stmt.Close())
		}
		errs = append(errs, j.write.Close())
	}
	if j.sealer != nil {
		errs = append(errs, j.sealer.close())
	}
	if err := errors.Join(append(errs, j.release())...); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

type meta struct {
	epoch    int64
	head     Head
	headHash []byte
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (j *Journal) readMeta(ctx context.Context, db querier) (meta, error) {
	return scanMeta(db.QueryRowContext(ctx, j.q.meta))
}

func scanMeta(row *sql.Row) (meta, error) {
	var m meta
	err := row.Scan(&m.epoch, &m.head.Seq, &m.headHash)
	if errors.Is(err, sql.ErrNoRows) {
		return m, errors.New("the journal's own row is missing: it was damaged; restore the newest backup")
	}
	if err == nil && len(m.headHash) != hashSize {
		err = errors.New("the journal's own row is damaged; restore the newest backup")
	}
	m.head.Hash = hexHash(m.headHash)
	return m, err
}

// inTx runs f in a transaction that is rolled back on an error.
func inTx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func prepareAll(ctx context.Context, db *sql.DB, texts ...string) (map[string]*sql.Stmt, error) {
	prepared := make(map[string]*sql.Stmt, len(texts))
	for _, text := range texts {
		stmt, err := db.PrepareContext(ctx, text)
		if err != nil {
			return prepared, err
		}
		prepared[text] = stmt
	}
	return prepared, nil
}
