package awssecretsmanagerstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rotatord/rotatord/rotator"
)

// PutSecretValue, UpdateSecret and UpdateSecretVersionStage have one quota
// together: 50 requests a second in a region of an account, not adjustable
// (Secrets Manager user guide, "Quotas"). A Put makes two of them.
const (
	writesPerSecond = 50
	writesOfPut     = 2
	putsPerSecond   = writesPerSecond / writesOfPut
	putsAtOnce      = 5
)

// A budget is the quota of a region, in Puts. The limiter spreads them over the
// second. The slots hold the quota whatever the network does to that: each one
// is free again a second after its last answer, so the writes that AWS sees
// within any one second all have a slot at its end.
type budget struct {
	pace  *rate.Limiter
	slots chan struct{}
}

// budgets is package-level on purpose: the quota is one for all stores and
// tokens of the process, however many entries of the configuration lead to the
// region. Stores that reach the region in several accounts share it too, which
// is slower than need be and never too fast.
var budgets = struct {
	sync.Mutex
	of map[string]*budget // by region and endpoint
}{of: map[string]*budget{}}

func budgetOf(region, endpoint string) *budget {
	budgets.Lock()
	defer budgets.Unlock()
	place := region + " " + endpoint
	if budgets.of[place] == nil {
		budgets.of[place] = &budget{pace: rate.NewLimiter(putsPerSecond, putsAtOnce), slots: make(chan struct{}, putsPerSecond)}
	}
	return budgets.of[place]
}

// spend waits until the two writes of a Put may be made, and returns what is to
// be called after the answer to the last. A wait that would be longer than the
// call may take is refused at once.
func (b *budget) spend(ctx context.Context, secret string) (done func(), err error) {
	err = b.pace.Wait(ctx)
	if err == nil {
		select {
		case b.slots <- struct{}{}:
			return b.free, nil
		case <-ctx.Done():
		}
	}
	err = errors.New("the region's quota of 50 writes a second is used up; too many are waiting")
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, rotator.Unsent(fmt.Errorf("write %q: %w", secret, err))
}

// spare is spend for a write that can be left out: not ok means that the quota is in use.
func (b *budget) spare() (done func(), ok bool) {
	if !b.pace.Allow() {
		return nil, false
	}
	select {
	case b.slots <- struct{}{}:
		return b.free, true
	default:
		return nil, false
	}
}

func (b *budget) free() { time.AfterFunc(time.Second, func() { <-b.slots }) }
