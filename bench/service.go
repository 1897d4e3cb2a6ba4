package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// The calls of a Service.
const (
	callIssue  = "issue"
	callRevoke = "revoke"
	callCheck  = "check"
	callList   = "list"
	callGet    = "get"
	callPut    = "put"
	callDeploy = "deploy"
	callProbe  = "probe"
)

// A Service is everything outside rotatord: the issuer, the store, the deployer
// and the probe of all tokens. Each call waits for Delay and then has its
// effect. It may be called from many goroutines.
type Service struct {
	Delay time.Duration
	// Stuck tells whether a call's answer is lost: the effect is there, and the
	// call returns only when its context ends. nil: none is.
	Stuck func(token, call string) bool
	// Wait is waited for before a call is answered. nil: nothing is.
	Wait func(token string)
	// Refused is told of a credential that a check found dead. nil: nobody is.
	Refused func(token string)

	also  func(token string) []rotator.StoreTarget // stores besides this one; nil: none
	mu    sync.Mutex
	state serviceState
	calls map[string]int
}

// serviceState is what outlives a process of rotatord.
type serviceState struct {
	Made        int
	Places      map[string]*place      // by token
	Credentials map[string]*credential // by ID
}

// A place is a token's store and the consumer that reads it.
type place struct {
	Value, Running string
	Version        int
	Credentials    []string // IDs
}

type credential struct {
	Name string
	Live bool
}

var (
	_ rotator.Issuer   = (*Service)(nil)
	_ rotator.Lister   = (*Service)(nil)
	_ rotator.Store    = (*Service)(nil)
	_ rotator.Deployer = (*Service)(nil)
	_ rotator.Probe    = (*Service)(nil)
)

// NewService makes a service with one live credential for each token.
func NewService(delay time.Duration, tokens int) *Service {
	s := &Service{Delay: delay, calls: map[string]int{}, state: serviceState{
		Places: make(map[string]*place, tokens), Credentials: make(map[string]*credential, 2*tokens),
	}}
	for i := range tokens {
		p := &place{Version: 1}
		s.state.Places[tokenName(i)] = p
		id := s.make(p, "made by hand")
		p.Value, p.Running = valueOf(id), valueOf(id)
	}
	return s
}

func tokenName(i int) string { return fmt.Sprintf("token-%06d", i) }

// Tokens returns the configuration of n tokens of the service. A rotation makes
// eleven calls one after another, and a twelfth at the same time as another.
func (s *Service) Tokens(n int) []rotator.Token {
	tokens := make([]rotator.Token, n)
	policies := rotator.DefaultPolicies()
	rollout := rotator.Rollout{
		Interval: time.Second, Timeout: rotator.DefaultActTimeout, ConsecutiveSuccessLimit: 1,
		ConsecutiveErrorLimit: 4, Deadline: time.Hour,
	}
	for i := range tokens {
		name := tokenName(i)
		tokens[i] = rotator.Token{
			Name: name, IssuerName: "service", Issuer: s,
			Stores:    []rotator.StoreTarget{{Name: "store", Key: name, Store: s}},
			Deployers: []rotator.DeployTarget{{Name: "restart", Deployer: s}},
			Probes:    []rotator.ProbeTarget{{Name: "worker", Probe: s}},
			Rollout:   rollout, Policies: policies,
			Current: rotator.CurrentHint{ID: strconv.Itoa(i + 1)}, // as NewService counts
		}
		if s.also != nil {
			tokens[i].Stores = append(tokens[i].Stores, s.also(name)...)
		}
	}
	return tokens
}

// Calls returns how often each call was made.
func (s *Service) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

func (s *Service) call(ctx context.Context, token, name string, effect func(p *place) error) error {
	if s.Wait != nil {
		s.Wait(token)
	}
	timer := time.NewTimer(s.Delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return rotator.Unsent(context.Cause(ctx))
	case <-timer.C:
	}
	if err := s.effect(token, name, effect); err != nil {
		return err
	}
	if s.Stuck != nil && s.Stuck(token, name) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

func (s *Service) effect(token, name string, effect func(p *place) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[name]++
	p := s.state.Places[token]
	if p == nil {
		return rotator.Permanent(fmt.Errorf("token %q is not known", token))
	}
	return effect(p)
}

func (s *Service) make(p *place, name string) (id string) {
	s.state.Made++
	id = strconv.Itoa(s.state.Made)
	s.state.Credentials[id] = &credential{Name: name, Live: true}
	p.Credentials = append(p.Credentials, id)
	return id
}

const valuePrefix = "a value of the usual length, of the credential "

func valueOf(id string) string { return valuePrefix + id }

// Issue implements rotator.Issuer.
func (s *Service) Issue(ctx context.Context, r rotator.IssueRequest) (made rotator.Credential, err error) {
	err = s.call(ctx, r.Token, callIssue, func(p *place) error {
		id := s.make(p, r.Marker)
		made = rotator.Credential{ID: id, Name: r.Marker, Value: rotator.NewSecret(valueOf(id)), IssuedAt: time.Now()}
		return nil
	})
	return made, err
}

// Revoke implements rotator.Issuer.
func (s *Service) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	return s.call(ctx, r.Token, callRevoke, func(*place) error {
		if c := s.state.Credentials[r.Credential.ID]; c != nil {
			c.Live = false
		}
		return nil
	})
}

// Check implements rotator.Issuer.
func (s *Service) Check(ctx context.Context, r rotator.CheckRequest) (verdict rotator.Verdict, err error) {
	verdict = rotator.Dead
	err = s.call(ctx, r.Token, callCheck, func(*place) error {
		if c := s.state.Credentials[strings.TrimPrefix(r.Value.Reveal(), valuePrefix)]; c != nil && c.Live {
			verdict = rotator.Live
		}
		return nil
	})
	if err != nil {
		return rotator.Unknown, err
	}
	if verdict == rotator.Dead && s.Refused != nil {
		s.Refused(r.Token)
	}
	return verdict, nil
}

// List implements rotator.Lister.
func (s *Service) List(ctx context.Context, r rotator.ListRequest) (listed []rotator.Credential, err error) {
	err = s.call(ctx, r.Token, callList, func(p *place) error {
		for _, id := range p.Credentials {
			if c := s.state.Credentials[id]; c.Live {
				listed = append(listed, rotator.Credential{ID: id, Name: c.Name})
			}
		}
		return nil
	})
	return listed, err
}

func (p *place) current() rotator.Version {
	return rotator.Version{ID: strconv.Itoa(p.Version), Value: rotator.NewSecret(p.Value)}
}

// Get implements rotator.Store; the key is the token's name.
func (s *Service) Get(ctx context.Context, key string) (v rotator.Version, err error) {
	err = s.call(ctx, key, callGet, func(p *place) error {
		v = p.current()
		return nil
	})
	return v, err
}

// Put implements rotator.Store.
func (s *Service) Put(ctx context.Context, key string, w rotator.Write) (v rotator.Version, err error) {
	err = s.call(ctx, key, callPut, func(p *place) error {
		value := w.Value.Reveal()
		switch {
		case p.Value == value:
		case strconv.Itoa(p.Version) != w.Prev:
			return rotator.Permanent(fmt.Errorf("put %q: %w", key, rotator.ErrConflict))
		default:
			p.Value = value
			p.Version++
		}
		v = p.current()
		return nil
	})
	return v, err
}

// Deploy implements rotator.Deployer: the consumer reads its store again.
func (s *Service) Deploy(ctx context.Context, r rotator.Release) error {
	return s.call(ctx, r.Token, callDeploy, func(p *place) error {
		p.Running = p.Value
		return nil
	})
}

// Probe implements rotator.Probe.
func (s *Service) Probe(ctx context.Context, r rotator.Release) (f rotator.Finding, err error) {
	f = rotator.Finding{Health: rotator.NotYet, Target: "worker"}
	err = s.call(ctx, r.Token, callProbe, func(p *place) error {
		if f.Seen = rotator.FingerprintOf(p.Running); f.Seen == r.Fingerprint {
			f.Health = rotator.Healthy
		}
		return nil
	})
	return f, err
}

// bareRotation makes the calls of one rotation, and nothing else: what anyone
// would write who trusts that nothing ever fails.
func (s *Service) bareRotation(ctx context.Context, t rotator.Token) error {
	key := t.Stores[0].Key
	before, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	made, err := s.Issue(ctx, rotator.IssueRequest{Token: t.Name, Marker: t.Name})
	if err != nil {
		return err
	}
	check := func(value rotator.Secret, want rotator.Verdict) error {
		verdict, err := s.Check(ctx, rotator.CheckRequest{Token: t.Name, Value: value})
		if err == nil && verdict != want {
			err = fmt.Errorf("the credential is %s and not %s", verdict, want)
		}
		return err
	}
	if err := check(made.Value, rotator.Live); err != nil {
		return err
	}
	if _, err := s.Put(ctx, key, rotator.Write{Value: made.Value, Prev: before.ID}); err != nil {
		return err
	}
	if _, err := s.Get(ctx, key); err != nil {
		return err
	}
	release := rotator.Release{Token: t.Name, Fingerprint: made.Value.Fingerprint()}
	if err := s.Deploy(ctx, release); err != nil {
		return err
	}
	probed := make(chan error, 1)
	go func() { _, err := s.Probe(ctx, release); probed <- err }()
	if err := errors.Join(check(made.Value, rotator.Live), <-probed); err != nil {
		return err
	}
	if _, err := s.Get(ctx, key); err != nil {
		return err
	}
	old := rotator.Credential{ID: t.Current.ID}
	if err := s.Revoke(ctx, rotator.RevokeRequest{Token: t.Name, Credential: old}); err != nil {
		return err
	}
	if err := check(before.Value, rotator.Dead); err != nil {
		return err
	}
	listed, err := s.List(ctx, rotator.ListRequest{Token: t.Name})
	if err == nil && len(listed) != 1 {
		err = fmt.Errorf("%d credentials are live and not 1", len(listed))
	}
	return err
}
