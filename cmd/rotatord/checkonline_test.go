package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/rotator"
)

// shelf is a store that holds one value under every key, or fails.
type shelf struct {
	value string // empty: none
	err   error
}

func (s shelf) Get(context.Context, string) (rotator.Version, error) {
	switch {
	case s.err != nil:
		return rotator.Version{}, s.err
	case s.value == "":
		return rotator.Version{}, rotator.ErrNotFound
	}
	return rotator.Version{Value: rotator.NewSecret(s.value)}, nil
}

func (s shelf) Put(context.Context, string, rotator.Write) (rotator.Version, error) {
	panic("a check wrote")
}

func (s shelf) CheckWrite(context.Context, string) error { return s.err }

// drawer is a store that can only be written.
type drawer struct{}

func (drawer) Get(context.Context, string) (rotator.Version, error) {
	return rotator.Version{ID: "7"}, errors.ErrUnsupported
}

func (drawer) Put(context.Context, string, rotator.Write) (rotator.Version, error) {
	panic("a check wrote")
}

// clerk is an issuer that gives one verdict.
type clerk struct{ verdict rotator.Verdict }

func (clerk) Issue(context.Context, rotator.IssueRequest) (rotator.Credential, error) {
	panic("a check issued")
}

func (clerk) Revoke(context.Context, rotator.RevokeRequest) error { panic("a check revoked") }

func (c clerk) Check(context.Context, rotator.CheckRequest) (rotator.Verdict, error) {
	return c.verdict, nil
}

func (clerk) Ping(context.Context) error { return errors.New("log in: refused") }

func TestCheckOnline(t *testing.T) {
	const value = "the-credential"
	down := shelf{err: errors.New("permission denied")}
	token := func(name string, verdict rotator.Verdict, stores ...shelf) rotator.Token {
		made := rotator.Token{Name: name, IssuerName: "clerk", Issuer: clerk{verdict}}
		for i, s := range stores {
			made.Stores = append(made.Stores, rotator.StoreTarget{Name: "shelf", Key: string(rune('a' + i)), Store: s})
		}
		return made
	}
	results := checkOnline(t.Context(), &config.Built{
		Issuers: map[string]rotator.Issuer{"clerk": clerk{}},
		Stores:  map[string]rotator.Store{"shelf": shelf{}},
		Tokens: []rotator.Token{
			token("agree", rotator.Live, shelf{value: value}, shelf{value: value}),
			token("differ", rotator.Live, shelf{value: value}, shelf{value: "another"}, shelf{}),
			token("dead", rotator.Dead, shelf{value: value}),
			token("down", rotator.Live, down),
			token("new", rotator.Live, shelf{}),
			{Name: "blind", Stores: []rotator.StoreTarget{{Name: "drawer", Key: "a", Store: drawer{}}}},
		},
	})
	var lines []string
	for _, r := range results {
		lines = append(lines, strings.TrimSpace(strings.Join([]string{r.What, r.Name, r.Result, r.Detail}, " | ")))
	}
	print1, print2 := string(rotator.FingerprintOf(value)), string(rotator.FingerprintOf("another"))
	want := []string{
		"issuer | clerk | failed | log in: refused",
		"store | shelf | skipped | can't be checked without writing",
		"place | agree shelf a | ok | holds " + print1 + ", writable", "place | agree shelf b | ok | holds " + print1 + ", writable",
		"token | agree | ok | stores agree on " + print1 + ", live",
		"place | differ shelf a | ok | holds " + print1 + ", writable", "place | differ shelf b | ok | holds " + print2 + ", writable",
		"place | differ shelf c | ok | holds nothing, writable",
		"token | differ | failed | stores don't agree: shelf c has nothing, shelf a has " + print1 + ", shelf b has " + print2,
		"place | dead shelf a | ok | holds " + print1 + ", writable",
		"token | dead | failed | stores agree on " + print1 + "; issuer clerk says dead: it can't be used",
		"place | down shelf a | failed | read: permission denied; write: permission denied",
		"token | down | failed | 1 of 1 stores can't be read: nobody can tell whether they agree",
		"place | new shelf a | ok | holds nothing, writable",
		"token | new | ok | no value yet: the first rotation issues one",
		"place | blind drawer a | ok | can only be written, version 7, whether it can be written can't be told without writing",
		"token | blind | skipped | can't be checked without writing",
	}
	if print2 < print1 {
		want[7] = "token | differ | failed | stores don't agree: shelf c has nothing, shelf b has " + print2 + ", shelf a has " + print1
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("checkOnline, -want +got:\n%s", diff)
	}
}
