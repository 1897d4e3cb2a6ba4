package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

func testSummaries(t *testing.T, s Subject) {
	j := s.Journal
	if all, err := j.Rotations(t.Context(), "", 0); err != nil || len(all) != 0 {
		t.Errorf("Rotations of a new journal = %v, %v; want none", all, err)
	}
	// The order is that of opening, not that of IDs or clocks.
	for _, id := range []string{"03", "01", "02"} {
		mustAppend(t, j, closing("crm", id, mustAppend(t, j, opening("crm", id))))
	}
	head := mustAppend(t, j, opening("erp", "04"))
	mustAppend(t, j, opening("crm", "00"))

	full := rotator.Summary{
		ID: "04", Token: "erp", Reason: rotator.Leak, Status: rotator.Held, Course: rotator.RevokeFirst, Step: rotator.StepProbe,
		OpenedAt: day0().UTC(), WakeAt: day0().Add(time.Minute).UTC(), Old: "0123456789abcdef", New: "fedcba9876543210",
		Detail: "straggler", Dead: 1500 * time.Millisecond,
	}
	update := step("erp", "04", head)
	update.Summary = &full
	head = mustAppend(t, j, update)
	if got := ids(j.Rotations(t.Context(), "", 0)); got != "00 04 02 01 03" {
		t.Errorf("Rotations of all = %s; want 00 04 02 01 03", got)
	}
	if got := ids(j.Rotations(t.Context(), "", 2)); got != "00 04" {
		t.Errorf("Rotations of all, 2 = %s; want 00 04", got)
	}
	if got := ids(j.Rotations(t.Context(), "crm", 3)); got != "00 02 01" {
		t.Errorf("Rotations of crm, 3 = %s; want 00 02 01", got)
	}
	if got := ids(j.Rotations(t.Context(), "nobody", 0)); got != "" {
		t.Errorf("Rotations of nobody = %s; want none", got)
	}
	open, err := j.OpenRotations(t.Context())
	if err != nil || ids(open, err) != "04 00" {
		t.Fatalf("OpenRotations = %v, %v; want 04 00", open, err)
	}
	wantSame(t, "summary", open[0], full)

	// A summary can change without an entry.
	full.Detail, full.WakeAt = "", time.Time{}
	mustAppend(t, j, rotator.Append{Token: "erp", Rotation: "04", Head: head, Summary: &full})
	open, err = j.OpenRotations(t.Context())
	if err != nil || len(open) != 2 {
		t.Fatalf("OpenRotations = %v, %v; want 2", open, err)
	}
	wantSame(t, "summary changed alone", open[0], full)
}

func ids(summaries []rotator.Summary, err error) string {
	if err != nil {
		return err.Error()
	}
	all := make([]string, len(summaries))
	for i := range summaries {
		all[i] = summaries[i].ID
	}
	return strings.Join(all, " ")
}

func testRecords(t *testing.T, s Subject) {
	j := s.Journal
	_, err := j.Token(t.Context(), "crm")
	wantNotFound(t, "Token that was never seen", err)
	if all, err := j.Tokens(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("Tokens of a new journal = %v, %v; want none", all, err)
	}
	if err := j.SetDue(t.Context(), map[string]time.Time{"crm": day0()}); err != nil {
		t.Fatalf("SetDue = %v", err)
	}
	_, err = j.Token(t.Context(), "crm")
	wantNotFound(t, "Token with a due date only", err)

	record := rotator.TokenRecord{
		Name: "crm", FirstSeen: day0().UTC(), Failures: 2, NotBefore: day0().Add(time.Hour).UTC(), Leaked: true,
		Current: rotator.Credential{ID: "7", Name: "rotatord/crm/01A", Fingerprint: "0123456789abcdef", IssuedAt: day0().UTC(), Scopes: []string{}},
		Last:    &rotator.Summary{ID: "01A", Token: "crm", Status: rotator.Done, OpenedAt: day0().UTC(), ClosedAt: day0().Add(time.Hour).UTC()},
	}
	mustAppend(t, j, rotator.Append{Token: "crm", Entries: []rotator.Entry{{At: day0(), Kind: rotator.EntrySeen}}, Record: &record})
	got, err := j.Token(t.Context(), "crm")
	if err != nil {
		t.Fatalf("Token = %v", err)
	}
	wantSame(t, "record", got, record)
	if due, err := j.Due(t.Context(), day0()); err != nil || len(due) != 1 {
		t.Errorf("Due after a record = %v, %v; want the date to stay", due, err)
	}
	bare := rotator.TokenRecord{Name: "erp"}
	mustAppend(t, j, rotator.Append{Token: "erp", Record: &bare})
	record.Leaked, record.Last, record.Current.Scopes = false, nil, nil
	mustAppend(t, j, rotator.Append{Token: "crm", Head: 1, Record: &record})
	all, err := j.Tokens(t.Context())
	if err != nil {
		t.Fatalf("Tokens = %v", err)
	}
	wantSame(t, "records", all, map[string]rotator.TokenRecord{"crm": record, "erp": bare})
}

func testDue(t *testing.T, s Subject) {
	j := s.Journal
	now := day0()
	set := func(due map[string]time.Time) {
		t.Helper()
		if err := j.SetDue(t.Context(), due); err != nil {
			t.Fatalf("SetDue = %v", err)
		}
	}
	want := func(what, tokens string) {
		t.Helper()
		due, err := j.Due(t.Context(), now)
		if got := strings.Join(due, " "); err != nil || got != tokens {
			t.Errorf("Due %s = %s, %v; want %s", what, got, err, tokens)
		}
	}
	next := func(what string, after, date time.Time) {
		t.Helper()
		if got, err := j.NextDue(t.Context(), after); err != nil || !got.Equal(date) {
			t.Errorf("NextDue %s = %v, %v; want %v", what, got, err, date)
		}
	}
	want("of a new journal", "")
	next("of a new journal", now, time.Time{})
	set(nil)
	far := time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
	set(map[string]time.Time{
		"later": now.Add(1), "now": now, "hour": now.Add(-time.Hour), "year": now.AddDate(-1, 0, 0),
		"never": {}, "far": far, "ancient": time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC),
	})
	want("at first", "ancient year hour now")
	next("after now", now, now.Add(1))
	next("after an hour ago", now.Add(-time.Hour), now)
	next("before an hour ago", now.Add(-time.Hour-1), now.Add(-time.Hour))
	set(map[string]time.Time{"year": {}, "later": now.Add(-2 * time.Hour), "ancient": far})
	want("after a change", "later hour now")
	head := mustAppend(t, j, opening("hour", "01A"))
	want("with an open rotation", "later now")
	mustAppend(t, j, closing("hour", "01A", head))
	want("after it closed", "later hour now")
	again := s.Reopen()
	due, err := again.Due(t.Context(), now)
	if got := strings.Join(due, " "); err != nil || got != "later hour now" {
		t.Errorf("Due after reopening = %s, %v; want later hour now", got, err)
	}
}

func testManyDue(t *testing.T, s Subject) {
	const tokens = 2501 // no multiple of a round number
	due := make(map[string]time.Time, tokens)
	for n := range tokens {
		due[name("token", n)] = day0().Add(time.Duration(n) * time.Second)
	}
	for range 2 {
		if err := s.Journal.SetDue(t.Context(), due); err != nil {
			t.Fatalf("SetDue = %v", err)
		}
	}
	found, err := s.Journal.Due(t.Context(), day0().Add(2000*time.Second))
	if err != nil || len(found) != 2001 || found[0] != "token-000" || found[2000] != "token-2000" {
		t.Errorf("Due = %d tokens, %v; want 2001 from token-000 to token-2000", len(found), err)
	}
}

func testSeal(t *testing.T, s Subject) {
	values := []string{"", "v", "line\n", `"quotes" 'and' \`, "ключ 鍵 é\x00\xff", strings.Repeat("k", 4096)}
	heads := map[string]int64{}
	for n, value := range values {
		a := opening(name("token", n), name("rotation", n))
		a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotOld: rotator.NewSecret("old of " + value), rotator.SlotNew: rotator.NewSecret(value)}
		heads[a.Rotation] = mustAppend(t, s.Journal, a)
	}
	check := func(what string, j rotator.Journal) {
		t.Helper()
		for n, value := range values {
			rotation := name("rotation", n)
			got, err := j.Unseal(t.Context(), rotation, rotator.SlotNew)
			old, errOld := j.Unseal(t.Context(), rotation, rotator.SlotOld)
			if err != nil || got.IsZero() || got.Reveal() != value || errOld != nil || old.Reveal() != "old of "+value {
				t.Errorf("Unseal %s of value %d = %q %v, %q %v; want %q and its old one", what, n, got.Reveal(), err, old.Reveal(), errOld, value)
			}
		}
	}
	check("at first", s.Journal)
	_, err := s.Journal.Unseal(t.Context(), "rotation-001", "other")
	wantNotFound(t, "Unseal of another slot", err)
	_, err = s.Journal.Unseal(t.Context(), "nobody", rotator.SlotNew)
	wantNotFound(t, "Unseal of another rotation", err)
	again := s.Reopen()
	check("after reopening", again)

	// A second value replaces the first.
	values[0] = "changed"
	a := step("token-000", "rotation-000", heads["rotation-000"])
	a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret("changed"), rotator.SlotOld: rotator.NewSecret("old of changed")}
	mustAppend(t, again, a)
	check("after a change", again)
}

func testSealKey(t *testing.T, s Subject) {
	const value = "very-secret-value-0001"
	a := opening("crm", "01A")
	a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret(value)}
	mustAppend(t, s.Journal, a)
	if bytes.Contains(s.AtRest(), []byte(value)) {
		t.Error("a sealed value is stored as it is")
	}
	other := s.OtherKey()
	if got, err := other.Unseal(t.Context(), "01A", rotator.SlotNew); err == nil || errors.Is(err, rotator.ErrNotFound) || !strings.Contains(err.Error(), "key") {
		t.Errorf("Unseal with another key = %q, %v; want an error that names the key", got.Reveal(), err)
	}
	b := opening("erp", "01B")
	b.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret(value)}
	mustAppend(t, other, b)
	if got, err := other.Unseal(t.Context(), "01B", rotator.SlotNew); err != nil || got.Reveal() != value {
		t.Errorf("Unseal of what the other key sealed = %v", err)
	}
	again := s.Reopen()
	if got, err := again.Unseal(t.Context(), "01A", rotator.SlotNew); err != nil || got.Reveal() != value {
		t.Errorf("Unseal with the right key again = %v", err)
	}
	if _, err := again.Unseal(t.Context(), "01B", rotator.SlotNew); err == nil || errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Unseal of what the other key sealed = %v; want an error that is not ErrNotFound", err)
	}
}

func testWipe(t *testing.T, s Subject) {
	j := s.Journal
	a := opening("crm", "01A")
	a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret("v")}
	head := mustAppend(t, j, a)
	b := opening("erp", "01B")
	b.Seal = a.Seal
	mustAppend(t, j, b)
	end := closing("crm", "01A", head)
	end.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotOld: rotator.NewSecret("sealed and wiped in one")}
	mustAppend(t, j, end)
	for _, j := range []rotator.Journal{j, s.Reopen()} {
		for _, slot := range []rotator.Slot{rotator.SlotOld, rotator.SlotNew} {
			_, err := j.Unseal(t.Context(), "01A", slot)
			wantNotFound(t, "Unseal of a wiped value", err)
		}
		if value, err := j.Unseal(t.Context(), "01B", rotator.SlotNew); err != nil || value.Reveal() != "v" {
			t.Errorf("Unseal of another's value = %v", err)
		}
	}
}

// testWipeAtRest seals many values of several sizes, and wipes them in an order
// that makes a database move rows about.
func testWipeAtRest(t *testing.T, s Subject) {
	const rotations = 60
	heads := make([]int64, rotations)
	values := make([]string, rotations)
	for n := range rotations {
		values[n] = fmt.Sprintf("secret-%03d-%s", n, strings.Repeat("x", n*37%900))
		a := opening(name("token", n), name("rotation", n))
		a.Seal = map[rotator.Slot]rotator.Secret{rotator.SlotNew: rotator.NewSecret(values[n])}
		heads[n] = mustAppend(t, s.Journal, a)
	}
	ciphertexts := s.Ciphertexts()
	if len(ciphertexts) != rotations {
		t.Fatalf("%d ciphertexts; want %d", len(ciphertexts), rotations)
	}
	for i := range rotations {
		n := i * 7 % rotations
		mustAppend(t, s.Journal, closing(name("token", n), name("rotation", n), heads[n]))
	}
	stored := func() (found []int) {
		atRest := s.AtRest()
		for n, c := range ciphertexts {
			// The nonce at the front is enough to find a copy, and so is its end.
			for _, part := range [][]byte{c[:24], c[len(c)-24:], []byte(values[n][:10])} {
				if bytes.Contains(atRest, part) {
					found = append(found, n)
					break
				}
			}
		}
		return found
	}
	// A journal may clean up after many wipes at once, soon after them.
	found := stored()
	for tick, end := time.Tick(20*time.Millisecond), time.After(30*time.Second); len(found) > 0; found = stored() {
		select {
		case <-tick:
			continue
		case <-end:
		}
		t.Errorf("values or ciphertexts %v are still stored long after the wipe", found)
		break
	}
	if left := s.Ciphertexts(); len(left) != 0 {
		t.Errorf("%d ciphertexts are left; want none", len(left))
	}
}

// testNoValue hands over a credential with its value where only the record is meant.
func testNoValue(t *testing.T, s Subject) {
	const value = "very-secret-value-0002"
	credential := rotator.Credential{ID: "7", Value: rotator.NewSecret(value)}
	a := opening("crm", "01A")
	a.Entries[0].Credential = &credential
	a.Record = &rotator.TokenRecord{Name: "crm", Current: credential}
	written, err := s.Journal.Append(t.Context(), a)
	if err != nil {
		t.Fatalf("Append = %v", err)
	}
	want := &rotator.Credential{ID: "7", Fingerprint: rotator.FingerprintOf(value)}
	wantSame(t, "credential that Append returned", written[0].Credential, want)
	wantSame(t, "credential that Entries returned", mustEntries(t, s.Journal, "01A")[0].Credential, want)
	record, err := s.Journal.Token(t.Context(), "crm")
	if err != nil || !record.Current.Value.IsZero() {
		t.Errorf("Token = %v with a value: %v; want none", err, !record.Current.Value.IsZero())
	}
	if s.AtRest != nil && bytes.Contains(s.AtRest(), []byte(value)) {
		t.Error("a credential's value is stored as it is")
	}
}
