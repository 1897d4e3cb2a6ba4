package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An act carries out one action of a rotation. state is a copy from before it.
type act struct {
	engine *Engine
	run    *run
	token  Token
	setup  Setup
	state  State
	action Action
	began  time.Time // of an act with an intent: when that was decided; else zero
}

// stopGrace is how long a call may go on after the process was told to stop.
const stopGrace = 10 * time.Second

func (a act) do(ctx context.Context) error {
	switch a.action.Kind {
	case DoPreflight:
		return a.preflight(ctx)
	case DoCapture:
		return a.capture(ctx)
	case DoCheck:
		return a.check(ctx)
	case DoScopes:
		return a.scopes(ctx)
	case DoLook:
		return a.look(ctx)
	case DoReread:
		return a.reread(ctx)
	case DoReconcile:
		return a.reconcile(ctx)
	case DoCount:
		return a.count(ctx)
	case DoIssue:
		return a.issue(ctx)
	case DoSettle:
		return a.settle(ctx)
	case DoStore:
		return a.store(ctx)
	case DoDeploy:
		return a.deploy(ctx)
	case DoRevoke:
		return a.revoke(ctx)
	case DoNothing, DoMove, DoHold, DoAsk, DoRemind, DoClose:
	}
	return nil
}

// call runs one call to a plug-in under the act's time-out. A plug-in that
// panics has failed; a stop gives it a little time to finish.
func (a act) call(ctx context.Context, timeout time.Duration, f func(ctx context.Context) error) (err error) {
	timeout = a.left(a.run.within(timeout))
	if timeout <= 0 {
		return Unsent(errors.New("there is no time left for the call"))
	}
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(stopGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-inner.Done():
		}
	})()
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("plug-in panicked")
		}
	}()
	crashPoint(a, "before")
	err = f(inner)
	crashPoint(a, "after")
	if err != nil {
		if errors.Is(inner.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("no answer within %s: %w", timeout, err)
		}
		return err
	}
	return nil
}

// left shortens a time-out by what has passed since the intent: whoever takes
// over a journal waits that long for effects of the process before, and no
// longer. A process that stood still meanwhile must not act.
func (a act) left(timeout time.Duration) time.Duration {
	if a.began.IsZero() {
		return timeout
	}
	now := time.Now()
	passed := max(now.Sub(a.began), now.Round(0).Sub(a.began.Round(0))) // by both clocks: one of them stops with the machine
	return min(timeout, a.engine.ActTimeout-passed)
}

// entry starts an entry of this act.
func (a act) entry(kind EntryKind) Entry {
	return Entry{
		At: time.Now(), Kind: kind, Course: a.state.Course, Step: a.state.Step, Target: a.action.Target,
		Attempt: a.state.attempt(a.action),
	}
}

// failed fills in what went wrong. The time to try again grows with the tries;
// a service's own wish is honoured.
func (a act) failed(e Entry, prefix string, err error, tries int) Entry {
	limit := maxPause
	if a.state.leak() {
		limit = leakPause
	}
	e.At = time.Now() // the pause begins when the answer came
	e.Err = a.clean(prefix, err)
	// After a conflict the store is read again: that may well be mended. Whether
	// it had no effect the store must say: our value may have been current for a moment.
	conflict := errors.Is(err, ErrConflict)
	e.Final, e.NoEffect = IsPermanent(err) && !conflict, HadNoEffect(err)
	e.RetryAt = e.At.Add(jitter(a.run.id, tries, backOff(time.Second, tries, limit)))
	if at := RetryTime(err); at.After(e.RetryAt) {
		e.RetryAt = at
	}
	return e
}

const maxErrorLength = 500

// clean makes one line of an error, without the credentials in play: plug-ins
// promise that, and this holds the promise should one of them break it.
func (a act) clean(prefix string, err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	a.run.mu.Lock()
	for _, secret := range a.run.secrets {
		if v := secret.Reveal(); v != "" {
			text = strings.ReplaceAll(text, v, redacted)
		}
	}
	a.run.mu.Unlock()
	if prefix != "" {
		text = prefix + ": " + text
	}
	if runes := []rune(text); len(runes) > maxErrorLength {
		text = string(runes[:maxErrorLength]) + "…"
	}
	return text
}

// interrupted tells whether a failed act was cut short by a stop: then it gets
// no outcome, and the next start asks the world what came of it.
func interrupted(ctx context.Context, err error) bool {
	return err != nil && stopped(ctx)
}

func stopped(ctx context.Context) bool { return ctx.Err() != nil }

func (a act) write(ctx context.Context, entries ...Entry) error {
	return a.engine.writeOutcome(ctx, a.run, entries, nil)
}

// storeTarget returns the plug-in of one of the rotation's stores.
func (a act) storeTarget(name string) (StoreTarget, bool) {
	i := slices.IndexFunc(a.token.Stores, func(t StoreTarget) bool { return t.Ref().String() == name })
	if i < 0 {
		return StoreTarget{}, false
	}
	return a.token.Stores[i], true
}

// read asks a store what it holds.
func (a act) read(ctx context.Context, t StoreTarget) (Version, Entry, error) {
	a.began = time.Time{} // a read has no effect: however long the act took, what came of it is looked at
	e := a.entry(EntryRead)
	e.Target = t.Ref().String()
	var version Version
	err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) (err error) {
		version, err = t.Store.Get(ctx, t.Key)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		err = nil
	case errors.Is(err, errors.ErrUnsupported): // it can only be written
		e.Verdict, e.Version, err = Unknown, version.ID, nil
	case err != nil:
		tries := 0
		if st := a.state.store(e.Target); st != nil {
			tries = st.Failing.Tries
		}
		e = a.failed(e, "store "+t.Name+": get", err, tries)
	default:
		e.Fingerprint, e.Version = version.Value.Fingerprint(), version.ID
	}
	return version, e, err
}

func (a act) issueRequest() IssueRequest {
	marker := Marker(a.token.Name, a.run.id)
	if without("marker") {
		marker = MarkerPrefix(a.token.Name)
	}
	return IssueRequest{Token: a.token.Name, Params: a.token.Params, Marker: marker, Old: a.state.Old}
}

func (a act) revokeRequest(c Credential) RevokeRequest {
	return RevokeRequest{Token: a.token.Name, Params: a.token.Params, Credential: c.Record()}
}

// checkCredential asks the issuer about a value. Unknown always has an error.
func (a act) checkCredential(ctx context.Context, value Secret, timeout time.Duration) (Verdict, error) {
	verdict := Unknown
	err := a.call(ctx, timeout, func(ctx context.Context) (err error) {
		verdict, err = a.token.Issuer.Check(ctx, CheckRequest{Token: a.token.Name, Params: a.token.Params, Value: value})
		return err
	})
	if verdict != Live && verdict != Dead {
		verdict = Unknown
		if err == nil {
			err = errors.New("the issuer gave no clear answer")
		}
	}
	return verdict, err
}

// list reads the credentials at the issuer, if it can list.
func (a act) list(ctx context.Context) ([]Credential, error) {
	lister, ok := a.token.Issuer.(Lister)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	var listed []Credential
	err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) (err error) {
		listed, err = lister.List(ctx, ListRequest{Token: a.token.Name, Params: a.token.Params})
		return err
	})
	return listed, err
}
