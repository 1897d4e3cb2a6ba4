package journal

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

const hashSize = sha256.Size

// A row is an entry as it is stored.
type row struct {
	seq, epoch                int64
	at, token, rotation, kind string
	body, prev, hash          []byte
}

// sum computes the row's hash: SHA-256 over the hash before it, seq and epoch
// (8 bytes each, big endian), then at, token, rotation, kind and body, each
// after its length (8 bytes, big endian).
func (r row) sum() []byte {
	h := sha256.New()
	var number [8]byte
	put := func(n int64) {
		binary.BigEndian.PutUint64(number[:], uint64(n)) //nolint:gosec // the bits are what counts
		h.Write(number[:])
	}
	h.Write(r.prev)
	put(r.seq)
	put(r.epoch)
	for _, text := range []string{r.at, r.token, r.rotation, r.kind, string(r.body)} {
		put(int64(len(text)))
		_, _ = io.WriteString(h, text)
	}
	return h.Sum(nil)
}

// entry decodes the row.
func (r row) entry() (rotator.Entry, error) {
	e, err := decodeEntry(r.body)
	if err != nil {
		return e, err
	}
	at, err := time.Parse(time.RFC3339Nano, r.at)
	if err != nil {
		return e, err
	}
	e.Seq, e.Epoch, e.At = r.seq, r.epoch, at.UTC()
	e.Token, e.Rotation, e.Kind = r.token, r.rotation, rotator.EntryKind(r.kind)
	return e, nil
}

func scanRow(rows *sql.Rows) (row, error) {
	var r row
	err := rows.Scan(&r.seq, &r.epoch, &r.at, &r.token, &r.rotation, &r.kind, &r.body, &r.prev, &r.hash)
	return r, err
}

func hexHash(hash []byte) string { return hex.EncodeToString(hash) }

// A Head is where the chain ends: the last entry and its hash, 64 hex digits.
// The zero Head means none.
type Head struct {
	Seq  int64
	Hash string
}

// String is the form to note down and to give to ParseHead: "17:9f86d0…".
func (h Head) String() string { return strconv.FormatInt(h.Seq, 10) + ":" + h.Hash }

// ParseHead reads what Head.String wrote.
func ParseHead(text string) (Head, error) {
	number, hash, _ := strings.Cut(strings.TrimSpace(text), ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	raw, errHex := hex.DecodeString(hash)
	if err != nil || errHex != nil || seq < 0 || len(raw) != hashSize {
		return Head{}, fmt.Errorf("%q is not a head; it looks like 17:9f86d0… with 64 hex digits", text)
	}
	return Head{Seq: seq, Hash: strings.ToLower(hash)}, nil
}

// VerifyReport is what Verify found to be in order.
type VerifyReport struct {
	Entries int64
	Head    Head // to be noted elsewhere, and given to a later Verify
}

// TamperError says which entry is the first that does not fit, and why.
type TamperError struct {
	Seq int64
	Why string
}

func (e *TamperError) Error() string { return fmt.Sprintf("entry %d %s", e.Seq, e.Why) }

// Verify reads the whole journal and checks it: the database itself, then each
// entry's hash, place and content, then the end. noted is a head that was
// reported earlier: its entry must still be there, unchanged; the zero Head
// leaves this out. The first entry that does not fit is a *TamperError. See the
// package comment for what this can't find.
func (j *Journal) Verify(ctx context.Context, noted Head) (VerifyReport, error) {
	found, err := texts(ctx, j.read, j.q.check)
	if err == nil && strings.Join(found, "") != "ok" {
		err = fmt.Errorf("the database is damaged: %s", strings.Join(found, "; "))
	}
	report := VerifyReport{}
	if err = j.readError(ctx, err); err == nil {
		report.Entries, report.Head, err = j.walk(ctx, noted, func(row) error { return nil })
	}
	if err != nil {
		return VerifyReport{}, fmt.Errorf("verify journal: %w", err)
	}
	return report, nil
}

// Export writes the entries of one token or, when it is empty, of all, as one
// JSON object a line, in order:
//
//	{"seq", "epoch", "at", "token", "rotation", "kind", "prev", "hash", "body": {…}}
//
// prev and hash are in hex, and body has the very bytes that the hash covers,
// so that anyone can check the lines. The chain is checked on the way: a break
// is a *TamperError, and nothing from there on is written.
func (j *Journal) Export(ctx context.Context, w io.Writer, token string) error {
	_, _, err := j.walk(ctx, Head{}, func(r row) error {
		if token != "" && r.token != token {
			return nil
		}
		return writeLine(w, r)
	})
	if err != nil {
		return fmt.Errorf("export journal: %w", err)
	}
	return nil
}

// walk goes through the chain in one snapshot and checks it.
func (j *Journal) walk(ctx context.Context, noted Head, f func(row) error) (entries int64, head Head, err error) {
	tx, err := j.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return 0, head, j.readError(ctx, err)
	}
	defer func() { _ = tx.Rollback() }()
	m, err := j.readMeta(ctx, tx)
	if err != nil {
		return 0, head, j.readError(ctx, err)
	}
	last := row{hash: make([]byte, hashSize)}
	err = j.eachRow(ctx, tx, j.q.entries, nil, func(rows *sql.Rows) error {
		r, err := scanRow(rows)
		if err != nil {
			return err
		}
		if err := r.follows(last); err != nil {
			return err
		}
		if r.seq == noted.Seq && hexHash(r.hash) != noted.Hash {
			return &TamperError{r.seq, "is not the one whose hash was noted: the journal was written anew"}
		}
		entries, last = entries+1, r
		return f(r)
	})
	if err != nil {
		return 0, head, err
	}
	switch {
	case m.head.Seq > last.seq:
		err = &TamperError{last.seq + 1, fmt.Sprintf("is missing: the journal had %d entries", m.head.Seq)}
	case m.head.Seq < last.seq:
		err = &TamperError{m.head.Seq + 1, fmt.Sprintf("was added: the journal had %d entries", m.head.Seq)}
	case m.head.Hash != hexHash(last.hash):
		err = &TamperError{last.seq, "is not the last one that was written"}
	case noted.Seq > last.seq:
		err = &TamperError{last.seq + 1, fmt.Sprintf("is missing: entry %d was noted as the last one", noted.Seq)}
	}
	return entries, m.head, err
}

// follows checks that the row is the one after last, and is what was written.
func (r row) follows(last row) error {
	switch {
	case r.seq != last.seq+1:
		if r.seq <= 0 {
			return &TamperError{r.seq, "was added: the numbers begin at 1"}
		}
		return &TamperError{last.seq + 1, fmt.Sprintf("is missing: entry %d comes after %d", r.seq, last.seq)}
	case string(r.prev) != string(last.hash):
		return &TamperError{r.seq, fmt.Sprintf("does not follow on entry %d: one of them was changed, moved or added", last.seq)}
	case string(r.sum()) != string(r.hash):
		return &TamperError{r.seq, "was changed"}
	}
	if _, err := r.entry(); err != nil {
		return &TamperError{r.seq, "can't be read: " + oneLine(err)}
	}
	return nil
}

// oneLine names an error of a decoder without what it quotes of the input.
func oneLine(err error) string {
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return "its time is not one"
	}
	return "its body is not what an entry looks like"
}
