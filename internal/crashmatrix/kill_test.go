package crashmatrix

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/testservers"
)

var (
	roundsFlag = flag.Int("rounds", 0, "kill -9 at random moments, in so many rotations; 0: skip")
	seedFlag   = flag.Uint64("seed", 0, "with -rounds: of the first round, to play it again; 0: by the clock")
)

// TestKill kills rotatord at random moments, up to three times in a row, a
// quarter of them with SIGTERM and the others with SIGKILL, while
// the service and Vault take their time before each effect and after: a call
// may have its effect when its caller is dead.
func TestKill(t *testing.T) {
	if *roundsFlag == 0 {
		t.Skip("slow; see the package's comment, or `make soak`")
	}
	vault := testservers.Vault(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	var mu sync.Mutex
	kills, calls, made := 0, int64(0), 0
	t.Run("rounds", func(t *testing.T) {
		for round := range *roundsFlag {
			seed := seed + uint64(round)
			t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
				t.Parallel()
				killed, f := killRound(t, vault, seed)
				mu.Lock()
				defer mu.Unlock()
				kills, calls, made = kills+killed, calls+f.calls, made+f.made
			})
		}
	})
	t.Logf("%d rounds from -seed %d: %d kills, %d credentials made, %d calls of workers", *roundsFlag, seed, kills, made, calls)
	if kills < *roundsFlag/2 {
		t.Errorf("only %d kills hit in %d rounds: the moments are badly chosen", kills, *roundsFlag)
	}
}

// killRound is one rotation of a random scenario with up to three kills.
func killRound(t *testing.T, vault *testservers.VaultServer, seed uint64) (kills int, f found) {
	random := rand.New(rand.NewPCG(seed, 1))
	all := scenarios()
	s := all[random.IntN(len(all))]
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(seed, 2))
	pause := func() time.Duration {
		if chance.IntN(25) == 0 {
			return time.Duration(chance.Int64N(int64(time.Second)))
		}
		return time.Duration(chance.Int64N(int64(50 * time.Millisecond)))
	}
	w := newWorld(t, vault, s, func() (before, after time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		return pause(), pause()
	})
	for range 1 + random.IntN(3) {
		o := playOptions{signal: syscall.SIGKILL}
		if random.IntN(4) == 0 {
			o.signal = syscall.SIGTERM
		}
		o.after = 20*time.Millisecond + time.Duration(random.Int64N(int64(2500*time.Millisecond)))
		if !w.play(t, o) {
			break
		}
		kills++
		w.lookAfterKill(&f)
	}
	if kills > 0 && w.play(t, playOptions{}) {
		t.Error("killed without being told to")
	}
	w.look(t, &f)
	for _, problem := range f.problems {
		t.Errorf("%s, %d kills: %s", s.name, kills, problem)
	}
	return kills, f
}
