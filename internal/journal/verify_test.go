package journal_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/journal"
	"github.com/rotatord/rotatord/rotator"
)

// written fills a journal with ten entries of two tokens and closes it.
func written(t *testing.T) place {
	t.Helper()
	p := newPlace(t)
	j := p.open(t)
	at := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for _, token := range []string{"crm", "erp"} {
		var head int64
		for n := range 5 {
			a := rotator.Append{
				Token: token, Rotation: "of " + token, Head: head,
				Entries: []rotator.Entry{{At: at, Kind: rotator.EntryIntent, Step: rotator.StepStore, Attempt: n + 1, Why: "<&>"}},
				Summary: &rotator.Summary{ID: "of " + token, Token: token, OpenedAt: at},
			}
			entries, err := j.Append(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			head = entries[0].Seq
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p place) reader(t *testing.T) *journal.Journal {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{DSN: "sqlite:" + p.db(), ReadOnly: true})
	if err != nil {
		t.Fatalf("Open() for reading = %v", err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// forge computes the chain anew from an entry on, the head too: what someone
// can do who may write the file and knows how.
func (p place) forge(t *testing.T, from int64) {
	t.Helper()
	db := p.raw(t)
	for seq := from; ; seq++ {
		var epoch int64
		var at, token, rotation, kind, body string
		prev := make([]byte, sha256.Size)
		_ = db.QueryRowContext(t.Context(), `SELECT hash FROM entry WHERE seq = ?`, seq-1).Scan(&prev)
		row := db.QueryRowContext(t.Context(), `SELECT epoch, at, token, rotation, kind, body FROM entry WHERE seq = ?`, seq)
		if err := row.Scan(&epoch, &at, &token, &rotation, &kind, &body); err != nil {
			if _, err := db.ExecContext(t.Context(), `UPDATE meta SET head_seq = ?, head_hash = ?`, seq-1, prev); err != nil {
				t.Fatal(err)
			}
			return
		}
		hash := chainHash(prev, seq, epoch, at, token, rotation, kind, body)
		if _, err := db.ExecContext(t.Context(), `UPDATE entry SET prev = ?, hash = ? WHERE seq = ?`, prev, hash, seq); err != nil {
			t.Fatal(err)
		}
	}
}

// chainHash follows the documentation of the chain, not its code.
func chainHash(prev []byte, seq, epoch int64, texts ...string) []byte {
	var all bytes.Buffer
	all.Write(prev)
	_ = binary.Write(&all, binary.BigEndian, []int64{seq, epoch})
	for _, text := range texts {
		_ = binary.Write(&all, binary.BigEndian, int64(len(text)))
		all.WriteString(text)
	}
	sum := sha256.Sum256(all.Bytes())
	return sum[:]
}

func TestVerify(t *testing.T) {
	p := written(t)
	report, err := p.reader(t).Verify(t.Context(), journal.Head{})
	if err != nil || report.Entries != 10 || report.Head.Seq != 10 || len(report.Head.Hash) != 64 {
		t.Fatalf("Verify = %+v, %v; want 10 entries and a head", report, err)
	}
	j := p.open(t)
	if again, err := j.Verify(t.Context(), report.Head); err != nil || again != report {
		t.Errorf("Verify with its own head = %+v, %v; want %+v", again, err, report)
	}
	mustDo(t, see(t, j, "crm"))
	for _, reader := range []*journal.Journal{j, p.reader(t)} {
		if later, err := reader.Verify(t.Context(), report.Head); err != nil || later.Entries != 11 {
			t.Errorf("Verify with an earlier head = %+v, %v; want 11 entries", later, err)
		}
	}
	empty := newPlace(t).open(t)
	if report, err := empty.Verify(t.Context(), journal.Head{}); err != nil || report.Entries != 0 {
		t.Errorf("Verify of a new journal = %+v, %v; want none", report, err)
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	const columns = `epoch, at, token, rotation, kind, body, prev, hash`
	tests := []struct {
		name string
		do   []string
		seq  int64
		why  string
	}{
		{"body", []string{`UPDATE entry SET body = replace(body, '"attempt":4', '"attempt":3') WHERE seq = 4`}, 4, "was changed"},
		{"a space in a body", []string{`UPDATE entry SET body = body || ' ' WHERE seq = 1`}, 1, "was changed"},
		{"time", []string{`UPDATE entry SET at = '2026-11-24T14:00:00Z' WHERE seq = 10`}, 10, "was changed"},
		{"token", []string{`UPDATE entry SET token = 'erp' WHERE seq = 4`}, 4, "was changed"},
		{"rotation", []string{`UPDATE entry SET rotation = 'of erp' WHERE seq = 4`}, 4, "was changed"},
		{"kind", []string{`UPDATE entry SET kind = 'outcome' WHERE seq = 4`}, 4, "was changed"},
		{"epoch", []string{`UPDATE entry SET epoch = 9 WHERE seq = 4`}, 4, "was changed"},
		{"text moved between columns", []string{`UPDATE entry SET token = 'cr', rotation = 'mof crm' WHERE seq = 4`}, 4, "was changed"},
		{"hash", []string{`UPDATE entry SET hash = zeroblob(32) WHERE seq = 4`}, 4, "was changed"},
		{"prev", []string{`UPDATE entry SET prev = zeroblob(32) WHERE seq = 4`}, 4, "does not follow"},
		{"first deleted", []string{`DELETE FROM entry WHERE seq = 1`}, 1, "is missing"},
		{"one deleted", []string{`DELETE FROM entry WHERE seq = 4`}, 4, "is missing"},
		{"several deleted", []string{`DELETE FROM entry WHERE seq BETWEEN 4 AND 6`}, 4, "is missing"},
		{"last deleted", []string{`DELETE FROM entry WHERE seq = 10`}, 10, "is missing"},
		{"all deleted", []string{`DELETE FROM entry`}, 1, "is missing"},
		{"deleted and closed up", []string{`DELETE FROM entry WHERE seq = 4`, `UPDATE entry SET seq = seq - 1 WHERE seq > 4`}, 4, "does not follow"},
		{"two bodies swapped", []string{
			`UPDATE entry SET body = (SELECT body FROM entry AS o WHERE o.seq = 9 - entry.seq) WHERE seq IN (4, 5)`,
		}, 4, "was changed"},
		{"two entries swapped", []string{
			`UPDATE entry SET seq = -4 WHERE seq = 4`, `UPDATE entry SET seq = 4 WHERE seq = 5`, `UPDATE entry SET seq = 5 WHERE seq = -4`,
		}, 4, "does not follow"},
		{"inserted", []string{
			`UPDATE entry SET seq = -seq - 1 WHERE seq >= 4`, `UPDATE entry SET seq = -seq WHERE seq < 0`,
			`INSERT INTO entry SELECT 4, ` + columns + ` FROM entry WHERE seq = 3`,
		}, 4, "does not follow"},
		{"added at the end", []string{`INSERT INTO entry SELECT 11, ` + columns + ` FROM entry WHERE seq = 10`}, 11, "does not follow"},
		{"added in front", []string{`INSERT INTO entry SELECT 0, ` + columns + ` FROM entry WHERE seq = 1`}, 0, "was added"},
		{"head moved back", []string{`UPDATE meta SET head_seq = 8, head_hash = (SELECT hash FROM entry WHERE seq = 8)`}, 9, "was added"},
		{"head's hash", []string{`UPDATE meta SET head_hash = zeroblob(32)`}, 10, "is not the last"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := written(t)
			p.exec(t, test.do...)
			j := p.reader(t)
			_, err := j.Verify(t.Context(), journal.Head{})
			wantTampered(t, err, test.seq, test.why)
			var out strings.Builder
			wantTampered(t, j.Export(t.Context(), &out, ""), test.seq, test.why)
		})
	}
}

func wantTampered(t *testing.T, err error, seq int64, why string) {
	t.Helper()
	var tampered *journal.TamperError
	if !errors.As(err, &tampered) || tampered.Seq != seq || !strings.Contains(tampered.Why, why) {
		t.Errorf("error %v; want that entry %d %s", err, seq, why)
	}
}

// TestVerifyForged has someone compute the chain anew: a part of it is found
// by the chain, the whole only by a head that was noted.
func TestVerifyForged(t *testing.T) {
	change := `UPDATE entry SET body = '{"why":"forged"}' WHERE seq = 4`
	p := written(t)
	report, err := p.reader(t).Verify(t.Context(), journal.Head{})
	if err != nil {
		t.Fatal(err)
	}
	p.exec(t, change)
	p.forge(t, 5) // all but the entry itself
	_, err = p.reader(t).Verify(t.Context(), journal.Head{})
	wantTampered(t, err, 4, "was changed")
	p.forge(t, 4)
	if _, err := p.reader(t).Verify(t.Context(), journal.Head{}); err != nil {
		t.Errorf("Verify of a whole new chain = %v; it is said that this can't be found", err)
	}
	_, err = p.reader(t).Verify(t.Context(), report.Head)
	wantTampered(t, err, 10, "is not the one whose hash was noted")

	p.exec(t, `DELETE FROM entry WHERE seq > 7`)
	p.forge(t, 1)
	_, err = p.reader(t).Verify(t.Context(), report.Head)
	wantTampered(t, err, 8, "is missing")
}

// TestVerifyUnreadable has a chain that fits around an entry that is none.
func TestVerifyUnreadable(t *testing.T) {
	for what, do := range map[string]string{
		"body": `UPDATE entry SET body = '[1]' WHERE seq = 4`,
		"time": `UPDATE entry SET at = 'yesterday' WHERE seq = 4`,
	} {
		p := written(t)
		p.exec(t, do)
		p.forge(t, 1)
		j := p.open(t)
		_, err := j.Verify(t.Context(), journal.Head{})
		wantTampered(t, err, 4, "can't be read")
		if _, err := j.Entries(t.Context(), "of crm"); err == nil || !strings.Contains(err.Error(), "entry 4") {
			t.Errorf("Entries with an unreadable %s = %v; want an error that names entry 4", what, err)
		}
		if _, err := j.Entries(t.Context(), "of erp"); err != nil {
			t.Errorf("Entries of another rotation = %v", err)
		}
	}
}

// TestExport checks the lines as a stranger would, who knows the documentation.
func TestExport(t *testing.T) {
	p := written(t)
	j := p.open(t)
	var out bytes.Buffer
	if err := j.Export(t.Context(), &out, ""); err != nil {
		t.Fatal(err)
	}
	prev := make([]byte, sha256.Size)
	lines := bufio.NewScanner(&out)
	count := int64(0)
	for lines.Scan() {
		var line struct {
			Seq, Epoch                int64
			At, Token, Rotation, Kind string
			Prev, Hash                string
			Body                      json.RawMessage
		}
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&line); err != nil {
			t.Fatalf("line %s: %v", lines.Text(), err)
		}
		count++
		sum := chainHash(prev, line.Seq, line.Epoch, line.At, line.Token, line.Rotation, line.Kind, string(line.Body))
		if line.Seq != count || line.Prev != hex.EncodeToString(prev) || line.Hash != hex.EncodeToString(sum) {
			t.Errorf("line %d does not fit: %s", count, lines.Text())
		}
		prev = sum
	}
	if count != 10 {
		t.Errorf("%d lines; want 10", count)
	}
	out.Reset()
	if err := j.Export(t.Context(), &out, "erp"); err != nil || strings.Count(out.String(), "\n") != 5 || strings.Contains(out.String(), "crm") {
		t.Errorf("Export of erp = %v:\n%s; want its 5 lines", err, out.String())
	}
	if err := j.Export(t.Context(), brokenPipe{}, ""); !errors.Is(err, errPipe) {
		t.Errorf("Export to a broken pipe = %v; want its error", err)
	}
}

var errPipe = errors.New("broken pipe")

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errPipe }

func TestTokenEntries(t *testing.T) {
	j := newPlace(t).open(t)
	for n, kind := range []rotator.EntryKind{rotator.EntrySeen, rotator.EntryAdopted, rotator.EntryReset} {
		for _, token := range []string{"crm", "erp"} {
			head, err := j.TokenHead(t.Context(), token)
			mustDo(t, err)
			_, err = j.Append(t.Context(), rotator.Append{Token: token, Head: head, Entries: []rotator.Entry{{Kind: kind, Why: fmt.Sprint(n)}}})
			mustDo(t, err)
		}
	}
	entries, err := j.TokenEntries(t.Context(), "erp")
	if err != nil || len(entries) != 3 || entries[2].Kind != rotator.EntryReset || entries[2].Seq != 6 || entries[0].Token != "erp" {
		t.Errorf("TokenEntries = %+v, %v; want seen, adopted, reset of erp", entries, err)
	}
	if entries, err := j.TokenEntries(t.Context(), "nobody"); err != nil || len(entries) != 0 {
		t.Errorf("TokenEntries of nobody = %v, %v; want none", entries, err)
	}
}
