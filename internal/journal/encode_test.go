package journal

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/rotator"
)

// fill sets every field to a value of its own, below slices and pointers too.
// Secrets stay empty: they have no place in what is encoded.
func fill(t *testing.T, v reflect.Value, next *int64) {
	t.Helper()
	*next++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(*next, *next).UTC()))
		return
	case rotator.Secret:
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *next))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(*next)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), next)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), next)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field, next)
		}
	default:
		t.Fatalf("there is no way yet to fill a %s: extend the test, and see that it is encoded", v.Type())
	}
}

// full returns a T with every field set.
func full[T any](t *testing.T) T {
	t.Helper()
	var v T
	var next int64
	fill(t, reflect.ValueOf(&v).Elem(), &next)
	return v
}

func noSecret(a, b rotator.Secret) bool { return a.IsZero() && b.IsZero() }

// TestEveryFieldIsEncoded fails when a field is added to the domain and not
// to what is stored.
func TestEveryFieldIsEncoded(t *testing.T) {
	entry := full[rotator.Entry](t)
	r := request{a: rotator.Append{Token: entry.Token, Rotation: entry.Rotation, Entries: []rotator.Entry{entry}}}
	if err := r.encode(); err != nil {
		t.Fatalf("encode() = %v", err)
	}
	r.rows[0].seq, r.rows[0].epoch = entry.Seq, entry.Epoch
	got, err := r.rows[0].entry()
	if err != nil {
		t.Fatalf("entry() = %v", err)
	}
	compare(t, entry, got)

	summary := full[rotator.Summary](t)
	text, err := encodeSummary(summary)
	if err != nil {
		t.Fatal(err)
	}
	gotSummary, err := decodeSummary(text)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, summary, gotSummary)

	record := full[rotator.TokenRecord](t)
	if text, err = encodeRecord(record); err != nil {
		t.Fatal(err)
	}
	gotRecord, err := decodeRecord(text)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, record, gotRecord)
}

func compare[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(noSecret)); diff != "" {
		t.Errorf("%T changed on the way to the disk and back (-want +got):\n%s", want, diff)
	}
}

// TestEmptyIsNotNil keeps apart what the domain keeps apart.
func TestEmptyIsNotNil(t *testing.T) {
	for _, scopes := range [][]string{nil, {}} {
		body, err := encodeEntry(rotator.Entry{Credential: &rotator.Credential{Scopes: scopes}})
		if err != nil {
			t.Fatal(err)
		}
		e, err := decodeEntry(body)
		if err != nil || (e.Credential.Scopes == nil) != (scopes == nil) {
			t.Errorf("scopes %#v came back as %#v, %v", scopes, e.Credential.Scopes, err)
		}
	}
}

// TestStoredForm holds what earlier versions have written: the form may grow,
// but what is there must stay readable.
func TestStoredForm(t *testing.T) {
	const body = `{"course":"replace_first","step":"store","target":"vault a#b","attempt":1,"reason":"leak",` +
		`"policy":{"start":"now","deadline_ns":900000000000,"loud":true},"stores":[{"store":"vault","key":"a#b"}],` +
		`"credential":{"id":"7","fingerprint":"0123456789abcdef","issued_at":"2026-11-23T14:00:00Z","scopes":[]},` +
		`"observations":[{"probe":"http","finding":{"health":"not_yet","target":"w1"}}],` +
		`"hold":{"kind":"deadline","text":"why","awaited":[{"probe":"http","target":"w1"}]},"no_effect":true}`
	e, err := decodeEntry([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	again, err := encodeEntry(e)
	if err != nil || string(again) != body {
		t.Errorf("encodeEntry(decodeEntry(body)) = %s, %v; want\n%s", again, err, body)
	}
	if e.Policy.Deadline != 15*time.Minute || e.Hold.Awaited[0].Target != "w1" || e.Credential.ID != "7" {
		t.Errorf("decodeEntry = %+v", e)
	}
}

func TestBadTimeIsRefused(t *testing.T) {
	r := request{a: rotator.Append{Token: "crm", Entries: []rotator.Entry{{Kind: rotator.EntrySeen, At: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}}}}
	if err := r.encode(); err == nil {
		t.Error("encode() of a time that can't be read back = nil; want an error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("2026-11-23T14:00:00Z", "opened", []byte(`{"policy":{},"credential":{},"hold":{"awaited":[{}]},"observations":[{}],"stores":[{}]}`))
	f.Add("", "", []byte(`{"retry_at":"0000-01-01T00:00:00+23:59","credential":{"issued_at":"9999-12-31T23:59:59-23:59"}}`))
	f.Add("x", "y", []byte(`[{`))
	f.Fuzz(func(t *testing.T, at, kind string, body []byte) {
		r := row{seq: 1, at: at, kind: kind, body: body, prev: []byte("short"), hash: body}
		_ = r.follows(row{})
		_, _ = decodeSummary(body)
		_, _ = decodeRecord(body)
		e, err := r.entry()
		if err != nil {
			return
		}
		// What could be read is the same when it is written and read again,
		// or can't be written.
		again, err := encodeEntry(e)
		if err != nil {
			return
		}
		r.body = again
		second, err := r.entry()
		if err != nil {
			t.Fatalf("entry() of what was encoded = %v: %s", err, again)
		}
		compare(t, e, second)
	})
}

func TestHead(t *testing.T) {
	want := Head{Seq: 17, Hash: strings.Repeat("9f", hashSize)}
	if got, err := ParseHead(want.String() + "\n"); err != nil || got != want {
		t.Errorf("ParseHead(%q) = %v, %v; want the same", want, got, err)
	}
	for _, text := range []string{"", "17", "17:", "x:" + want.Hash, "-1:" + want.Hash, "17:" + want.Hash[2:], "17:" + want.Hash + "00", "17:zz" + want.Hash[2:]} {
		if got, err := ParseHead(text); err == nil {
			t.Errorf("ParseHead(%q) = %v; want an error", text, got)
		}
	}
}
