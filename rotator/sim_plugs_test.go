package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

type simIssuer struct{ p *simProcess }

type simLister struct{ simIssuer }

type simListScoper struct {
	simLister
	simScoping
}

type simScoping struct{ p *simProcess }

func (p *simProcess) issuer() rotator.Issuer {
	switch p.w.spec.Issuer {
	case issuerLists:
		return simLister{simIssuer{p}}
	case issuerScopes:
		return simListScoper{simLister{simIssuer{p}}, simScoping{p}}
	case issuerBlind, issuerManual:
	}
	return simIssuer{p}
}

func (i simIssuer) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	w := i.p.w
	if w.spec.Issuer == issuerManual {
		return rotator.Credential{}, &rotator.PersonNeeded{Ask: "generate a token named " + r.Marker}
	}
	var made *simCredential
	err := i.p.call(ctx, "issue", func() { made = w.create(r.Marker) })
	if err != nil {
		return rotator.Credential{}, err
	}
	return rotator.Credential{ID: made.id, Name: made.name, Value: rotator.NewSecret(made.value), IssuedAt: made.born}, nil
}

func (i simIssuer) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	w := i.p.w
	if w.spec.Issuer == issuerManual {
		return &rotator.PersonNeeded{Ask: fmt.Sprintf("delete %q, fingerprint %s", r.Credential.ID, r.Credential.Fingerprint)}
	}
	if r.Credential.ID == "" {
		return rotator.Permanent(errors.New("no ID"))
	}
	w.mu.Lock()
	if c := w.byID(r.Credential.ID); c != nil && !i.p.dead {
		w.tried[c.id] = true
		w.judgeRevoke(c) //nolint:contextcheck // it asks the journal, whatever becomes of the call
	}
	w.mu.Unlock()
	return i.p.call(ctx, "revoke", func() {
		if c := w.byID(r.Credential.ID); c != nil {
			c.live = false
		}
	})
}

// judgeRevoke holds P1, P2 and P4 at the moment of a revoke. w.mu is held.
func (w *simWorld) judgeRevoke(c *simCredential) {
	s, ok := w.state()
	switch {
	case !ok && !c.live: // once more, by a process that slept over its end
		return
	case !ok:
		w.breaks("P4: %s is revoked outside a rotation", c.id)
		return
	case c.id != s.Old.ID && !strings.HasPrefix(c.name, rotator.MarkerPrefix(tokenName)):
		w.breaks("P4: %s is not ours and not the one to be replaced", c.id)
	case c.id == s.Old.ID && s.Course == rotator.RollBack:
		w.breaks("P4: the old credential is revoked in a roll back")
	case c.id == s.Old.ID && s.Course == rotator.RevokeFirst:
		c.excused = true
	case s.Course == rotator.RevokeFirst:
	case c.id == s.New.ID && s.Course == rotator.ReplaceFirst:
		w.breaks("P4: the new credential is revoked")
	}
	if c.excused || !c.live {
		return
	}
	for _, consumer := range w.consumers {
		on := consumer.value == c.value
		switch {
		case on && consumer.Probe == probeFingerprint:
			w.breaks("P2: %s is revoked, %s lives on it and a probe can tell", c.id, consumer.name)
		case on && !consumer.foreign && !consumer.missed && w.spec.Deployers > 0 && consumer.Probe == probeNone:
			w.breaks("P1: %s is revoked, %s lives on it", c.id, consumer.name)
		}
	}
	if c.id == s.Old.ID && s.Course == rotator.ReplaceFirst {
		w.judgeEvidence(s)
	}
}

// judgeEvidence counts the looks in the journal by itself (P2).
func (w *simWorld) judgeEvidence(s rotator.State) {
	entries, err := w.disk.Entries(context.Background(), s.ID)
	if err != nil {
		w.breaks("journal: %v", err)
		return
	}
	green := map[string]int{}
	for _, e := range entries {
		if e.Kind == rotator.EntryMoved && e.Trigger == rotator.TriggerRewrite || e.Kind == rotator.EntryOutcome && e.Step == rotator.StepStore {
			clear(green)
		}
		for _, o := range e.Observations {
			if f := o.Finding; o.Err == "" && f.Health == rotator.Healthy && (f.Seen == "" || f.Seen == s.New.Fingerprint) {
				green[o.Probe]++
			} else {
				green[o.Probe] = 0
			}
		}
	}
	for _, c := range w.consumers {
		if c.Probe != probeNone && green[c.name] < rotator.DefaultRollout().ConsecutiveSuccessLimit && s.ByHand == false && len(s.Passed) > 0 {
			w.breaks("P2: the old credential is revoked after %d green looks of %s", green[c.name], c.name)
		}
	}
}

func (i simIssuer) Check(ctx context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	w, verdict := i.p.w, rotator.Dead
	err := i.p.call(ctx, "check", func() {
		if c := w.byValue(r.Value.Reveal()); c != nil && c.live {
			verdict = rotator.Live
		}
	})
	if err != nil {
		return rotator.Unknown, fmt.Errorf("check %s: %w", r.Value.Reveal(), err) // the engine holds P6 all the same
	}
	return verdict, nil
}

func (i simLister) List(ctx context.Context, _ rotator.ListRequest) ([]rotator.Credential, error) {
	var listed []rotator.Credential
	err := i.p.call(ctx, "list", func() {
		for _, c := range i.p.w.made {
			if c.live {
				listed = append(listed, rotator.Credential{ID: c.id, Name: c.name, IssuedAt: c.born})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return listed, nil
}

func (i simScoping) Scopes(ctx context.Context, r rotator.CheckRequest) (scopes []string, err error) {
	err = i.p.call(ctx, "scopes", func() {
		if c := i.p.w.byValue(r.Value.Reveal()); c == nil || !c.live {
			err = rotator.Permanent(errors.New("answered 401"))
		}
		scopes = []string{"write", "read"}
	})
	return scopes, err
}

type simStorePlug struct {
	p *simProcess
	s *simStore
}

func (s *simStore) current() rotator.Version {
	return rotator.Version{ID: fmt.Sprint(s.version), Value: rotator.NewSecret(*s.value)}
}

func (s *simStore) set(value string, foreign bool) {
	s.value, s.foreign = &value, foreign
	s.version++
}

func (s simStorePlug) Get(ctx context.Context, _ string) (v rotator.Version, err error) {
	if s.s.WriteOnly && !s.s.Versions {
		return v, fmt.Errorf("get: %w", errors.ErrUnsupported)
	}
	failed := s.p.call(ctx, s.s.name+".get", func() {
		if s.s.value == nil {
			err = fmt.Errorf("key: %w", rotator.ErrNotFound)
			return
		}
		v = s.s.current()
		if s.s.WriteOnly {
			v.Value, err = rotator.Secret{}, fmt.Errorf("get: %w", errors.ErrUnsupported)
		}
	})
	if failed != nil {
		return rotator.Version{}, failed
	}
	return v, err
}

func (s simStorePlug) Put(ctx context.Context, _ string, write rotator.Write) (v rotator.Version, err error) {
	value := write.Value.Reveal()
	failed := s.p.call(ctx, s.s.name+".put", func() {
		prev := ""
		if s.s.value != nil {
			prev = fmt.Sprint(s.s.version)
		}
		switch {
		case s.s.value != nil && *s.s.value == value:
		case prev != write.Prev && (!s.s.WriteOnly || s.s.Versions):
			err = rotator.Permanent(rotator.ErrConflict)
			return
		default:
			s.s.set(value, false)
		}
		v = s.s.current()
	})
	if failed != nil {
		failed = fmt.Errorf("put %s: %w", value, failed)
	}
	return v, errors.Join(failed, err)
}

type simDeployer struct {
	p *simProcess
	i int
}

type simAsker struct{ simDeployer }

func (d simDeployer) Deploy(ctx context.Context, _ rotator.Release) error {
	return d.p.call(ctx, fmt.Sprintf("deploy%d", d.i), func() {
		for _, c := range d.p.w.consumers {
			if c.Deployer%d.p.w.spec.Deployers == d.i {
				c.load(false)
			}
		}
	})
}

func (d simAsker) Deployed(ctx context.Context, r rotator.Release) (deployed bool, err error) {
	err = d.p.call(ctx, fmt.Sprintf("deployed%d", d.i), func() {
		deployed = true
		for _, c := range d.p.w.consumers {
			if c.Deployer%d.p.w.spec.Deployers == d.i && rotator.FingerprintOf(c.value) != r.Fingerprint {
				deployed = false
			}
		}
	})
	return deployed, err
}

type simProbe struct {
	p *simProcess
	c *simConsumer
}

func (q simProbe) Probe(ctx context.Context, r rotator.Release) (f rotator.Finding, err error) {
	w := q.p.w
	err = q.p.call(ctx, q.c.name, func() { //nolint:contextcheck // it asks the journal, whatever becomes of the call
		seen := rotator.FingerprintOf(q.c.value)
		f = rotator.Finding{Target: q.c.name, Health: rotator.Healthy}
		if s, ok := w.state(); ok && (seen == s.New.Fingerprint || seen == s.Old.Fingerprint && s.OldSealed) {
			f.Detail = "lives on " + q.c.value // the engine knows the value, and holds P6 all the same
		}
		if q.c.Probe == probeFingerprint {
			f.Seen = seen
		}
		made := w.byValue(q.c.value)
		switch {
		case q.c.Sick && !w.calm && made != nil && made.id != "cred-1", made == nil || !made.live:
			f.Health = rotator.Unhealthy
		case q.c.Probe == probeFingerprint && seen != r.Fingerprint:
			f.Health = rotator.NotYet
		}
	})
	return f, err
}

type simNotifier struct{ p *simProcess }

func (n simNotifier) Notify(ctx context.Context, e rotator.Event) error {
	return n.p.call(ctx, "notify", func() {
		n.p.w.events = append(n.p.w.events, e)
		if strings.Contains(fmt.Sprintf("%+v", e), "yranac") {
			n.p.w.breaks("P6: a value is in an event: %+v", e)
		}
	})
}

// state folds the newest rotation, if it is open. w.mu is held.
func (w *simWorld) state() (rotator.State, bool) {
	if w.folded == w.appends {
		return w.newest, w.newest.ID != "" && w.newest.ClosedAt.Equal(time.Time{})
	}
	w.folded, w.newest = w.appends, rotator.State{}
	newest, err := w.disk.Rotations(context.Background(), tokenName, 1)
	if err != nil || len(newest) == 0 {
		return rotator.State{}, false
	}
	entries, err := w.disk.Entries(context.Background(), newest[0].ID)
	if err != nil {
		return rotator.State{}, false
	}
	s, err := rotator.Fold(entries)
	if err != nil {
		w.breaks("fold: %v", err)
	}
	w.newest = s
	return s, s.ClosedAt.Equal(time.Time{})
}
