package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Options of an Engine.
type Options struct {
	Journal       Journal
	Dispatcher    Dispatcher
	Tokens        []Token // not to be changed afterwards
	Logger        *slog.Logger
	MaxConcurrent int           // rotations that run at once, leaks not counted; 0: 8
	ActTimeout    time.Duration // of one call to a plug-in; 0: one minute
	NewID         func() string // makes rotation IDs; they sort by time
}

// The defaults of Options.
const (
	DefaultMaxConcurrent = 8
	DefaultActTimeout    = time.Minute
	scanInterval         = time.Minute
	scanPause            = 100 * time.Millisecond // between scans, however many fall due in a row
)

// Engine runs rotations: it alone acts. All its methods may be called from
// many goroutines.
type Engine struct {
	Options

	ctx    context.Context // of everything that the engine starts; ends at Stop
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	tellCtx    context.Context // of notifications: ends a little after Stop
	tellCancel context.CancelFunc
	tells      sync.WaitGroup

	mu      sync.Mutex
	tokens  map[string]*Token
	runs    map[string]*run // open rotations in memory
	room    map[string]bool // rotations that run: at most MaxConcurrent, leaks not counted
	queue   []string        // rotations that wait for room, and some that do no longer
	queued  map[string]bool // those that do
	changed chan struct{}   // closed at the next change of any rotation
	started bool
}

// NewEngine makes an engine that does nothing yet.
func NewEngine(o Options) *Engine {
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = DefaultMaxConcurrent
	}
	if o.ActTimeout == 0 {
		o.ActTimeout = DefaultActTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{Options: o, runs: map[string]*run{}, room: map[string]bool{}, queued: map[string]bool{}, changed: make(chan struct{})}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.tellCtx, e.tellCancel = context.WithCancel(context.Background())
	e.setTokens(o.Tokens)
	e.Tokens = nil // Reload brings others, and nobody must keep these
	return e
}

func (e *Engine) setTokens(tokens []Token) {
	byName := make(map[string]*Token, len(tokens))
	for i := range tokens {
		byName[tokens[i].Name] = &tokens[i]
	}
	e.mu.Lock()
	e.tokens = byName
	e.mu.Unlock()
}

// Start takes up every open rotation, reconciles what was under way when the
// last process died, and (with schedule) starts what is due, now and every minute.
func (e *Engine) Start(ctx context.Context, schedule bool) error {
	open, err := e.Journal.OpenRotations(ctx)
	if err != nil {
		return fmt.Errorf("read open rotations: %w", err)
	}
	if err := e.recordDue(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.started = true
	for _, o := range open {
		if o.Reason != Leak && (o.Status == Running || o.Status == Waiting) {
			e.room[o.ID] = true
		}
	}
	e.mu.Unlock()
	e.Dispatcher.Start(e.advance)
	now := time.Now()
	for _, o := range open {
		e.Dispatcher.WakeAt(o.ID, now)
	}
	if schedule {
		e.tasks.Go(e.scan)
	}
	return nil
}

// scan looks for due tokens at start, when the next due date of the journal
// comes, and every minute at the latest, until Stop.
func (e *Engine) scan() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-timer.C:
		}
		now := time.Now()
		if _, err := e.StartDue(e.ctx); err != nil && e.ctx.Err() == nil {
			e.Logger.Error("due scan", "err", err)
		}
		pause := scanInterval
		if next, err := e.Journal.NextDue(e.ctx, now); err == nil && !next.IsZero() {
			pause = min(pause, time.Until(next))
		}
		timer.Reset(max(pause, scanPause))
	}
}

// Stop ends the acts under way (they are reconciled at the next start) and waits for them.
func (e *Engine) Stop() {
	e.cancel()
	e.mu.Lock()
	started := e.started
	e.mu.Unlock()
	if started {
		e.Dispatcher.Stop()
	}
	e.tasks.Wait()
	// What people must know is still sent, once and in bounded time.
	defer time.AfterFunc(stopGrace, e.tellCancel).Stop()
	e.tells.Wait()
	e.tellCancel()
}

// Reload takes up a new configuration. Open rotations keep the policy they
// began with; one whose stores changed is held.
func (e *Engine) Reload(ctx context.Context, tokens []Token) error {
	e.setTokens(tokens)
	if err := e.recordDue(ctx); err != nil {
		return err
	}
	e.wakeAll()
	return nil
}

// wakeAll lets every open rotation look again.
func (e *Engine) wakeAll() {
	e.mu.Lock()
	ids := make([]string, 0, len(e.runs))
	for id := range e.runs {
		ids = append(ids, id)
	}
	started := e.started
	e.mu.Unlock()
	if !started {
		return
	}
	now := time.Now()
	for _, id := range ids {
		e.Dispatcher.WakeAt(id, now)
	}
}

// token returns a configured token.
func (e *Engine) token(name string) (Token, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tokens[name]
	if !ok {
		return Token{}, fmt.Errorf("token %q is not in the configuration: %w", name, ErrNotFound)
	}
	return *t, nil
}

// record returns what the journal knows of a token; nothing is no error.
func (e *Engine) record(ctx context.Context, token string) (TokenRecord, error) {
	r, err := e.Journal.Token(ctx, token)
	if errors.Is(err, ErrNotFound) {
		return TokenRecord{Name: token}, nil
	}
	if err != nil {
		return TokenRecord{}, fmt.Errorf("read record of token %q: %w", token, err)
	}
	return r, nil
}

// changes returns a channel that is closed at the next change of any rotation.
func (e *Engine) changes() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

func (e *Engine) announce() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}
