package journal

import (
	"embed"
	"io/fs"
)

//go:embed migrations
var migrationFiles embed.FS

// queries is all the SQL of a journal but its migrations. Parameters are in
// the order in which the columns or conditions are named.
type queries struct {
	hasTables     string // tables of anybody
	schemaVersion string // fails where there is no journal yet
	schemaCreate  string
	schemaRaise   string // version

	meta       string
	epochRaise string
	headSet    string // seq, hash, epoch

	streamHead   string // rotation, token
	entryInsert  string
	openRotation string // token
	rotationAdd  string
	rotationSet  string // closed, wake, summary, id
	recordSet    string // name, record
	dueSet       string // the head of a statement, followed by dueSetRow for each row and dueSetEnd
	dueSetRow    string // name, due
	dueSetEnd    string
	sealSet      string // rotation, slot, ciphertext
	sealGet      string // rotation, slot
	sealWipe     string // rotation
	sealed       string

	entries       string
	entriesOf     string // rotation
	entriesOfSelf string // token
	openRotations string
	rotations     string // limit
	rotationsOf   string // token, limit
	record        string // name
	records       string
	due           string // now
	nextDue       string // after

	// check lists what is wrong with the database itself, "ok" when nothing is.
	check string
	// forget takes deleted rows out of the database's own log. It answers three
	// numbers; the first is not 0 when a reader kept it from doing so.
	forget                 string
	forgetBegin, forgetEnd string // around it
}

func sqliteQueries() queries {
	return queries{
		hasTables:     `SELECT COUNT(*) FROM sqlite_schema`,
		schemaVersion: `SELECT version FROM rotatord_schema`,
		schemaCreate:  `CREATE TABLE rotatord_schema (version INTEGER NOT NULL) STRICT; INSERT INTO rotatord_schema VALUES (0)`,
		schemaRaise:   `UPDATE rotatord_schema SET version = ?`,

		meta:       `SELECT epoch, head_seq, head_hash FROM meta WHERE id = 1`,
		epochRaise: `UPDATE meta SET epoch = epoch + 1 WHERE id = 1`,
		headSet:    `UPDATE meta SET head_seq = ?, head_hash = ? WHERE id = 1 AND epoch = ?`,

		streamHead: `SELECT COALESCE(MAX(seq), 0) FROM entry WHERE rotation = ? AND token = ?`,
		entryInsert: `INSERT INTO entry (seq, epoch, at, token, rotation, kind, body, prev, hash)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		openRotation: `SELECT id FROM rotation WHERE token = ? AND closed_at IS NULL`,
		rotationAdd:  `INSERT INTO rotation (id, token, opened_seq, closed_at, wake_at, summary) VALUES (?, ?, ?, ?, ?, ?)`,
		rotationSet:  `UPDATE rotation SET closed_at = ?, wake_at = ?, summary = ? WHERE id = ?`,
		recordSet: `INSERT INTO token (name, record) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET record = excluded.record`,
		dueSet:    `INSERT INTO token (name, due_at) VALUES `,
		dueSetRow: `(?, ?)`,
		dueSetEnd: ` ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at
			WHERE token.due_at IS DISTINCT FROM excluded.due_at`,
		sealSet: `INSERT INTO sealed (rotation, slot, ciphertext) VALUES (?, ?, ?)
			ON CONFLICT (rotation, slot) DO UPDATE SET ciphertext = excluded.ciphertext`,
		sealGet:  `SELECT ciphertext FROM sealed WHERE rotation = ? AND slot = ?`,
		sealWipe: `DELETE FROM sealed WHERE rotation = ?`,
		sealed:   `SELECT rotation, slot, ciphertext FROM sealed ORDER BY rotation, slot`,

		entries: `SELECT seq, epoch, at, token, rotation, kind, body, prev, hash FROM entry ORDER BY seq`,
		entriesOf: `SELECT seq, epoch, at, token, rotation, kind, body, prev, hash FROM entry
			WHERE rotation = ? ORDER BY seq`,
		entriesOfSelf: `SELECT seq, epoch, at, token, rotation, kind, body, prev, hash FROM entry
			WHERE rotation = '' AND token = ? ORDER BY seq`,
		openRotations: `SELECT summary FROM rotation WHERE closed_at IS NULL ORDER BY opened_seq`,
		rotations:     `SELECT summary FROM rotation ORDER BY opened_seq DESC LIMIT ?`,
		rotationsOf:   `SELECT summary FROM rotation WHERE token = ? ORDER BY opened_seq DESC LIMIT ?`,
		record:        `SELECT record FROM token WHERE name = ? AND record IS NOT NULL`,
		records:       `SELECT record FROM token WHERE record IS NOT NULL ORDER BY name`,
		due: `SELECT name FROM token WHERE due_at <= ? AND NOT EXISTS
			(SELECT 1 FROM rotation WHERE rotation.token = token.name AND closed_at IS NULL)
			ORDER BY due_at, name`,
		nextDue: `SELECT MIN(due_at) FROM token WHERE due_at > ?`,

		check: `PRAGMA quick_check(10)`,
		// A reader must not hold up the writer: the wait is switched off.
		forgetBegin: `PRAGMA busy_timeout = 0`,
		forget:      `PRAGMA wal_checkpoint(TRUNCATE)`,
		forgetEnd:   `PRAGMA busy_timeout = 5000`,
	}
}

func sqliteMigrations() (fs.FS, error) { return fs.Sub(migrationFiles, "migrations/sqlite") }
