package rotator

import (
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule says when a token's rotation is due. The zero Schedule never is.
type Schedule struct {
	Cron         cron.Schedule // nil: none
	MaxAge       time.Duration // hard limit of a credential's age; 0: none
	BeforeExpiry time.Duration // how long before the issuer's expiry date
}

// ParseCron reads a cron expression of five fields, or a descriptor (@yearly),
// in a time zone; an empty zone is UTC.
func ParseCron(expression, zone string) (cron.Schedule, error) {
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("time zone %q is not known; use a name like Europe/Madrid", zone)
	}
	parsed, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fmt.Errorf("cron expression %q: %w", expression, err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return parsed, nil // @every: an interval, no zone
	}
	spec.Location = location
	if spec.Next(time.Unix(0, 0)).IsZero() {
		return nil, errors.New("cron expression names a date that never comes")
	}
	return spec, nil
}

// A Due tells when a rotation is due, and why.
type Due struct {
	At     time.Time // zero: never
	Reason Reason
	Rule   string // cron, max_age, expiry or leak
}

// DueOf computes when a token is due from the journal's record of it, so that
// downtime loses nothing: a date in the past means that a run was missed.
// The age counts from the issue time; where that isn't known, from the first
// time that rotatord saw the token.
func DueOf(s Schedule, r TokenRecord) Due {
	if r.Leaked {
		return Due{At: r.FirstSeen, Reason: Leak, Rule: "leak"}
	}
	since := r.Current.IssuedAt
	if since.IsZero() {
		since = r.FirstSeen
	}
	var due Due
	earlier := func(at time.Time, reason Reason, rule string) {
		if due.At.IsZero() || at.Before(due.At) {
			due = Due{At: at, Reason: reason, Rule: rule}
		}
	}
	if since.IsZero() {
		return due
	}
	if s.Cron != nil {
		if next := s.Cron.Next(since); !next.IsZero() {
			earlier(next.UTC(), Scheduled, "cron")
		}
	}
	if s.MaxAge > 0 {
		earlier(since.Add(s.MaxAge), Scheduled, "max_age")
	}
	if expires := r.Current.ExpiresAt; !expires.IsZero() {
		lead := s.BeforeExpiry
		if lifetime := expires.Sub(since); lead > lifetime/2 {
			lead = lifetime / 2 // else a short-lived credential would be due as soon as it is made
		}
		earlier(expires.Add(-lead), Expiry, "expiry")
	}
	if !due.At.IsZero() && due.At.Before(r.NotBefore) {
		due.At = r.NotBefore
	}
	return due
}

// MaxFailures is the number of scheduled rotations in a row that may fail or be
// rolled back before no more are started; a leak or a person's are always.
const MaxFailures = 3

// notBefore spaces the scheduled rotations of a token that fails: 15 minutes
// after the first failure, then an hour.
func notBefore(failures int, now time.Time) time.Time {
	if failures <= 1 {
		return now.Add(15 * time.Minute)
	}
	return now.Add(time.Hour)
}
