package rotator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Adopt takes the credential that the token's stores hold as its current one.
// Its ID is the one given, or the only one that the issuer lists.
func (e *Engine) Adopt(ctx context.Context, req Adoption) (Credential, error) {
	t, err := e.token(req.Token)
	if err != nil {
		return Credential{}, err
	}
	if open, err := e.openRotation(ctx, req.Token); err != nil || open != "" {
		if err == nil {
			err = fmt.Errorf("rotation %s is open: %w", open, ErrConflict)
		}
		return Credential{}, fmt.Errorf("adopt token %q: %w", req.Token, err)
	}
	a := act{engine: e, run: &run{secrets: map[Slot]Secret{}}, token: t}
	record, err := e.record(ctx, req.Token)
	if err != nil {
		return Credential{}, err
	}
	adopted, err := a.adopted(ctx, req, record.Current)
	if err != nil {
		return Credential{}, fmt.Errorf("adopt token %q: %w", req.Token, err)
	}
	now := time.Now()
	record.Name, record.Current, record.Failures, record.NotBefore = t.Name, adopted, 0, time.Time{}
	if record.FirstSeen.IsZero() {
		record.FirstSeen = now
	}
	entry := Entry{At: now, Kind: EntryAdopted, Token: t.Name, Credential: &adopted, By: req.By}
	if err := e.appendToToken(ctx, t.Name, entry, &record); err != nil {
		return Credential{}, fmt.Errorf("adopt token %q: %w", req.Token, err)
	}
	return adopted, e.Journal.SetDue(ctx, map[string]time.Time{t.Name: dueTime(t.Schedule, record)})
}

// adopted finds the credential in the stores, checks that it is live, and finds its ID.
func (a act) adopted(ctx context.Context, req Adoption, current Credential) (Credential, error) {
	var value Secret
	for _, t := range a.token.Stores {
		version, _, err := a.read(ctx, t)
		switch {
		case err != nil:
			return Credential{}, fmt.Errorf("store %s: get %q: %w", t.Name, t.Key, err)
		case version.Value.IsZero():
		case value.IsZero():
			value = version.Value
			a.run.secrets[SlotOld] = value
		case value.Fingerprint() != version.Value.Fingerprint():
			return Credential{}, fmt.Errorf("the stores disagree: %s holds %s, another one %s; make them agree first",
				t.Ref(), version.Value.Fingerprint(), value.Fingerprint())
		}
	}
	if value.IsZero() {
		return Credential{}, errors.New("no store holds a value; there is nothing to adopt")
	}
	verdict, err := a.checkCredential(ctx, value, a.engine.ActTimeout)
	switch {
	case verdict == Dead:
		return Credential{}, fmt.Errorf("the service refuses the value in the stores (fingerprint %s)", value.Fingerprint())
	case err != nil:
		return Credential{}, fmt.Errorf("check the value: %s", a.clean("", err))
	}
	found, err := a.findCredential(ctx, a.knownCredential(req.ID, value.Fingerprint(), current))
	if err != nil {
		return Credential{}, err
	}
	found.Fingerprint = value.Fingerprint()
	if !req.IssuedAt.IsZero() {
		found.IssuedAt = req.IssuedAt
	}
	return found.Record(), nil
}

// knownCredential is what can be said of a value before the issuer is asked: the
// ID that a person gives, else the journal's, if it is the journal's credential.
// The configuration's hint is for a token whose credential the journal does not
// know yet: it must not name another value than the one that it was written for.
func (a act) knownCredential(id string, value Fingerprint, current Credential) Credential {
	switch {
	case id != "":
		return Credential{ID: id}
	case current.Fingerprint == value:
		return current
	case current.Fingerprint == "":
		return Credential{ID: a.token.Current.ID, IssuedAt: a.token.Current.IssuedAt}
	}
	return Credential{}
}

func (a act) findCredential(ctx context.Context, known Credential) (Credential, error) {
	id := known.ID
	listed, err := a.list(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return known, nil // the issuer can't tell
	case err != nil:
		return Credential{}, fmt.Errorf("list credentials: %w", err)
	case id == "" && len(listed) == 1:
		return listed[0], nil
	case id == "":
		return Credential{}, fmt.Errorf("the issuer lists %d credentials; say which it is with --id (see `rotatord sweep %s`)", len(listed), a.token.Name)
	}
	for _, c := range listed {
		if c.ID == id {
			return c, nil
		}
	}
	return Credential{}, fmt.Errorf("the issuer lists no credential with ID %q: %w", id, ErrNotFound)
}

// appendToToken adds an entry to the stream of a token as a whole.
func (e *Engine) appendToToken(ctx context.Context, token string, entry Entry, record *TokenRecord) error {
	head, err := e.Journal.TokenHead(ctx, token)
	if err != nil {
		return err
	}
	crashAppend([]Entry{entry}, "before")
	_, err = e.Journal.Append(ctx, Append{Token: token, Head: head, Entries: []Entry{entry}, Record: record})
	crashAppend([]Entry{entry}, "after")
	return err
}

// Sweep lists the credentials at the issuer that nobody owns; with apply it
// revokes those that carry the token's marker.
func (e *Engine) Sweep(ctx context.Context, token, by string, apply bool) ([]Orphan, error) {
	t, err := e.token(token)
	if err != nil {
		return nil, err
	}
	a := act{engine: e, run: &run{secrets: map[Slot]Secret{}}, token: t}
	listed, err := a.list(ctx) // before asking who owns what: a rotation that opens later makes none of these
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("sweep token %q: issuer %s can't list credentials; look in its dashboard for names that begin with %q", token, t.IssuerName, MarkerPrefix(token))
	}
	if err != nil {
		return nil, fmt.Errorf("sweep token %q: issuer %s: list credentials: %w", token, t.IssuerName, err)
	}
	owned, err := e.owned(ctx, token)
	if err != nil {
		return nil, err
	}
	if apply && owned[""] {
		return nil, fmt.Errorf("sweep token %q: the ID of its current credential is not known; take it over with `rotatord adopt %s` first", token, token)
	}
	var orphans []Orphan
	for _, c := range listed {
		if owned[c.ID] {
			continue
		}
		o := Orphan{Credential: c.Record(), Ours: strings.HasPrefix(c.Name, MarkerPrefix(token))}
		if apply && o.Ours {
			if err := a.endOrphan(ctx, c, by); err != nil {
				o.Err = a.clean("", err)
			} else {
				o.Ended = true
			}
		}
		orphans = append(orphans, o)
	}
	return orphans, nil
}

// owned returns the IDs of the credentials that the journal knows to be in use:
// the current one, and those of an open rotation. A token whose open rotation
// may have made one that is not written down yet can't be swept.
func (e *Engine) owned(ctx context.Context, token string) (map[string]bool, error) {
	record, err := e.record(ctx, token)
	if err != nil {
		return nil, err
	}
	owned := map[string]bool{record.Current.ID: true}
	open, err := e.openRotation(ctx, token)
	if err != nil {
		return nil, err
	}
	if open != "" {
		return nil, fmt.Errorf("sweep token %q: rotation %s is open; let it end first", token, open)
	}
	return owned, nil
}

func (a act) endOrphan(ctx context.Context, c Credential, by string) error {
	record := c.Record()
	// The intent goes to disk before the call, here too.
	intent := Entry{At: time.Now(), Kind: EntryRevoked, Token: a.token.Name, Credential: &record, By: by, Why: "sweep: about to revoke"}
	if err := a.engine.appendToToken(ctx, a.token.Name, intent, nil); err != nil {
		return err
	}
	err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) error {
		return a.token.Issuer.Revoke(ctx, a.revokeRequest(c))
	})
	outcome := Entry{At: time.Now(), Kind: EntryRevoked, Token: a.token.Name, Credential: &record, By: by, Why: "sweep: revoked"}
	if err != nil {
		outcome.Err, outcome.Why = a.clean("", err), "sweep: not revoked"
	}
	return errors.Join(err, a.engine.appendToToken(ctx, a.token.Name, outcome, nil))
}
