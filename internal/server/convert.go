package server

import (
	"time"

	"github.com/rotatord/rotatord/rotator"
)

func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}

func credentialOf(c rotator.Credential) Credential {
	return Credential{
		ID: c.ID, Name: c.Name, Fingerprint: c.Record().Fingerprint, Scopes: c.Scopes,
		IssuedAt: stamp(c.IssuedAt), ExpiresAt: stamp(c.ExpiresAt), LastUsedAt: stamp(c.LastUsedAt),
	}
}

func knownCredential(c rotator.Credential) *Credential {
	if !c.Known() {
		return nil
	}
	known := credentialOf(c)
	return &known
}

// TokenOf translates what the engine says of a token.
func TokenOf(t rotator.TokenStatus) Token {
	token := Token{
		Name: t.Name, Issuer: t.Issuer, Current: knownCredential(t.Current),
		Failures: t.Failures, Paused: t.Paused, Blind: []string{},
	}
	for _, ref := range t.Blind {
		token.Blind = append(token.Blind, ref.String())
	}
	if !t.Due.At.IsZero() {
		token.Due = &Due{At: t.Due.At.UTC(), Reason: t.Due.Reason, Rule: t.Due.Rule}
	}
	if t.Last != nil {
		last := SummaryOf(*t.Last)
		token.Last = &last
	}
	if t.Open != nil {
		open := RotationOf(*t.Open)
		token.Open = &open
	}
	return token
}

// SummaryOf translates the journal's row of a rotation.
func SummaryOf(s rotator.Summary) Rotation {
	r := Rotation{
		ID: s.ID, Token: s.Token, Reason: s.Reason, Status: s.Status, Course: s.Course, Step: s.Step,
		OpenedAt: stamp(s.OpenedAt), ClosedAt: stamp(s.ClosedAt), WakeAt: stamp(s.WakeAt),
		Old: s.Old, New: s.New, Detail: s.Detail, Done: []rotator.Step{}, Awaited: []Awaited{},
	}
	if s.Dead > 0 {
		seconds := s.Dead.Seconds()
		r.DeadSeconds = &seconds
	}
	return r
}

// RotationOf translates what the engine says of a rotation.
func RotationOf(s rotator.RotationStatus) Rotation {
	r := SummaryOf(s.Summary)
	r.StartedAt, r.DeadlineAt = stamp(s.StartedAt), stamp(s.DeadlineAt)
	r.Done = append(r.Done, s.Done...)
	r.Awaited = awaitedOf(s.Awaited)
	r.Attempt, r.LastError = s.Attempt, s.LastErr
	r.Settled, r.FollowUp = s.Settled, s.FollowUp
	if s.Hold != nil {
		r.Hold = &Hold{Kind: s.Hold.Kind, Text: s.Hold.Text, Awaited: awaitedOf(s.Hold.Awaited)}
	}
	return r
}

func awaitedOf(list []rotator.Awaited) []Awaited {
	awaited := make([]Awaited, 0, len(list))
	for _, a := range list {
		awaited = append(awaited, Awaited(a))
	}
	return awaited
}

func planOf(p rotator.Plan) Plan {
	plan := Plan{
		Token: p.Token, Reason: p.Reason, Current: knownCredential(p.Current),
		Policy: Policy{
			Start: p.Policy.Start, Course: p.Policy.Course,
			OnDeadline: p.Policy.OnDeadline, OnUnhealthy: p.Policy.OnUnhealthy,
			Deadline: lengthOf(p.Policy.Deadline), Reminder: lengthOf(p.Policy.Reminder),
		},
		Lines:    make([]PlanLine, 0, len(p.Lines)),
		Unknowns: append([]string{}, p.Unknowns...),
	}
	for _, line := range p.Lines {
		plan.Lines = append(plan.Lines, PlanLine(line))
	}
	return plan
}

func lengthOf(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return rotator.Duration(d).String()
}
