package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/rotator"
)

const tokenName = "crm-sync"

// world is everything outside the engine: a service with credentials, stores,
// consumers that read a store and reload on deploy, and people.
type world struct {
	t *testing.T

	mu          sync.Mutex
	credentials []*credential
	made        int
	refused     int // calls of consumers that were answered 401
	stores      []*memStore
	consumers   []*consumer
	deploys     []rotator.Release
	events      []rotator.Event

	manual      bool // issue and revoke need a person
	blind       bool // the issuer can't list
	sticky      bool // a revoked credential stays live
	unknown     bool // checks can't tell
	scopes      func(c *credential) []string
	failIssue   []error // one for each next call; nil: it works
	loseIssue   int     // answers lost after the effect
	failRevoke  error
	failDeploy  error
	probeErr    error
	sickOn      string // the first consumer is sick on every other value
	checks      int
	revokeCalls []string
}

type credential struct {
	id, name, value string
	live            bool
	issued          time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	first := w.make("made by hand")
	for _, name := range []string{"vault", "file"} {
		w.stores = append(w.stores, &memStore{world: w, name: name, value: first.value, version: 1})
	}
	for i := range 3 {
		w.consumers = append(w.consumers, &consumer{name: fmt.Sprintf("worker-%d", i+1), store: w.stores[i%2], value: first.value})
	}
	return w
}

func (w *world) make(name string) *credential {
	w.made++
	c := &credential{id: fmt.Sprintf("cred-%d", w.made), name: name, value: fmt.Sprintf("canary-value-%d", w.made), live: true, issued: time.Now()}
	w.credentials = append(w.credentials, c)
	return c
}

func (w *world) live() []*credential {
	w.mu.Lock()
	defer w.mu.Unlock()
	var live []*credential
	for _, c := range w.credentials {
		if c.live {
			live = append(live, c)
		}
	}
	return live
}

func (w *world) isLive(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.credentials[i].live
}

// kill ends a credential as a person does in a dashboard.
func (w *world) kill(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.credentials[i].live = false
}

// revive lets a dead consumer reload again.
func (w *world) revive(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.consumers[i].dead = false
}

// forgive forgets refused calls that a leak had to cause.
func (w *world) forgive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = 0
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

// work lets every consumer call the service once with what it holds.
func (w *world) work() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.consumers {
		if !w.accepts(c.value) {
			w.refused++
		}
	}
}

func (w *world) accepts(value string) bool {
	for _, c := range w.credentials {
		if c.value == value {
			return c.live
		}
	}
	return false
}

// plainIssuer implements only rotator.Issuer; issuer lists too.
type plainIssuer struct{ w *world }

type issuer struct{ plainIssuer }

type scopingIssuer struct{ issuer }

func (i plainIssuer) Issue(_ context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	w := i.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.manual {
		return rotator.Credential{}, &rotator.PersonNeeded{Ask: "generate a token named " + r.Marker}
	}
	if len(w.failIssue) > 0 {
		err := w.failIssue[0]
		w.failIssue = w.failIssue[1:]
		if err != nil {
			return rotator.Credential{}, err
		}
	}
	c := w.make(r.Marker)
	if w.loseIssue > 0 {
		w.loseIssue--
		return rotator.Credential{}, errors.New("connection reset")
	}
	return rotator.Credential{ID: c.id, Name: c.name, Value: rotator.NewSecret(c.value), IssuedAt: c.issued}, nil
}

func (i plainIssuer) Revoke(_ context.Context, r rotator.RevokeRequest) error {
	w := i.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.manual {
		return &rotator.PersonNeeded{Ask: "delete " + string(r.Credential.Fingerprint)}
	}
	if r.Credential.ID == "" {
		return rotator.Permanent(errors.New("no ID"))
	}
	w.revokeCalls = append(w.revokeCalls, r.Credential.ID)
	if w.failRevoke != nil {
		return w.failRevoke
	}
	for _, c := range w.credentials {
		if c.id == r.Credential.ID && !w.sticky {
			c.live = false
		}
	}
	return nil
}

func (i plainIssuer) Check(_ context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	w := i.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks++
	switch {
	case w.unknown:
		return rotator.Unknown, errors.New("answered 503")
	case w.accepts(r.Value.Reveal()):
		return rotator.Live, nil
	}
	return rotator.Dead, nil
}

func (i issuer) List(context.Context, rotator.ListRequest) ([]rotator.Credential, error) {
	var listed []rotator.Credential
	for _, c := range i.w.live() {
		listed = append(listed, rotator.Credential{ID: c.id, Name: c.name, IssuedAt: c.issued})
	}
	return listed, nil
}

func (i scopingIssuer) Scopes(_ context.Context, r rotator.CheckRequest) ([]string, error) {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	for _, c := range i.w.credentials {
		if c.value == r.Value.Reveal() {
			return i.w.scopes(c), nil
		}
	}
	return nil, errors.New("not known")
}

type memStore struct {
	world   *world
	name    string
	value   string
	version int
	putErr  error
	getErr  error
	puts    int
}

func (s *memStore) Get(context.Context, string) (rotator.Version, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if s.getErr != nil {
		return rotator.Version{}, s.getErr
	}
	return s.current(), nil
}

func (s *memStore) current() rotator.Version {
	return rotator.Version{ID: fmt.Sprint(s.version), Value: rotator.NewSecret(s.value)}
}

func (s *memStore) Put(_ context.Context, _ string, w rotator.Write) (rotator.Version, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.puts++
	switch {
	case s.putErr != nil:
		return rotator.Version{}, s.putErr
	case s.value == w.Value.Reveal():
		return s.current(), nil
	case fmt.Sprint(s.version) != w.Prev:
		return rotator.Version{}, rotator.Permanent(rotator.ErrConflict)
	}
	s.value = w.Value.Reveal()
	s.version++
	return s.current(), nil
}

// set is another's write.
func (s *memStore) set(value string) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.value = value
	s.version++
}

type consumer struct {
	name  string
	store *memStore
	value string
	dead  bool // does not reload any more
	sick  bool // answers 401 of its own
}

// Deploy lets every consumer read its store again.
func (w *world) Deploy(_ context.Context, r rotator.Release) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failDeploy != nil {
		return w.failDeploy
	}
	w.deploys = append(w.deploys, r)
	for _, c := range w.consumers {
		if !c.dead {
			c.value = c.store.value
		}
	}
	return nil
}

type probe struct {
	w *world
	c *consumer
}

func (p probe) Probe(_ context.Context, r rotator.Release) (rotator.Finding, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	f := rotator.Finding{Target: p.c.name, Seen: rotator.FingerprintOf(p.c.value)}
	switch {
	case p.w.probeErr != nil:
		return f, p.w.probeErr
	case p.c.sick, p.w.sickOn != "" && p.c == p.w.consumers[0] && p.c.value != p.w.sickOn:
		f.Health, f.Detail = rotator.Unhealthy, "answered 401"
	case f.Seen == r.Fingerprint:
		f.Health = rotator.Healthy
	default:
		f.Health, f.Detail = rotator.NotYet, "still on "+string(f.Seen)
	}
	return f, nil
}

func (w *world) Notify(_ context.Context, e rotator.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

func (w *world) token() rotator.Token {
	t := rotator.Token{
		Name: tokenName, IssuerName: "service", Issuer: issuer{plainIssuer{w}},
		Deployers: []rotator.DeployTarget{{Name: "restart", Deployer: w}},
		Rollout:   rotator.DefaultRollout(), Policies: rotator.DefaultPolicies(),
		Notifiers: []rotator.NotifyTarget{{Name: "people", Notifier: w}},
		Current:   rotator.CurrentHint{ID: "cred-1"},
	}
	if w.blind || w.manual {
		t.Issuer = plainIssuer{w}
	}
	if w.scopes != nil {
		t.Issuer = scopingIssuer{issuer{plainIssuer{w}}}
	}
	for _, s := range w.stores {
		t.Stores = append(t.Stores, rotator.StoreTarget{Name: s.name, Key: "crm", Store: s})
	}
	for _, c := range w.consumers {
		t.Probes = append(t.Probes, rotator.ProbeTarget{Name: c.name, Probe: probe{w, c}})
	}
	return t
}

// daemon is an engine over the world: one process of rotatord.
type daemon struct {
	*rotator.Engine
	w    *world
	logs *logs
}

type logs struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ids makes rotation IDs that count up, over all processes of a test.
type ids struct {
	mu sync.Mutex
	n  int
}

func (i *ids) next() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
	return fmt.Sprintf("R%d", i.n)
}

func (w *world) start(j rotator.Journal, token rotator.Token, schedule bool, id *ids) *daemon {
	w.t.Helper()
	l := &logs{}
	e := rotator.NewEngine(rotator.Options{
		Journal: j, Dispatcher: dispatch.New(), Tokens: []rotator.Token{token}, NewID: id.next,
		Logger: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err := e.Start(w.t.Context(), schedule); err != nil {
		w.t.Fatalf("Start = %v", err)
	}
	return &daemon{Engine: e, w: w, logs: l}
}

// run starts a daemon on a new journal.
func (w *world) run() (*daemon, *memory.Journal) {
	j := memory.New()
	return w.start(j, w.token(), false, &ids{}), j
}

func (d *daemon) rotate(reason rotator.Reason) string {
	d.w.t.Helper()
	id, err := d.Rotate(d.w.t.Context(), rotator.RotateRequest{Token: tokenName, Reason: reason, By: "ana"})
	if err != nil {
		d.w.t.Fatalf("Rotate = %v", err)
	}
	return id
}

// wait blocks until the rotation ends or needs a person, while consumers work.
func (d *daemon) wait(id string) rotator.RotationStatus {
	d.w.t.Helper()
	status, err := d.Wait(d.w.t.Context(), id, func(rotator.RotationStatus) { d.w.work() })
	if err != nil {
		d.w.t.Fatalf("Wait(%s) = %v\n%s", id, err, d.logs)
	}
	return status
}

func (d *daemon) decide(id string, decision rotator.Decision) {
	d.w.t.Helper()
	if err := d.Decide(d.w.t.Context(), id, decision, "ana", "because"); err != nil {
		d.w.t.Fatalf("Decide(%s) = %v", decision, err)
	}
}

// check holds the promises that every ended rotation must keep.
func (w *world) check(d *daemon, status rotator.RotationStatus, want rotator.Status) {
	w.t.Helper()
	if status.Status != want {
		w.t.Fatalf("status = %s (%s); want %s\n%s", status.Status, status.Detail, want, d.logs)
	}
	if w.refused > 0 {
		w.t.Errorf("P1: %d calls were refused", w.refused)
	}
	live := w.live()
	if len(live) != 1 {
		w.t.Fatalf("P4: %d live credentials; want 1\n%s", len(live), d.logs)
	}
	for _, s := range w.stores {
		if s.value != live[0].value {
			w.t.Errorf("store %s holds %s; the live one is %s", s.name, s.value, live[0].value)
		}
	}
	if strings.Contains(d.logs.String(), "canary-value") {
		w.t.Errorf("P6: a value is in the log:\n%s", d.logs)
	}
}

func newJournal() *memory.Journal { return memory.New() }
