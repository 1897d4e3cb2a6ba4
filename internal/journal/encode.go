package journal

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// The types of this file are what is on the disk. Their tags must never
// change; a field may be added. Where a domain type is converted as a whole, a
// field added there no longer compiles here. None has room for a value.

type entryBody struct {
	Course       rotator.Course      `json:"course,omitempty"`
	Step         rotator.Step        `json:"step,omitempty"`
	Target       string              `json:"target,omitempty"`
	Attempt      int                 `json:"attempt,omitempty"`
	Trigger      rotator.Trigger     `json:"trigger,omitempty"`
	Reason       rotator.Reason      `json:"reason,omitempty"`
	Policy       *policyBody         `json:"policy,omitempty"`
	Stores       []storeRefBody      `json:"stores,omitzero"`
	Decision     rotator.Decision    `json:"decision,omitempty"`
	Status       rotator.Status      `json:"status,omitempty"`
	By           string              `json:"by,omitempty"`
	Why          string              `json:"why,omitempty"`
	Credential   *credentialBody     `json:"credential,omitempty"`
	Fingerprint  rotator.Fingerprint `json:"fingerprint,omitempty"`
	Version      string              `json:"version,omitempty"`
	Verdict      rotator.Verdict     `json:"verdict,omitempty"`
	Observations []observationBody   `json:"observations,omitzero"`
	Hold         *holdBody           `json:"hold,omitempty"`
	Err          string              `json:"err,omitempty"`
	Final        bool                `json:"final,omitempty"`
	NoEffect     bool                `json:"no_effect,omitempty"`
	RetryAt      time.Time           `json:"retry_at,omitzero"`
}

type policyBody struct {
	Start       rotator.Start       `json:"start,omitempty"`
	Course      rotator.Course      `json:"course,omitempty"`
	OnDeadline  rotator.OnDeadline  `json:"on_deadline,omitempty"`
	OnUnhealthy rotator.OnUnhealthy `json:"on_unhealthy,omitempty"`
	Deadline    time.Duration       `json:"deadline_ns,omitempty"`
	Reminder    time.Duration       `json:"reminder_ns,omitempty"`
	Loud        bool                `json:"loud,omitempty"`
}

type storeRefBody struct {
	Store string `json:"store"`
	Key   string `json:"key"`
}

type credentialBody struct {
	ID          string              `json:"id,omitempty"`
	Name        string              `json:"name,omitempty"`
	Fingerprint rotator.Fingerprint `json:"fingerprint,omitempty"`
	IssuedAt    time.Time           `json:"issued_at,omitzero"`
	ExpiresAt   time.Time           `json:"expires_at,omitzero"`
	LastUsedAt  time.Time           `json:"last_used_at,omitzero"`
	Scopes      []string            `json:"scopes,omitzero"`
}

type observationBody struct {
	Probe   string      `json:"probe,omitempty"`
	Finding findingBody `json:"finding,omitzero"`
	Err     string      `json:"err,omitempty"`
}

type findingBody struct {
	Health rotator.Health      `json:"health,omitempty"`
	Target string              `json:"target,omitempty"`
	Seen   rotator.Fingerprint `json:"seen,omitempty"`
	Detail string              `json:"detail,omitempty"`
}

type holdBody struct {
	Kind    rotator.HoldKind `json:"kind,omitempty"`
	Text    string           `json:"text,omitempty"`
	Awaited []awaitedBody    `json:"awaited,omitzero"`
}

type awaitedBody struct {
	Probe  string `json:"probe,omitempty"`
	Target string `json:"target,omitempty"`
	Detail string `json:"detail,omitempty"`
}

type summaryBody struct {
	ID       string              `json:"id"`
	Token    string              `json:"token"`
	Reason   rotator.Reason      `json:"reason,omitempty"`
	Status   rotator.Status      `json:"status,omitempty"`
	Course   rotator.Course      `json:"course,omitempty"`
	Step     rotator.Step        `json:"step,omitempty"`
	OpenedAt time.Time           `json:"opened_at,omitzero"`
	ClosedAt time.Time           `json:"closed_at,omitzero"`
	WakeAt   time.Time           `json:"wake_at,omitzero"`
	Old      rotator.Fingerprint `json:"old,omitempty"`
	New      rotator.Fingerprint `json:"new,omitempty"`
	Detail   string              `json:"detail,omitempty"`
	Dead     time.Duration       `json:"dead_ns,omitempty"`
}

type recordBody struct {
	Name      string         `json:"name"`
	Current   credentialBody `json:"current,omitzero"`
	FirstSeen time.Time      `json:"first_seen,omitzero"`
	Failures  int            `json:"failures,omitempty"`
	NotBefore time.Time      `json:"not_before,omitzero"`
	Leaked    bool           `json:"leaked,omitempty"`
	Last      *summaryBody   `json:"last,omitempty"`
}

// encodeEntry returns the body of an entry: all but what has its own column.
func encodeEntry(e rotator.Entry) ([]byte, error) {
	b := entryBody{
		Course: e.Course, Step: e.Step, Target: e.Target, Attempt: e.Attempt, Trigger: e.Trigger,
		Reason: e.Reason, Decision: e.Decision, Status: e.Status, By: e.By, Why: e.Why,
		Fingerprint: e.Fingerprint, Version: e.Version, Verdict: e.Verdict,
		Err: e.Err, Final: e.Final, NoEffect: e.NoEffect, RetryAt: e.RetryAt.UTC(),
		Stores:       each(e.Stores, func(s rotator.StoreRef) storeRefBody { return storeRefBody(s) }),
		Observations: each(e.Observations, encodeObservation),
	}
	if e.Policy != nil {
		b.Policy = new(policyBody(*e.Policy))
	}
	if e.Credential != nil {
		b.Credential = new(encodeCredential(*e.Credential))
	}
	if e.Hold != nil {
		b.Hold = &holdBody{
			Kind: e.Hold.Kind, Text: e.Hold.Text,
			Awaited: each(e.Hold.Awaited, func(a rotator.Awaited) awaitedBody { return awaitedBody(a) }),
		}
	}
	return json.Marshal(b)
}

// decodeEntry reads a body back. It never panics, whatever the bytes are.
func decodeEntry(body []byte) (rotator.Entry, error) {
	var b entryBody
	if err := json.Unmarshal(body, &b); err != nil {
		return rotator.Entry{}, err
	}
	e := rotator.Entry{
		Course: b.Course, Step: b.Step, Target: b.Target, Attempt: b.Attempt, Trigger: b.Trigger,
		Reason: b.Reason, Decision: b.Decision, Status: b.Status, By: b.By, Why: b.Why,
		Fingerprint: b.Fingerprint, Version: b.Version, Verdict: b.Verdict,
		Err: b.Err, Final: b.Final, NoEffect: b.NoEffect, RetryAt: b.RetryAt.UTC(),
		Stores:       each(b.Stores, func(s storeRefBody) rotator.StoreRef { return rotator.StoreRef(s) }),
		Observations: each(b.Observations, decodeObservation),
	}
	if b.Policy != nil {
		e.Policy = new(rotator.Policy(*b.Policy))
	}
	if b.Credential != nil {
		e.Credential = new(decodeCredential(*b.Credential))
	}
	if b.Hold != nil {
		e.Hold = &rotator.Hold{
			Kind: b.Hold.Kind, Text: b.Hold.Text,
			Awaited: each(b.Hold.Awaited, func(a awaitedBody) rotator.Awaited { return rotator.Awaited(a) }),
		}
	}
	return e, nil
}

func encodeObservation(o rotator.Observation) observationBody {
	return observationBody{Probe: o.Probe, Finding: findingBody(o.Finding), Err: o.Err}
}

func decodeObservation(b observationBody) rotator.Observation {
	return rotator.Observation{Probe: b.Probe, Finding: rotator.Finding(b.Finding), Err: b.Err}
}

func encodeCredential(c rotator.Credential) credentialBody {
	c = c.Record()
	return credentialBody{
		ID: c.ID, Name: c.Name, Fingerprint: c.Fingerprint, IssuedAt: c.IssuedAt.UTC(),
		ExpiresAt: c.ExpiresAt.UTC(), LastUsedAt: c.LastUsedAt.UTC(), Scopes: c.Scopes,
	}
}

func decodeCredential(b credentialBody) rotator.Credential {
	return rotator.Credential{
		ID: b.ID, Name: b.Name, Fingerprint: b.Fingerprint, IssuedAt: b.IssuedAt.UTC(),
		ExpiresAt: b.ExpiresAt.UTC(), LastUsedAt: b.LastUsedAt.UTC(), Scopes: b.Scopes,
	}
}

func utcSummary(s rotator.Summary) rotator.Summary {
	s.OpenedAt, s.ClosedAt, s.WakeAt = s.OpenedAt.UTC(), s.ClosedAt.UTC(), s.WakeAt.UTC()
	return s
}

func encodeSummary(s rotator.Summary) ([]byte, error) {
	return json.Marshal(summaryBody(utcSummary(s)))
}

func decodeSummary(text []byte) (rotator.Summary, error) {
	var b summaryBody
	if err := json.Unmarshal(text, &b); err != nil {
		return rotator.Summary{}, fmt.Errorf("read summary: %w", err)
	}
	return utcSummary(rotator.Summary(b)), nil
}

func encodeRecord(r rotator.TokenRecord) ([]byte, error) {
	b := recordBody{
		Name: r.Name, Current: encodeCredential(r.Current), FirstSeen: r.FirstSeen.UTC(),
		Failures: r.Failures, NotBefore: r.NotBefore.UTC(), Leaked: r.Leaked,
	}
	if r.Last != nil {
		b.Last = new(summaryBody(utcSummary(*r.Last)))
	}
	return json.Marshal(b)
}

func decodeRecord(text []byte) (rotator.TokenRecord, error) {
	var b recordBody
	if err := json.Unmarshal(text, &b); err != nil {
		return rotator.TokenRecord{}, fmt.Errorf("read token record: %w", err)
	}
	r := rotator.TokenRecord{
		Name: b.Name, Current: decodeCredential(b.Current), FirstSeen: b.FirstSeen.UTC(),
		Failures: b.Failures, NotBefore: b.NotBefore.UTC(), Leaked: b.Leaked,
	}
	if b.Last != nil {
		r.Last = new(utcSummary(rotator.Summary(*b.Last)))
	}
	return r, nil
}

// each converts a slice; nil stays nil, and empty stays empty.
func each[From, To any](from []From, convert func(From) To) []To {
	if from == nil {
		return nil
	}
	to := make([]To, len(from))
	for i := range from {
		to[i] = convert(from[i])
	}
	return to
}
