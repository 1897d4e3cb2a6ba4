package rotator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInOrder(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds ...int) []Entry {
		entries := make([]Entry, len(seconds))
		for i, s := range seconds {
			entries[i].At = start.Add(time.Duration(s) * time.Second)
		}
		return entries
	}
	for name, c := range map[string]struct {
		entries, want []Entry
		now           int
	}{
		"in order":                      {at(1, 2, 5), at(1, 2, 5), 7},
		"set back after the last one":   {at(1, 2, 5), at(-3, -2, 1), 1},
		"set back between two":          {at(1, 2, 100, 7), at(-92, -91, 7, 7), 9},
		"set back twice":                {at(100, 50, 60, 10), at(0, 0, 10, 10), 20},
		"set back before the first one": {at(100), at(0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			inOrder(c.entries, start.Add(time.Duration(c.now)*time.Second))
			if diff := cmp.Diff(c.want, c.entries); diff != "" {
				t.Errorf("inOrder (-want +got):\n%s", diff)
			}
		})
	}
	retry := at(100)
	retry[0].RetryAt = start.Add(130 * time.Second)
	inOrder(retry, start)
	if got := retry[0].RetryAt.Sub(start); got != 30*time.Second {
		t.Errorf("RetryAt is in %s; want the same 30s as before the clock was set back", got)
	}
}
