package rotator

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"time"
)

// backOff doubles a pause n times, up to a limit. n below 0 counts as 0.
func backOff(base time.Duration, n int, limit time.Duration) time.Duration {
	if base <= 0 {
		return 0
	}
	grown := float64(base) * math.Pow(2, float64(max(n, 0)))
	return time.Duration(min(grown, float64(limit)))
}

// jitter takes up to a tenth off a pause, the same for the same input, so that
// rotations of one minute do not look in step.
func jitter(id string, n int, pause time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s/%d", id, n)
	return pause - time.Duration(h.Sum32()%100)*(pause/1000)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func names(awaited []Awaited) string {
	list := make([]string, len(awaited))
	for i, a := range awaited {
		list[i] = orElse(a.Target, a.Probe)
	}
	return strings.Join(list, ", ")
}
