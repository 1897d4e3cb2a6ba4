package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// otherIDs lists credentials under other IDs than those that issue answered; the
// service takes both.
type otherIDs struct{ issuer }

func (i otherIDs) List(ctx context.Context, r rotator.ListRequest) ([]rotator.Credential, error) {
	all, err := i.issuer.List(ctx, r)
	for n := range all {
		all[n].ID = "tokens/" + all[n].ID
	}
	return all, err
}

func (i otherIDs) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	r.Credential.ID = strings.TrimPrefix(r.Credential.ID, "tokens/")
	return i.issuer.Revoke(ctx, r)
}

// P1, P4: a list that names the new credential otherwise does not end it.
func TestListWithOtherIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = otherIDs{issuer{plainIssuer{w}}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldInDoubt {
			t.Fatalf("status = %s, hold %+v; want held, for nobody can tell which one to keep\n%s", status.Status, status.Hold, d.logs)
		}
		d.decide(id, rotator.Approve)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// lossy loses the answer of one write.
type lossy struct {
	numbered
	n  *int
	at int
}

func (s lossy) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	v, err := s.memStore.Put(ctx, key, w)
	if *s.n++; *s.n == s.at {
		return rotator.Version{}, errors.New("connection reset")
	}
	return v, err
}

// Our own write to a store that can't be read is not taken for somebody else's.
func TestLostAnswerOfAStoreThatCantBeRead(t *testing.T) {
	for at := range 2 { // the write, the put-back
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.sickOn = "canary-value-1"
			token := w.token()
			n := 0
			token.Stores[1].Store = lossy{numbered{w.stores[1]}, &n, at + 1}
			d := w.start(newJournal(), token, false, &ids{})
			defer d.Stop()
			w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.RolledBack)
		})
	}
}

// outage is a list that does not answer for a time.
type outage struct {
	issuer
	until time.Time
}

func (i outage) List(ctx context.Context, r rotator.ListRequest) ([]rotator.Credential, error) {
	if time.Now().Before(i.until) {
		return nil, errors.New("answered 503")
	}
	return i.issuer.List(ctx, r)
}

// A list that is down for half an hour before the end needs no person.
func TestListIsDownBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = outage{issuer{plainIssuer{w}}, time.Now().Add(30 * time.Minute)}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Done)
	})
}

// P7: a leak of the new value is followed up although the list is broken.
func TestLeakWhileCredentialsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = outage{issuer{plainIssuer{w}}, time.Now().Add(48 * time.Hour)}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		if status := d.wait(d.rotate(rotator.Manual)); status.Status != rotator.Held {
			t.Fatalf("status = %s; want held: nobody can list", status.Status)
		}
		d.rotate(rotator.Leak)
		time.Sleep(20 * time.Minute)
		if w.isLive(1) {
			t.Errorf("P7: the leaked credential is live 20 minutes after the report\n%s", d.logs)
		}
	})
}

// resume after a conflict looks at the store again.
func TestResumeAfterAConflict(t *testing.T) {
	for _, right := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			token := w.token()
			token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
				w.stores[1].set("foreign")
				return nil
			}}
			d := w.start(newJournal(), token, false, &ids{})
			defer d.Stop()
			id := d.rotate(rotator.Manual)
			if status := d.wait(id); status.Hold == nil || status.Hold.Kind != rotator.HoldConflict {
				t.Fatalf("status = %s, hold %+v; want held as conflict", status.Status, status.Hold)
			}
			if right {
				w.stores[1].set("canary-value-1")
			}
			d.decide(id, rotator.Resume)
			time.Sleep(time.Minute)
			status := d.wait(id)
			if right {
				w.check(d, status, rotator.Done)
			} else if status.Hold == nil || status.Hold.Kind != rotator.HoldConflict || w.stores[1].value != "foreign" {
				t.Errorf("status = %s, hold %+v, the store holds %q; want held as conflict again", status.Status, status.Hold, w.stores[1].value)
			}
		})
	}
}

// lateBlind is a store that can't be read and has nothing yet.
type lateBlind struct{ numbered }

func (s lateBlind) Get(ctx context.Context, key string) (rotator.Version, error) {
	s.world.mu.Lock()
	empty := s.value == ""
	s.world.mu.Unlock()
	if empty {
		return rotator.Version{}, errors.ErrUnsupported
	}
	return s.numbered.Get(ctx, key)
}

// What somebody else made in a store that can't be read is not written over unseen.
func TestKeyIsMadeMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		w.stores[1].value = ""
		blind := lateBlind{numbered{w.stores[1]}}
		token.Stores[1].Store = blind
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
			blind.overwrite()
			return nil
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		if status := d.wait(d.rotate(rotator.Manual)); status.Hold == nil || status.Hold.Kind != rotator.HoldConflict {
			t.Errorf("status = %s, hold %+v; want held as conflict\n%s", status.Status, status.Hold, d.logs)
		}
	})
}

// A log-in that is kept in another store and is not there is no missing key.
func TestMissingLogInIsNoMissingKey(t *testing.T) {
	for _, missing := range []error{rotator.ErrNotFound, errors.ErrUnsupported} {
		source := rotator.SecretSource{Store: "vault", Key: "gitlab#token"}
		source.Bind(func(context.Context, string, string) (rotator.Secret, error) {
			return rotator.Secret{}, fmt.Errorf("read: %w", missing)
		})
		if _, err := source.Get(t.Context()); err == nil || errors.Is(err, missing) || !strings.Contains(err.Error(), "store vault") {
			t.Errorf("Get = %v; want an error that is not %v", err, missing)
		}
	}
}

// lagging is a store with a replica that needs a minute after a write.
type lagging struct {
	*memStore
	until time.Time
}

func (s *lagging) Get(ctx context.Context, key string) (rotator.Version, error) {
	if time.Now().Before(s.until) {
		return rotator.Version{}, rotator.RetryAfter(rotator.Unsent(errors.New("not in sync yet")), time.Now().Add(30*time.Second))
	}
	return s.memStore.Get(ctx, key)
}

func (s *lagging) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	before := s.version
	v, err := s.memStore.Put(ctx, key, w)
	if s.version != before {
		s.until = time.Now().Add(time.Minute)
	}
	return v, err
}

// A store whose replica lags is waited for, and our own write is no conflict.
func TestReplicaLagsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Stores[0].Store = &lagging{memStore: w.stores[0]}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Done)
	})
}

// putsBack is a store without a guard: somebody writes in the same instant, our
// value is current for a moment, and theirs is put back.
type putsBack struct {
	*memStore
	once bool
}

func (s *putsBack) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	if s.once {
		return s.memStore.Put(ctx, key, w)
	}
	s.once = true
	s.world.mu.Lock()
	s.value, s.version = w.Value.Reveal(), s.version+1
	s.world.consumers[0].value = s.value // it started in that instant
	s.world.mu.Unlock()
	s.set("somebody's")
	return rotator.Version{}, fmt.Errorf("put: %w", rotator.ErrConflict)
}

// P1: a conflict after our value was current for a moment has had an effect: the
// new credential is not ended under a consumer that read it then.
func TestConflictAfterOurValueWasCurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Stores[0].Store = &putsBack{memStore: w.stores[0]}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		if status := d.wait(id); status.Hold == nil || status.Hold.Kind != rotator.HoldConflict {
			t.Fatalf("status = %s, hold %+v; want held as conflict", status.Status, status.Hold)
		}
		d.decide(id, rotator.Abort)
		d.wait(id)
		if w.work(); w.refused > 0 {
			t.Errorf("P1: the new credential was ended under a consumer that lives on it\n%s", d.logs)
		}
	})
}

// retry, when the issuer could not be asked for strays, asks again: the old
// credential is dead, and nobody looks for evidence to revoke it.
func TestRetryCountsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = outage{issuer{plainIssuer{w}}, time.Now().Add(3 * time.Hour)}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		if status := d.wait(id); status.Hold == nil || status.Hold.Kind != rotator.HoldInDoubt {
			t.Fatalf("status = %s, hold %+v; want held as in_doubt", status.Status, status.Hold)
		}
		time.Sleep(3 * time.Hour)
		revokes := len(w.revokeCalls)
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
		if len(w.revokeCalls) != revokes {
			t.Errorf("retry revoked again: %q", w.revokeCalls)
		}
	})
}
