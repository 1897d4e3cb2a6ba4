package rotator

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Duration is a time.Duration of the configuration: what time.ParseDuration
// reads ("90s", "1h30m"), and besides whole days and weeks ("365d", "2w").
type Duration time.Duration

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String prints whole days as days, everything else as time.Duration does.
func (d Duration) String() string {
	std := time.Duration(d)
	if std != 0 && std%day == 0 {
		return strconv.FormatInt(int64(std/day), 10) + "d"
	}
	return std.String()
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. A negative duration is an error.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(text, "d"):
		unit = day
	case strings.HasSuffix(text, "w"):
		unit = 7 * day
	}
	var parsed time.Duration
	if unit != 0 {
		count, err := strconv.ParseInt(text[:len(text)-1], 10, 32)
		if err != nil || count > math.MaxInt64/int64(unit) {
			return 0, fmt.Errorf("not a duration; use one like 90s, 30m, 12h, 14d or 2w")
		}
		parsed = time.Duration(count) * unit
	} else {
		var err error
		if parsed, err = time.ParseDuration(text); err != nil {
			return 0, fmt.Errorf("not a duration; use one like 90s, 30m, 12h, 14d or 2w")
		}
	}
	if parsed < 0 {
		return 0, fmt.Errorf("a duration can't be negative")
	}
	return parsed, nil
}
