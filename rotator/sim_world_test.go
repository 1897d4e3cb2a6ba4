package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

// A simWorld is everything outside the engine, with a fault at any call. It
// notes every broken promise it sees; it never calls a testing.T.
type simWorld struct {
	spec simSpec
	disk *memory.Journal // the newest opening
	ids  ids
	logs logs

	mu        sync.Mutex
	made      []*simCredential
	stores    []*simStore
	consumers []*simConsumer
	calls     map[string]int
	tried     map[string]bool // credentials that were to be revoked, by ID
	calm      bool            // no more faults
	gone      bool            // the token is not in the configuration
	wasGone   bool
	last      bool // the rotation without any trouble runs
	appends   int
	seq       int64         // of the newest entry
	written   time.Time     // when it was
	folded    int           // the appends that newest has seen
	newest    rotator.State // of the newest rotation
	events    []rotator.Event
	broken    []string
	hungUntil time.Time // last time that a call hung or failed on the way to a leak's revoke
	tells     []string  // what happened, for people who read a failure
	process   *simProcess
	zombies   []*simProcess // that were frozen while they owned the journal
	crashed   chan struct{}
	frozen    chan struct{}
	jumps     []simJump
}

// A simJump is a moment when the clock was set back: what was written up to an
// entry is by that much further in the future.
type simJump struct {
	seq  int64
	by   time.Duration
	lost time.Duration // how much of the time since that entry nobody can know of
}

type simCredential struct {
	id, name, value string
	live            bool
	excused         bool      // a leak ended it without waiting: refusals are expected
	killed          bool      // not by the engine
	born            time.Time // when it appeared at the service
}

type simStore struct {
	storeSpec
	name    string
	value   *string
	version int
	foreign bool // the last write was somebody else's
}

type simConsumer struct {
	consumerSpec
	name    string
	store   *simStore
	value   string
	foreign bool // it loaded what somebody else wrote, or was restarted by hand
	stuck   bool // does not reload
	missed  bool // did not reload when told
}

// A simProcess is one life of rotatord: dead means that nothing it does has an effect.
type simProcess struct {
	*rotator.Engine
	w       *simWorld
	journal *memory.Journal
	dead    bool // guarded by w.mu
	frozen  time.Time
	thaw    chan struct{} // of a process that stood still and was replaced: closed when it wakes up
}

var errFault = errors.New("connection reset")

func newSimWorld(spec simSpec) *simWorld {
	w := &simWorld{spec: spec, disk: memory.New(), calls: map[string]int{}, tried: map[string]bool{}, crashed: make(chan struct{}, 1), frozen: make(chan struct{}, 1)}
	first := w.create("made by hand")
	w.create("made by hand for somebody else")
	for i, s := range spec.Stores {
		store := &simStore{storeSpec: s, name: fmt.Sprintf("store%d", i), version: 1}
		if !s.Missing {
			store.value = &first.value
		}
		w.stores = append(w.stores, store)
	}
	for i, c := range spec.Consumers {
		c.Store %= len(w.stores)
		w.consumers = append(w.consumers, &simConsumer{consumerSpec: c, name: fmt.Sprintf("worker%d", i), store: w.stores[c.Store]})
	}
	for _, c := range w.consumers {
		c.load(false)
	}
	return w
}

func (w *simWorld) create(name string) *simCredential {
	n := len(w.made) + 1
	c := &simCredential{id: fmt.Sprintf("cred-%d", n), name: name, value: fmt.Sprintf("canary-%d-yranac", n), live: true, born: time.Now()}
	w.made = append(w.made, c)
	return c
}

func (w *simWorld) find(match func(*simCredential) bool) *simCredential {
	if i := slices.IndexFunc(w.made, match); i >= 0 {
		return w.made[i]
	}
	return nil
}

func (w *simWorld) byValue(value string) *simCredential {
	return w.find(func(c *simCredential) bool { return c.value == value })
}

func (w *simWorld) byID(id string) *simCredential {
	return w.find(func(c *simCredential) bool { return c.id == id })
}

func (w *simWorld) note(format string, args ...any) {
	w.tells = append(w.tells, time.Now().Format("02 15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *simWorld) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
	w.note("BROKEN "+format, args...)
}

func (c *simConsumer) load(byHand bool) {
	c.missed = c.stuck
	if c.stuck || c.store.value == nil {
		return
	}
	c.value, c.foreign = *c.store.value, byHand || c.store.foreign
}

// work: no consumer that reloads when told is ever refused (P1).
func (w *simWorld) work() {
	for _, c := range w.consumers {
		made := w.byValue(c.value)
		if made == nil || made.live || made.excused || made.killed || c.foreign || c.missed || w.spec.Deployers == 0 && c.Probe != probeFingerprint {
			continue
		}
		w.breaks("P1: %s is refused with %s", c.name, made.id)
		made.excused = true // once is enough
	}
}

// call is what every plug-in does first: is there a fault at this call?
func (p *simProcess) call(ctx context.Context, point string, effect func()) error {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return errFault
	}
	if p.thaw != nil {
		return p.asZombie(ctx, point, effect)
	}
	w.calls[point]++
	kind := faultNone
	for _, f := range w.spec.Faults {
		if n := w.calls[point]; !w.calm && f.Point == point && n >= f.N && n < f.N+f.Times {
			kind = f.Kind
		}
	}
	if kind != faultNone {
		w.note("%s %d: %s", point, w.calls[point], kind)
	}
	switch kind {
	case faultNone:
	case faultError:
		return errFault
	case faultPermanent:
		return rotator.Permanent(errors.New("refused"))
	case faultUnsent:
		return rotator.Unsent(errors.New("connection refused"))
	case faultBusy:
		return rotator.RetryAfter(rotator.Unsent(errors.New("answered 429")), time.Now().Add(time.Hour))
	case faultHang, faultSilent:
		if kind == faultSilent {
			effect()
		}
		w.mu.Unlock()
		<-ctx.Done()
		w.mu.Lock()
		w.hungUntil = time.Now()
		return ctx.Err()
	case faultLost:
		effect()
		return errFault
	case faultLate:
		time.AfterFunc(3*time.Second, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			effect()
		})
		return errFault
	case faultTwice: // a proxy on the way asked again
		if point == "issue" && w.spec.Issuer != issuerLists && w.spec.Issuer != issuerScopes {
			break // nobody could ever see the other one
		}
		effect()
	case faultPanic:
		panic("canary")
	case faultForgets: // of a store that can be read: nobody could see it elsewhere
		if strings.HasSuffix(point, ".put") && !w.storeOf(point).WriteOnly {
			return nil
		}
	case faultCrashBefore:
		return p.crash()
	case faultCrashAfter:
		effect()
		return p.crash()
	case faultFreeze:
		p.freeze()
		return p.asZombie(ctx, point, effect)
	case faultFreezeAfter:
		effect()
		p.freeze()
		p.wait()
		return ctx.Err()
	case faultSpeak: // a plug-in that breaks its promise about errors
		return fmt.Errorf("answered 500 to %s", w.values())
	}
	effect()
	return nil
}

func (w *simWorld) storeOf(point string) *simStore {
	return w.stores[slices.IndexFunc(w.stores, func(s *simStore) bool { return strings.HasPrefix(point, s.name+".") })]
}

func (w *simWorld) values() string {
	var all []string
	for _, s := range w.stores {
		if s.value != nil {
			all = append(all, "a value")
		}
	}
	return strings.Join(all, " ")
}

// freeze lets the process stand still as SIGSTOP or a hung host does, and
// another one take over the journal. w.mu is held.
func (p *simProcess) freeze() {
	w := p.w
	if p.dead || p.thaw != nil {
		return
	}
	p.thaw, p.frozen = make(chan struct{}), time.Now()
	pauses := []time.Duration{2 * time.Second, 40 * time.Second, 10 * time.Minute}
	pause := pauses[len(w.zombies)%len(pauses)]
	w.note("FROZEN for %s", pause)
	time.AfterFunc(pause, func() { close(p.thaw) })
	w.disk = w.disk.Reopen()
	w.zombies = append(w.zombies, p)
	select {
	case w.frozen <- struct{}{}:
	default: // it is known
	}
}

// wait lasts until a frozen process wakes up. w.mu is held, but for that time.
func (p *simProcess) wait() {
	p.w.mu.Unlock()
	<-p.thaw
	p.w.mu.Lock()
}

// asZombie is a call of a process that was replaced. One that was about to be
// made is made when it wakes up, if the time for it has not passed; no other one
// may have an effect. w.mu is held.
func (p *simProcess) asZombie(ctx context.Context, point string, effect func()) error {
	acts := point == "issue" || point == "revoke" || strings.HasSuffix(point, ".put") || point == "deploy0" || point == "deploy1"
	p.wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if late := time.Since(p.frozen); acts && late > rotator.DefaultActTimeout {
		p.w.breaks("P3: a process calls %s %s after it was replaced", point, late)
	}
	p.w.note("ZOMBIE %s", point)
	effect()
	return nil
}

// crash ends the process: from here on nothing that it does is seen. w.mu is held.
func (p *simProcess) crash() error {
	if !p.dead {
		p.dead = true
		p.w.note("CRASH")
		p.w.disk = p.w.disk.Reopen()
		select {
		case p.w.crashed <- struct{}{}:
		default: // it is known
		}
	}
	return errFault
}

// Append implements rotator.Journal with faults and crashes.
func (p *simProcess) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return nil, errFault
	}
	if p.thaw != nil {
		return nil, p.appendAsZombie(ctx, a)
	}
	w.appends++
	kind := faultNone
	if !w.calm {
		kind = w.spec.Journal[w.appends]
	}
	switch kind {
	case faultError:
		return nil, errFault
	case faultCrashBefore:
		return nil, p.crash()
	case faultFreeze:
		p.freeze()
		return nil, p.appendAsZombie(ctx, a)
	default:
	}
	written, err := p.journal.Append(ctx, a)
	for _, e := range written {
		w.seq, w.written = max(w.seq, e.Seq), time.Now()
		w.note("%d %s %s/%s %s %s %s %s", e.Seq, e.Kind, e.Course, e.Step, e.Target, e.Trigger, e.Status, e.Err)
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, "yranac") {
			w.breaks("P6: a value is in entry %d: %s", e.Seq, text)
		}
	}
	switch kind {
	case faultLost:
		w.note("journal: answer lost")
		return nil, errFault
	case faultCrashAfter:
		return nil, p.crash()
	case faultFreezeAfter: // it goes on to its next call
		p.freeze()
	default:
	}
	return written, err
}

// appendAsZombie: what a process that was replaced writes is refused. It does
// not wait: the engine holds locks, on which time in a bubble stands still. w.mu is held.
func (p *simProcess) appendAsZombie(ctx context.Context, a rotator.Append) error {
	_, err := p.journal.Append(ctx, a)
	if err == nil {
		p.w.breaks("P3: a process that was replaced wrote to the journal")
	}
	return err
}

type simJournal struct {
	*memory.Journal
	p *simProcess
}

// Entries are as a clock that was set back sees them.
func (j simJournal) Entries(ctx context.Context, rotation string) ([]rotator.Entry, error) {
	entries, err := j.Journal.Entries(ctx, rotation)
	j.p.w.mu.Lock()
	defer j.p.w.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		for _, jump := range j.p.w.jumps {
			if e.Seq > jump.seq {
				continue
			}
			e.At = e.At.Add(jump.by)
			if !e.RetryAt.IsZero() {
				e.RetryAt = e.RetryAt.Add(jump.by)
			}
		}
	}
	return entries, err
}

func (j simJournal) Append(ctx context.Context, a rotator.Append) ([]rotator.Entry, error) {
	return j.p.Append(ctx, a)
}

// watchful is a dispatcher that notices a rotation that never rests.
type watchful struct {
	*dispatch.Dispatcher
	w  *simWorld
	at time.Time
	n  int
}

func (d *watchful) Start(advance func(context.Context, string) time.Time) {
	d.Dispatcher.Start(func(ctx context.Context, id string) time.Time {
		d.w.mu.Lock()
		if !d.at.Equal(time.Now()) {
			d.at, d.n = time.Now(), 0
		}
		d.n++
		busy := d.n == 100
		if busy {
			d.w.breaks("busy loop: %d calls at once for %s", d.n, id)
		}
		d.w.mu.Unlock()
		if busy {
			time.Sleep(time.Minute)
		}
		return advance(ctx, id)
	})
}

// boot starts a new process on the journal.
func (w *simWorld) boot() error {
	w.mu.Lock()
	p := &simProcess{w: w, journal: w.disk}
	if w.process != nil && w.spec.ClockBack > 0 && len(w.jumps) < 3 {
		w.note("CLOCK back by %s", w.spec.ClockBack)
		w.jumps = append(w.jumps, simJump{w.seq, w.spec.ClockBack, min(w.spec.ClockBack, time.Since(w.written))})
	}
	w.process = p
	w.note("START")
	w.mu.Unlock()
	p.Engine = rotator.NewEngine(rotator.Options{
		Journal: simJournal{p.journal, p}, Dispatcher: &watchful{Dispatcher: dispatch.New(), w: w},
		Tokens: w.tokens(p), NewID: w.ids.next, MaxConcurrent: 1,
		Logger: slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return p.Start(context.Background(), true)
}

func (w *simWorld) tokens(p *simProcess) []rotator.Token {
	if w.gone {
		return nil
	}
	s := w.spec
	t := rotator.Token{
		Name: tokenName, IssuerName: "service", Issuer: p.issuer(),
		Rollout: rotator.DefaultRollout(), Policies: rotator.DefaultPolicies(),
		Notifiers: []rotator.NotifyTarget{{Name: "people", Notifier: simNotifier{p}}},
	}
	leak := t.Policies[rotator.Leak]
	leak.Course, leak.OnUnhealthy = s.LeakCourse, s.LeakUnhealthy
	t.Policies[rotator.Leak] = leak
	for _, r := range []rotator.Reason{rotator.Scheduled, rotator.Manual, rotator.Expiry, rotator.Offboarding} {
		policy := t.Policies[r]
		policy.OnUnhealthy = s.Unhealthy
		t.Policies[r] = policy
	}
	if s.Hint {
		t.Current = rotator.CurrentHint{ID: "cred-1"}
	}
	for i, store := range w.stores {
		t.Stores = append(t.Stores, rotator.StoreTarget{Name: store.name, Key: "crm", Store: simStorePlug{p, w.stores[i]}})
	}
	for i := range s.Deployers {
		d := simDeployer{p, i}
		t.Deployers = append(t.Deployers, rotator.DeployTarget{Name: fmt.Sprintf("deploy%d", i), Deployer: d})
		if s.Asker {
			t.Deployers[i].Deployer = simAsker{d}
		}
	}
	for i, c := range w.consumers {
		if c.Probe != probeNone {
			t.Probes = append(t.Probes, rotator.ProbeTarget{Name: c.name, Probe: simProbe{p, w.consumers[i]}})
		}
	}
	return []rotator.Token{t}
}
