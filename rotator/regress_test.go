package rotator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
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

// within is a dispatcher that fails a test when a rotation never rests.
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

// P7: a service that asks us to come back in an hour does not move the deadline.
func TestRetryAfterDoesNotMoveTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
			return rotator.RetryAfter(rotator.Unsent(errors.New("answered 429")), time.Now().Add(time.Hour))
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.rotate(rotator.Leak)
		time.Sleep(16 * time.Minute)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live a minute after the deadline\n%s", d.logs)
		}
	})
}

// P7: a call that hangs is cut at the deadline.
func TestHangingCallDoesNotMoveTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		e := rotator.NewEngine(rotator.Options{
			Journal: newJournal(), Dispatcher: dispatch.New(), Tokens: []rotator.Token{token}, NewID: (&ids{}).next, ActTimeout: 20 * time.Minute,
		})
		if err := e.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		if _, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: tokenName, Reason: rotator.Leak}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15*time.Minute + time.Second)
		if w.isLive(0) {
			t.Error("P7: the leaked credential is live a second after the deadline")
		}
	})
}

// A leak whose revoke is refused waits for a person; it does not spin.
func TestHeldRevokePastTheDeadlineRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.failRevoke = rotator.Permanent(errors.New("answered 403"))
		e := rotator.NewEngine(rotator.Options{
			Journal: newJournal(), Dispatcher: &counting{Dispatcher: dispatch.New(), t: t},
			Tokens: []rotator.Token{w.token()}, NewID: (&ids{}).next,
		})
		if err := e.Start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		defer e.Stop()
		if _, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: tokenName, Reason: rotator.Leak}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
	})
}

// P7: an abort that was not carried out yet does not swallow a leak.
func TestLeakGoesBeforeAnAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Issuer = &odd{Issuer: token.Issuer, issue: func(context.Context) error {
			time.Sleep(20 * time.Second) // the act is under way while people decide
			return nil
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(time.Second)
		d.decide(id, rotator.Abort)
		if got := d.rotate(rotator.Leak); got != id {
			t.Fatalf("Rotate(leak) = %s; want %s", got, id)
		}
		time.Sleep(20 * time.Minute)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live\n%s", d.logs)
		}
	})
}

// P7: a leak reported while the way back can't end is not left behind it.
func TestLeakDuringAWayBackThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		token := w.token()
		token.Issuer = issuer{plainIssuer{w}}
		token.Issuer = &odd{Issuer: token.Issuer, revoke: func(r rotator.RevokeRequest) error {
			if r.Credential.ID == "cred-2" {
				return rotator.Permanent(errors.New("answered 403"))
			}
			return nil
		}}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		if status := d.wait(id); status.Status != rotator.Held || status.Course != rotator.RollBack {
			t.Fatalf("status = %s in course %s; want held on the way back", status.Status, status.Course)
		}
		d.rotate(rotator.Leak)
		time.Sleep(17 * time.Minute)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live\n%s", d.logs)
		}
	})
}

// P7: a rotation that becomes a leak follows the leak's policy.
func TestOpenRotationBecomesALeakThatRevokesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.consumers[1].dead = true
		token := w.token()
		policy := token.Policies[rotator.Leak]
		policy.Course = rotator.RevokeFirst
		token.Policies[rotator.Leak] = policy
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.rotate(rotator.Manual)
		time.Sleep(time.Minute)
		d.rotate(rotator.Leak)
		time.Sleep(time.Second)
		if w.isLive(0) {
			t.Errorf("the leaked credential is live, and the policy is to revoke first\n%s", d.logs)
		}
	})
}

// P7: with no ID and stores that do not answer at first, a leak that revokes
// first still finds what to revoke.
func TestRevokeFirstWaitsForTheStoreThatKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, s := range w.stores {
			s.getErr = errors.New("connection refused")
		}
		token := w.token()
		token.Current = rotator.CurrentHint{}
		token.Issuer = &odd{Issuer: token.Issuer, revoke: func(r rotator.RevokeRequest) error {
			if r.Credential.Fingerprint == rotator.FingerprintOf("canary-value-1") {
				w.kill(0) // this service knows credentials by their fingerprint
			}
			return nil
		}}
		policy := token.Policies[rotator.Leak]
		policy.Course = rotator.RevokeFirst
		token.Policies[rotator.Leak] = policy
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		d.rotate(rotator.Leak)
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		for _, s := range w.stores {
			s.getErr = nil
		}
		w.mu.Unlock()
		time.Sleep(30 * time.Second)
		if w.isLive(0) {
			t.Errorf("P7: the leaked credential is live\n%s", d.logs)
		}
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

// P1: a question to a deployer that is refused says nothing about the rollout:
// consumers may have been restarted.
func TestRefusedQuestionAboutARolloutIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Probes = nil
		token.Deployers[0].Deployer = &mute{world: w}
		j, id := memory.New(), &ids{}
		d := w.start(j, token, false, id)
		rotation := d.rotate(rotator.Manual)
		time.Sleep(time.Second)
		d.Stop() // in the middle of the rollout
		d = w.start(j.Reopen(), token, false, id)
		defer d.Stop()
		status := d.wait(rotation)
		w.work()
		w.check(d, status, rotator.RolledBack)
	})
}

// mute is a deployer whose first call does not return, and that refuses every question.
type mute struct {
	*world
	called bool
}

func (m *mute) Deploy(ctx context.Context, r rotator.Release) error {
	err := m.world.Deploy(ctx, r)
	if !m.called {
		m.called = true
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (m *mute) Deployed(context.Context, rotator.Release) (bool, error) {
	return false, rotator.Permanent(errors.New("answered 403"))
}

// P1: nothing goes back to a credential that the service refuses.
func TestNoWayBackToADeadCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		token := w.token()
		token.Rollout.InitialDelay = time.Minute
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(30 * time.Second)
		w.kill(0) // too early, by hand
		status := d.wait(id)
		if status.Status != rotator.Held || status.Course != rotator.ReplaceFirst || w.stores[0].value != "canary-value-2" {
			t.Errorf("status = %s in course %s, store holds %s; want held with the new value\n%s", status.Status, status.Course, w.stores[0].value, d.logs)
		}
		if err := d.Decide(t.Context(), id, rotator.Abort, "ana", ""); err == nil {
			t.Error("Decide(abort) went through")
		}
		w.mu.Lock()
		w.sickOn = ""
		w.mu.Unlock()
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// writeOnly is a store that can't be read.
type writeOnly struct{ *memStore }

func (s writeOnly) Get(context.Context, string) (rotator.Version, error) {
	return rotator.Version{}, errors.ErrUnsupported
}

func (s writeOnly) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	s.world.mu.Lock()
	w.Prev = s.current().ID
	s.world.mu.Unlock()
	return s.memStore.Put(ctx, key, w)
}

// P1: where no store can be read, an unhealthy consumer is no reason to end the
// new credential: the old one can't be put back.
func TestNoWayBackWithoutTheOldValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sickOn = "canary-value-1"
		token := w.token()
		for i := range token.Stores {
			token.Stores[i].Store = writeOnly{w.stores[i]}
		}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldUnhealthy || strings.Contains(status.Hold.Text, "abort") {
			t.Fatalf("status = %s, hold %+v; want held as unhealthy, without an offer to abort\n%s", status.Status, status.Hold, d.logs)
		}
		w.mu.Lock()
		w.sickOn = ""
		w.mu.Unlock()
		d.decide(id, rotator.Resume)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// P4: a person is asked to end what nobody here can know.
func TestUnknownOldCredentialIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Current = rotator.CurrentHint{}
		for i := range token.Stores {
			token.Stores[i].Store = writeOnly{w.stores[i]}
		}
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldUnconfirmed {
			t.Fatalf("status = %s, hold %+v; want held until a person deletes the old one\n%s", status.Status, status.Hold, d.logs)
		}
		w.kill(0)
		d.decide(id, rotator.Approve)
		w.check(d, d.wait(id), rotator.Done)
	})
}

// P3: giving up does not forget what an issuer that can't list may have made.
func TestAbortAfterALostAnswerAsksToLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.blind, w.loseIssue = true, 1
		d, _ := w.run()
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		d.wait(id)
		d.decide(id, rotator.Abort)
		status := d.wait(id)
		if status.Status != rotator.Held || status.Hold.Kind != rotator.HoldInDoubt || !strings.Contains(status.Hold.Text, "approve") {
			t.Fatalf("status = %s, hold %+v; want in doubt until a person looked\n%s", status.Status, status.Hold, d.logs)
		}
		w.kill(1)
		d.decide(id, rotator.Approve)
		w.check(d, d.wait(id), rotator.Aborted)
	})
}

// P3: a person can't put a value back that only rotatord knows: retry does.
func TestRetryWritesTheStoresAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token()
		token.Rollout.InitialDelay = time.Minute
		d := w.start(newJournal(), token, false, &ids{})
		defer d.Stop()
		id := d.rotate(rotator.Manual)
		time.Sleep(30 * time.Second)
		w.stores[0].set("canary-value-1")
		_ = w.Deploy(t.Context(), rotator.Release{}) // and consumers are restarted on it
		if status := d.wait(id); status.Status != rotator.Held {
			t.Fatalf("status = %s; want held", status.Status)
		}
		d.decide(id, rotator.Retry)
		w.check(d, d.wait(id), rotator.Done)
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
		slow.pause = time.Minute
		swept := make(chan error)
		go func() {
			_, err := d.Sweep(t.Context(), tokenName, "ana", true)
			swept <- err
		}()
		time.Sleep(time.Second)
		id := d.rotate(rotator.Manual)
		<-swept
		w.check(d, d.wait(id), rotator.Done)
	})
}

// slowList lists what there is when it answers.
type slowList struct {
	issuer
	pause time.Duration
}

func (s *slowList) List(ctx context.Context, r rotator.ListRequest) ([]rotator.Credential, error) {
	time.Sleep(s.pause)
	return s.issuer.List(ctx, r)
}
