package rotator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

// odd bends one call of the plug-ins of a world; nil fields leave it alone.
type odd struct {
	rotator.Issuer
	issue  func(context.Context) error // an error keeps the call from being made
	revoke func(rotator.RevokeRequest) error
}

func (o *odd) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	if o.issue != nil {
		if err := o.issue(ctx); err != nil {
			return rotator.Credential{}, err
		}
	}
	return o.Issuer.Issue(ctx, r)
}

func (o *odd) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	if o.revoke != nil {
		if err := o.revoke(r); err != nil {
			return err
		}
	}
	return o.Issuer.Revoke(ctx, r)
}

// deaf is a journal that loses the answers to chosen appends.
type deaf struct {
	*memory.Journal
	mu   sync.Mutex
	lose func(rotator.Append) bool
}

func (d *deaf) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	written, err := d.Journal.Append(ctx, a)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.lose != nil && d.lose(a) {
		d.lose = nil
		return nil, errors.New("connection reset")
	}
	return written, err
}

func (d *deaf) loseNext(kind rotator.EntryKind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose = func(a rotator.Append) bool { return a.Entries[len(a.Entries)-1].Kind == kind }
}

// counting is a dispatcher that fails a test when a rotation never rests.
type counting struct {
	*dispatch.Dispatcher
	t  *testing.T
	mu sync.Mutex
	at time.Time
	n  int
}

func (c *counting) Start(advance func(context.Context, string) time.Time) {
	c.Dispatcher.Start(func(ctx context.Context, id string) time.Time {
		c.mu.Lock()
		if !c.at.Equal(time.Now()) {
			c.at, c.n = time.Now(), 0
		}
		c.n++
		if n := c.n; n > 50 {
			if n == 51 {
				c.t.Error("busy loop: 50 calls at once")
			}
			time.Sleep(time.Hour)
		}
		c.mu.Unlock()
		return advance(ctx, id)
	})
}

// P3: what the journal wrote while its answer was lost is taken up all the same.
func TestLostAnswerOfTheJournal(t *testing.T) {
	for _, kind := range []rotator.EntryKind{rotator.EntryOpened, rotator.EntryDecided, rotator.EntryEscalated, rotator.EntryClosed} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.consumers[1].dead = kind != rotator.EntryOpened && kind != rotator.EntryClosed
				j := &deaf{Journal: memory.New()}
				d := w.start(j, w.token(), false, &ids{})
				defer d.Stop()
				j.loseNext(kind)
				id, err := d.Rotate(t.Context(), rotator.RotateRequest{Token: tokenName, Reason: rotator.Manual})
				if err != nil {
					t.Fatalf("Rotate = %v; want nil: the rotation is open", err)
				}
				switch kind {
				case rotator.EntryDecided:
					d.wait(id)
					w.revive(1)
					d.decide(id, rotator.Retry)
				case rotator.EntryEscalated:
					d.wait(id)
					d.rotate(rotator.Leak)
					w.revive(1)
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				status, err := d.Wait(ctx, id, nil)
				if err != nil || kind != rotator.EntryEscalated && status.Status != rotator.Done {
					t.Errorf("Wait = %s, %v; want done\n%s", status.Status, err, d.logs)
				}
			})
		})
	}
}

// A rotation that ends while it is queued takes no place with it.
func TestQueuedRotationThatEndsLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		var tokens []rotator.Token
		for _, name := range []string{"a", "b", "c"} {
			token := w.token()
			token.Name, token.Deployers, token.Probes = name, nil, token.Probes[1:2]
			tokens = append(tokens, token)
		}
		tokens[2].Probes = nil
		e := rotator.NewEngine(rotator.Options{Journal: newJournal(), Dispatcher: dispatch.New(), Tokens: tokens, NewID: (&ids{}).next, MaxConcurrent: 1})
		if err := e.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		open := func(token string) string {
			id, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: token, Reason: rotator.Manual})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			return id
		}
		a, b := open("a"), open("b")
		if err := e.Decide(t.Context(), b, rotator.Abort, "ana", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := e.Decide(t.Context(), a, rotator.Abort, "ana", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		c := open("c")
		time.Sleep(time.Hour)
		if status, err := e.Rotation(t.Context(), c); err != nil || status.Status == rotator.Queued {
			t.Errorf("status of the third = %s, %v; it never gets a place", status.Status, err)
		}
	})
}

// A rotation that waits for a person when the process starts takes no place.
func TestWaitingForAPersonTakesNoPlaceAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.manual = true
		first, second := w.token(), w.token()
		first.Name, second.Name = "a", "b"
		j, id := memory.New(), &ids{}
		start := func(j *memory.Journal) *rotator.Engine {
			e := rotator.NewEngine(rotator.Options{
				Journal: j, Dispatcher: dispatch.New(), Tokens: []rotator.Token{first, second}, NewID: id.next, MaxConcurrent: 1,
			})
			if err := e.Start(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := start(j)
		if _, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: "a", Reason: rotator.Manual}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		e.Stop()
		e = start(j.Reopen())
		defer e.Stop()
		time.Sleep(time.Minute)
		b, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: "b", Reason: rotator.Manual})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if status, err := e.Rotation(t.Context(), b); err != nil || status.Status == rotator.Queued {
			t.Errorf("status = %s, %v; want one that is not queued", status.Status, err)
		}
	})
}

// P4: the ID in the configuration is that of the credential before rotatord.
func TestHintIsNotForLaterCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = nameless{issuer{plainIssuer{w}}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.wait(d.rotate(rotator.Manual))
		w.mu.Lock()
		w.credentials[0].live = true // somebody uses it for something else now
		w.mu.Unlock()
		d.wait(d.rotate(rotator.Manual))
		if !w.isLive(0) {
			t.Error("P4: cred-1 was ended; it is not the one that the second rotation replaces")
		}
	})
}

// nameless does not tell the ID of what it made.
type nameless struct{ issuer }

func (n nameless) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	c, err := n.issuer.Issue(ctx, r)
	c.ID = ""
	return c, err
}

// P6: a consumer that reports the value instead of its fingerprint does not get it into the journal.
func TestReportedValueIsNotWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Probes = []rotator.ProbeTarget{{Name: "careless", Probe: careless{w.consumers[0]}}}
		j := memory.New()
		d := w.start(j, token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		entries, err := j.Entries(t.Context(), id)
		if err != nil || status.Status != rotator.Held {
			t.Fatalf("status = %s, %v; want held: the probe can't tell", status.Status, err)
		}
		if slices.ContainsFunc(entries, func(e rotator.Entry) bool {
			return slices.ContainsFunc(e.Observations, func(o rotator.Observation) bool { return strings.Contains(string(o.Finding.Seen), "canary") })
		}) {
			t.Error("P6: the value is in the journal")
		}
	})
}

type careless struct{ c *consumer }

func (p careless) Probe(context.Context, rotator.Release) (rotator.Finding, error) {
	return rotator.Finding{Target: p.c.name, Health: rotator.Healthy, Seen: rotator.Fingerprint(p.c.value)}, nil
}

// A sweep never ends what a rotation made while the sweep was listing.
func TestSweepLeavesANewRotationAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		slow := &slowList{issuer: issuer{plainIssuer{w}}}
		token.Issuer = slow
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Done)
		slow.pause.Store(int64(time.Minute))
		swept := make(chan error)
		go func() {
			_, err := d.Sweep(t.Context(), tokenName, "ana", true)
			swept <- err
		}()
		time.Sleep(time.Second)
		id := d.rotate(rotator.Manual)
		if err := <-swept; err != nil { // the rotation ended before the list came
			t.Errorf("Sweep = %v", err)
		}
		w.check(d, d.wait(id), rotator.Done)
	})
}

// slowList lists what there is when it answers; the next answer is slow.
type slowList struct {
	issuer
	pause atomic.Int64 // a time.Duration
}

func (s *slowList) List(ctx context.Context, r rotator.ListRequest) ([]rotator.Credential, error) {
	time.Sleep(time.Duration(s.pause.Swap(0)))
	return s.issuer.List(ctx, r)
}

// P3, P4: a proxy that delivers the request to issue twice leaves one credential.
func TestIssueDeliveredTwice(t *testing.T) {
	for _, reason := range []rotator.Reason{rotator.Manual, rotator.Leak} {
		t.Run(string(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				token := w.token()
				if reason == rotator.Leak {
					policy := token.Policies[rotator.Leak]
					policy.Course = rotator.RevokeFirst
					token.Policies[rotator.Leak] = policy
				}
				token.Issuer = twice{issuer{plainIssuer{w}}}
				d := w.start(newJournal(), token, false, &ids{})
				defer d.Stop()
				status := d.wait(d.rotate(reason))
				if live := w.live(); status.Status != rotator.Done || len(live) != 1 {
					t.Fatalf("status = %s (%s) with %d live credentials; want done with 1\n%s", status.Status, status.Detail, len(live), d.logs)
				}
			})
		})
	}
}

type twice struct{ issuer }

func (i twice) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	if _, err := i.issuer.Issue(ctx, r); err != nil {
		return rotator.Credential{}, err
	}
	return i.issuer.Issue(ctx, r)
}

// P3: a process that stood still after its intent was written does not make the
// call: whoever took over may have reconciled it meanwhile.
func TestNoCallLongAfterItsIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		slow := &slowJournal{Journal: memory.New()}
		calls := 0
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
			calls++
			if late := time.Since(slow.intent); late >= rotator.DefaultActTimeout {
				t.Errorf("P3: issue is called %s after its intent", late)
			}
			return nil
		}}
		d := w.start(slow, token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(5 * time.Minute) // without asking: time in a bubble stands still while somebody waits for a lock
		w.check(d, d.wait(id), rotator.Done)
		if calls != 1 || !slow.slept {
			t.Errorf("issue was called %d times, the journal slept: %t; want one call after it did", calls, slow.slept)
		}
	})
}

// slowJournal answers the first intent after two minutes: the process stood still.
type slowJournal struct {
	*memory.Journal
	intent time.Time
	slept  bool
}

func (j *slowJournal) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	written, err := j.Journal.Append(ctx, a)
	if last := a.Entries[len(a.Entries)-1]; last.Kind == rotator.EntryIntent {
		j.intent = last.At
		if !j.slept {
			j.slept = true
			time.Sleep(2 * time.Minute)
		}
	}
	return written, err
}

// A write whose answers never come, but which has its effect, is seen by reading.
func TestSilentWriteIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Stores[1].Store = silent{w.stores[1]}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		w.check(d, d.wait(d.rotate(rotator.Manual)), rotator.Done)
	})
}

type silent struct{ *memStore }

func (s silent) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	_, err := s.memStore.Put(ctx, key, w)
	<-ctx.Done()
	return rotator.Version{}, errors.Join(ctx.Err(), err)
}
