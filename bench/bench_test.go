package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSameCalls holds the comparison fair: rotatord makes the very calls of the
// bare loop, no fewer and no more.
func TestSameCalls(t *testing.T) {
	const rotations = 3
	calls := map[string]map[string]int{}
	for name, run := range map[string]func(s *Service) error{
		"bare": func(s *Service) error {
			for _, token := range s.Tokens(rotations) {
				if err := s.bareRotation(t.Context(), token); err != nil {
					return err
				}
			}
			return nil
		},
		"rotatord": func(s *Service) error {
			_, err := rotate(t.Context(), Params{Dir: t.TempDir(), Rotations: rotations, Concurrent: 2}, s)
			return err
		},
	} {
		s := NewService(0, rotations)
		if err := run(s); err != nil {
			t.Fatalf("%s = %v", name, err)
		}
		calls[name] = s.Calls()
	}
	if diff := cmp.Diff(calls["bare"], calls["rotatord"]); diff != "" {
		t.Errorf("calls (-bare +rotatord):\n%s", diff)
	}
}

// TestAWS holds that every token is written to the stand-in, and none is throttled.
func TestAWS(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "") // and set back at the end
	}
	s, err := AWS(t.Context(), Params{Dir: t.TempDir(), Rotations: 10, Concurrent: 5})
	if err != nil || s.Count != 10 || s.Times["throttled"] != 0 || s.Times["floor"] != 0.4 {
		t.Errorf("AWS = %+v, %v; want 10 rotations, of which the quota takes 0.4 s, and no throttled write", s, err)
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, test := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0}, {hundred[:1], 0.99, 1}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred[:10], 0.99, 10},
	} {
		if got := quantile(test.sorted, test.q); got != test.want {
			t.Errorf("quantile of %d, %v = %d; want %d", len(test.sorted), test.q, got, test.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		numbers []float64
		want    float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2}} {
		if got := Median(test.numbers); got != test.want {
			t.Errorf("Median(%v) = %v; want %v", test.numbers, got, test.want)
		}
	}
}
