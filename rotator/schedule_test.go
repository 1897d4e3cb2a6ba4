package rotator_test

import (
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

func TestDueOf(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	yearly, err := rotator.ParseCron("0 10 1 3 *", "Europe/Madrid")
	if err != nil {
		t.Fatal(err)
	}
	issued := rotator.TokenRecord{Current: rotator.Credential{IssuedAt: at("2026-01-01T00:00:00Z")}}
	expiring := issued
	expiring.Current.ExpiresAt = at("2026-02-01T00:00:00Z")
	failed := issued
	failed.NotBefore = at("2026-03-05T00:00:00Z")
	leaked := issued
	leaked.Leaked, leaked.FirstSeen = true, at("2025-01-01T00:00:00Z")
	tests := []struct {
		name     string
		schedule rotator.Schedule
		record   rotator.TokenRecord
		want     rotator.Due
	}{
		{"nothing", rotator.Schedule{}, issued, rotator.Due{}},
		{"never seen", rotator.Schedule{Cron: yearly}, rotator.TokenRecord{}, rotator.Due{}},
		{"cron in its zone", rotator.Schedule{Cron: yearly}, issued, rotator.Due{At: at("2026-03-01T09:00:00Z"), Reason: rotator.Scheduled, Rule: "cron"}},
		{"max_age earlier", rotator.Schedule{Cron: yearly, MaxAge: 240 * time.Hour}, issued, rotator.Due{At: at("2026-01-11T00:00:00Z"), Reason: rotator.Scheduled, Rule: "max_age"}},
		{"expiry pulls it forward", rotator.Schedule{Cron: yearly, BeforeExpiry: 48 * time.Hour}, expiring, rotator.Due{At: at("2026-01-30T00:00:00Z"), Reason: rotator.Expiry, Rule: "expiry"}},
		{"half the life of a short-lived one", rotator.Schedule{BeforeExpiry: 60 * 24 * time.Hour}, expiring, rotator.Due{At: at("2026-01-16T12:00:00Z"), Reason: rotator.Expiry, Rule: "expiry"}},
		{"after a failure", rotator.Schedule{Cron: yearly}, failed, rotator.Due{At: at("2026-03-05T00:00:00Z"), Reason: rotator.Scheduled, Rule: "cron"}},
		{"a leak comes first", rotator.Schedule{Cron: yearly}, leaked, rotator.Due{At: at("2025-01-01T00:00:00Z"), Reason: rotator.Leak, Rule: "leak"}},
		{"age from first sight", rotator.Schedule{MaxAge: 24 * time.Hour}, rotator.TokenRecord{FirstSeen: at("2026-01-01T00:00:00Z")}, rotator.Due{At: at("2026-01-02T00:00:00Z"), Reason: rotator.Scheduled, Rule: "max_age"}},
	}
	for _, test := range tests {
		got := rotator.DueOf(test.schedule, test.record)
		if !got.At.Equal(test.want.At) || got.Reason != test.want.Reason || got.Rule != test.want.Rule {
			t.Errorf("%s: DueOf = %+v; want %+v", test.name, got, test.want)
		}
	}
}

func TestParseCronRefuses(t *testing.T) {
	for _, bad := range [][2]string{{"", ""}, {"* * * *", ""}, {"61 * * * *", ""}, {"0 10 31 2 *", ""}, {"0 10 * * 2", "Mars/Olympus"}, {"@sometimes", ""}} {
		if _, err := rotator.ParseCron(bad[0], bad[1]); err == nil {
			t.Errorf("ParseCron(%q, %q) = nil error", bad[0], bad[1])
		}
	}
	for _, good := range []string{"@yearly", "@every 24h", "*/5 * * * *"} {
		if _, err := rotator.ParseCron(good, "Europe/Madrid"); err != nil {
			t.Errorf("ParseCron(%q) = %v", good, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "365d": 365 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1h30m": 90 * time.Minute, "0d": 0} {
		var d rotator.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("UnmarshalText(%q) = %v, %v; want %v", text, d, err, want)
		}
	}
	for _, bad := range []string{"", "d", "10", "-5m", "1.5d", "99999999999d", "soon"} {
		var d rotator.Duration
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("UnmarshalText(%q) = %v; want an error", bad, d)
		}
	}
}
