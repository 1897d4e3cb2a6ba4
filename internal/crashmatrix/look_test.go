package crashmatrix

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // to count what is sealed

	"github.com/rotatord/rotatord/rotator"
)

// found is what was seen from outside after a rotation.
type found struct {
	calls, refused, failed int64
	live                   int    // credentials that the service accepts; 1
	orphans                int    // of them, those that no store holds; 0
	stores                 string // "same", or what is wrong
	journal                string // "ok", or what is wrong
	values                 int    // files and outputs with a value or a log-in in them; 0
	made                   int    // credentials that the rotation made in all
	rollouts               int    // that were started
	ended                  string
	problems               []string
}

func (f *found) problem(format string, args ...any) {
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// lookAfterKill looks at what a dead process left: nothing nameless, nothing readable.
func (w *world) lookAfterKill(f *found) {
	for _, each := range w.live() {
		ours := strings.HasPrefix(each.Name, "rotatord/"+token+"/")
		if each.ID != w.first.ID && each.ID != w.provided.ID && !ours {
			f.problem("after the kill: credential %s at the service is nameless (%q)", each.ID, each.Name)
		}
	}
	w.lookForValues(f)
}

// look looks at everything after the end of the rotation.
func (w *world) look(t *testing.T, f *found) {
	t.Helper()
	var status struct {
		Tokens []struct {
			Fingerprint rotator.Fingerprint `json:"fingerprint"`
			Last        *struct {
				Status rotator.Status `json:"status"`
			} `json:"last_rotation"`
			Rotation any `json:"rotation"`
		} `json:"tokens"`
	}
	code, text := w.command(t, "status", "-o", "json")
	if err := json.Unmarshal([]byte(text), &status); err != nil || code != 0 || len(status.Tokens) != 1 || status.Tokens[0].Last == nil {
		f.problem("`rotatord status` exits with %d and knows of no rotation: %s", code, text)
		return
	}
	f.ended = string(status.Tokens[0].Last.Status)
	if f.ended != string(w.scenario.ends) || status.Tokens[0].Rotation != nil {
		f.problem("the rotation ended as %s; want %s", f.ended, w.scenario.ends)
	}
	w.lookAtService(f, status.Tokens[0].Fingerprint)
	w.lookAtWorkers(t, f)
	if code, text := w.command(t, "audit", "verify"); code == 0 {
		f.journal = "ok"
	} else {
		f.journal = "broken"
		f.problem("`rotatord audit verify` exits with %d: %s", code, text)
	}
	w.lookForSealed(t, f)
	w.lookForValues(f)
}

// lookAtService compares what the service accepts with the stores and the journal.
func (w *world) lookAtService(f *found, current rotator.Fingerprint) {
	for _, each := range w.sim.Stats().Tokens {
		if strings.HasPrefix(each.Name, "rotatord/") || each.ID == w.provided.ID {
			f.made++
		}
		if each.ID == w.bystander.ID && !each.Accepted {
			f.problem("the other team's token was ended")
		}
	}
	live, rollouts := w.live(), w.rollouts()
	f.live, f.rollouts = len(live), len(rollouts)
	if slices.Sort(rollouts); w.scenario.asksRollout && len(slices.Compact(rollouts)) != f.rollouts {
		f.problem("a release was rolled out twice: %v", rollouts)
	}
	if f.live != 1 {
		f.problem("the service accepts %d credentials; want 1", f.live)
	}
	if w.scenario.ends == rotator.Done && slices.ContainsFunc(live, func(l liveToken) bool { return l.ID == w.first.ID }) {
		f.problem("the old credential is still accepted")
	}
	inVault, inFile := w.kept(f)
	for _, each := range live {
		if each.Fingerprint != inVault && each.Fingerprint != inFile {
			f.orphans++
			f.problem("nobody owns credential %s (%q)", each.ID, each.Name)
			continue
		}
		f.stores = "same"
		for place, holds := range map[string]rotator.Fingerprint{"vault": inVault, "file": inFile, "journal": current} {
			if holds != each.Fingerprint {
				f.stores = "differ"
				f.problem("%s holds %q; live is %s", place, holds, each.Fingerprint)
			}
		}
	}
}

// kept returns what the two stores hold, and looks whether the rest of them is as before.
func (w *world) kept(f *found) (inVault, inFile rotator.Fingerprint) {
	vault, err := w.inVault()
	if err != nil || vault["OWNER"] != "crm" {
		f.problem("the secret in Vault has lost its other field: %v", err)
	}
	file, err := w.inFile()
	if err != nil || file["CRM_USER"] != "ana" {
		f.problem("the file has lost its other variable: %v", err)
	}
	return rotator.FingerprintOf(vault[field]), rotator.FingerprintOf(file[field])
}

// lookAtWorkers waits until every worker lives on what is live, which it should
// already, and counts what they were refused.
func (w *world) lookAtWorkers(t *testing.T, f *found) {
	for _, each := range w.workers {
		before := each.calls.Load()
		until(t, "two more calls of "+each.name, func() bool { return each.calls.Load() > before+2 })
		live := w.live()
		if len(live) != 1 || each.fingerprint() != live[0].Fingerprint {
			f.problem("worker %s lives on %s, which is not the live one", each.name, each.fingerprint())
		}
		f.calls += each.calls.Load()
		f.refused += each.refused.Load()
		f.failed += each.failed.Load()
		if n := each.refusedOthers.Load(); n > 0 {
			f.problem("%d calls of worker %s were refused with another value than the first", n, each.name)
		}
	}
	if f.refused > 0 && !w.scenario.mayRefuse {
		f.problem("%d of %d calls of workers were refused", f.refused, f.calls)
	}
	if f.failed > 0 {
		f.problem("%d of %d calls of workers failed otherwise", f.failed, f.calls)
	}
}

// lookForSealed: at the end of a rotation its sealed values are gone.
func (w *world) lookForSealed(t *testing.T, f *found) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "state", "rotatord.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	sealed := -1
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM sealed`).Scan(&sealed); err != nil || sealed != 0 {
		f.problem("%d values are still sealed in the journal: %v", sealed, err)
	}
}

// lookForValues searches every file that rotatord wrote or printed.
func (w *world) lookForValues(f *found) {
	secrets := w.secrets()
	err := filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "secrets": // the store
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			if how := shows(text, secret); how != "" {
				f.values++
				f.problem("%s holds the value with fingerprint %s, %s", entry.Name(), rotator.FingerprintOf(secret), how)
			}
		}
		if strings.Contains(string(text), "panic:") || strings.Contains(string(text), "goroutine ") {
			f.problem("%s tells of a panic", entry.Name())
		}
		return nil
	})
	if err != nil {
		f.problem("search for values: %v", err)
	}
}

// shows tells how a text has a secret in it; empty: it does not.
func shows(text []byte, secret string) string {
	quoted, _ := json.Marshal(secret) // a string can be encoded
	forms := map[string]string{
		"as it is": secret, "in hexadecimal": hex.EncodeToString([]byte(secret)),
		"escaped for a URL": url.QueryEscape(secret), "escaped for JSON": strings.Trim(string(quoted), `"`),
	}
	for offset := range 3 { // where in a longer text it stands changes all digits
		inner := strings.Repeat("x", offset) + secret
		whole := inner[:len(inner)/3*3]
		forms[fmt.Sprintf("in base64, %d behind", offset)] = base64.StdEncoding.EncodeToString([]byte(whole))[offset+1:]
		forms[fmt.Sprintf("in base64 for URLs, %d behind", offset)] = base64.RawURLEncoding.EncodeToString([]byte(whole))[offset+1:]
	}
	for how, form := range forms {
		if bytes.Contains(text, []byte(form)) {
			return how
		}
	}
	return ""
}
