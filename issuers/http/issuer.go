package httpissuer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

var (
	_ rotator.Issuer        = (*issuer)(nil)
	_ rotator.Limiter       = (*issuer)(nil)
	_ rotator.ParamsChecker = (*issuer)(nil)
	_ rotator.Lister        = lister{}
	_ rotator.Scoper        = scoper{}
	_ rotator.Pinger        = pinger{}
)

// issuer has what every configuration can do.
type issuer struct {
	config  *compiledConfig
	secrets map[string]rotator.SecretSource
	slots   int
	client  *http.Client
	limit   *rate.Limiter // nil: none
}

// New makes the issuer. What it can do besides depends on the configuration:
// Lister with list, Scoper with check.scopes, Pinger with ping or with a list
// that needs no params.
func New(_ context.Context, c Config) (rotator.Issuer, error) {
	return open(c, true)
}

// NewAdmin makes an issuer without a check, for an issuer that embeds Admin
// and checks by itself: its Check answers Unknown with errors.ErrUnsupported.
func NewAdmin(_ context.Context, a Admin) (rotator.Issuer, error) {
	return open(Config{Admin: a}, false)
}

func open(c Config, withCheck bool) (rotator.Issuer, error) {
	compiled, err := compile(c, withCheck)
	if err != nil {
		return nil, err
	}
	client, err := webclient.New(webclient.Options{CAFile: c.CAFile, Timeout: c.Timeout.Std()})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	// A redirect turns DELETE into GET, and a log-in page into a 200.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	i := &issuer{config: compiled, secrets: maps.Clone(c.Secrets), slots: c.MaxCredentials, client: client}
	if c.RateLimit > 0 {
		i.limit = rate.NewLimiter(rate.Limit(c.RateLimit), int(math.Max(1, math.Min(c.RateLimit, 1000))))
	}
	return withAbilities(i), nil
}

// The optional interfaces as parts: whoever asks by assertion must get "no"
// where the configuration has no such call, so an issuer is composed of the
// parts that it has.
type (
	lister struct{ of *issuer }
	scoper struct{ of *issuer }
	pinger struct{ of *issuer }
)

func withAbilities(i *issuer) rotator.Issuer {
	l, s, p := lister{i}, scoper{i}, pinger{i}
	lists := i.config.list != nil
	scopes := i.config.check != nil && i.config.check.scopes != nil
	pings := i.config.ping != nil || lists && !i.config.list.uses("params") && !i.config.list.uses("token")
	switch {
	case lists && scopes && pings:
		return struct {
			*issuer
			lister
			scoper
			pinger
		}{i, l, s, p}
	case lists && scopes:
		return struct {
			*issuer
			lister
			scoper
		}{i, l, s}
	case lists && pings:
		return struct {
			*issuer
			lister
			pinger
		}{i, l, p}
	case scopes && pings:
		return struct {
			*issuer
			scoper
			pinger
		}{i, s, p}
	case lists:
		return struct {
			*issuer
			lister
		}{i, l}
	case scopes:
		return struct {
			*issuer
			scoper
		}{i, s}
	case pings:
		return struct {
			*issuer
			pinger
		}{i, p}
	}
	return i
}

// MaxCredentials implements rotator.Limiter.
func (i *issuer) MaxCredentials() int { return i.slots }

// CheckParams implements rotator.ParamsChecker.
func (i *issuer) CheckParams(p rotator.Params) error { return i.config.checkParams(p) }

// CloseIdleConnections gives up the connections that no call is using.
func (i *issuer) CloseIdleConnections() { i.client.CloseIdleConnections() }

// send makes one call. Whatever fails before the request goes out is marked
// Permanent or Unsent, or is the context's own error.
func (i *issuer) send(ctx context.Context, c *call, f fields) (webclient.Answer, error) {
	if ctx.Err() != nil {
		return webclient.Answer{}, context.Cause(ctx)
	}
	if i.limit != nil {
		if err := i.limit.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return webclient.Answer{}, context.Cause(ctx)
			}
			return webclient.Answer{}, rotator.Unsent(errors.New("rate_limit leaves no room before the call's deadline"))
		}
	}
	req, err := c.request(ctx, i.config.base, f, func(name string) (string, error) {
		value, err := i.secrets[name].Get(ctx)
		if err != nil {
			return "", rotator.Unsent(fmt.Errorf("secret %q: %w", name, err))
		}
		return value.Reveal(), nil
	})
	if err != nil {
		if ctx.Err() != nil {
			return webclient.Answer{}, context.Cause(ctx)
		}
		return webclient.Answer{}, err
	}
	return webclient.Do(i.client, req)
}

// ask is send with the log-in: only a 2xx is no error. A refusal is clear even
// when its body can't be read.
func (i *issuer) ask(ctx context.Context, c *call, f fields) (webclient.Answer, error) {
	answer, err := i.send(ctx, c, f)
	if refusal := refused(answer); refusal != nil {
		return answer, refusal
	}
	return answer, err
}

func refused(a webclient.Answer) error {
	if a.Status == 0 {
		return nil
	}
	return webclient.StatusError(a, time.Now())
}

// Issue implements rotator.Issuer. An answer of success that can't be read
// leaves in doubt whether there is a new credential: the marker tells.
func (i *issuer) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	c := i.config.create
	answer, err := i.ask(ctx, c.call, fields{"params": texts(r.Params), "marker": r.Marker, "token": r.Token})
	if err != nil {
		return rotator.Credential{}, fmt.Errorf("create credential: %w", err)
	}
	made, err := c.read(ctx, answer, r.Marker)
	if err != nil {
		return rotator.Credential{}, fmt.Errorf("create credential: %w", err)
	}
	return made, nil
}

func (c createCall) read(ctx context.Context, answer webclient.Answer, marker string) (rotator.Credential, error) {
	vars := variables(answer)
	id, err := c.id.needed(c.id.id(ctx, vars))
	if err != nil {
		return rotator.Credential{}, err
	}
	value, err := c.value.needed(c.value.string(ctx, vars))
	if err != nil {
		return rotator.Credential{}, err
	}
	name := marker
	if c.name != nil {
		if name, err = c.name.string(ctx, vars); err != nil {
			return rotator.Credential{}, err
		}
	}
	expires, err := c.expiresAt.time(ctx, vars)
	if err != nil {
		return rotator.Credential{}, err
	}
	allowed, err := c.scopes.strings(ctx, vars)
	if err != nil {
		return rotator.Credential{}, err
	}
	secret := rotator.NewSecret(value)
	return rotator.Credential{
		ID: id, Name: name, Value: secret, Fingerprint: secret.Fingerprint(),
		IssuedAt: time.Now().UTC(), ExpiresAt: expires, Scopes: allowed,
	}, nil
}

// Revoke implements rotator.Issuer. 404 and 410 say that it is already gone.
func (i *issuer) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	id := r.Credential.ID
	if id == "" {
		return rotator.Permanent(errors.New("revoke credential: its ID is not known"))
	}
	answer, err := i.ask(ctx, i.config.revoke, fields{"params": texts(r.Params), "token": r.Token, "id": id})
	if answer.Status == http.StatusNotFound || answer.Status == http.StatusGone {
		return nil
	}
	if err != nil && (answer.Status < 200 || answer.Status > 299) {
		return fmt.Errorf("revoke credential: %w", err)
	}
	return nil // the status says it; a body that can't be read adds nothing
}

// Check implements rotator.Issuer. It is Live or Dead only if exactly one of
// the expressions holds. 408, 429 and 5xx say nothing about a credential.
func (i *issuer) Check(ctx context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	verdict, err := i.verdict(ctx, r)
	if err != nil {
		return rotator.Unknown, fmt.Errorf("check credential: %w", err)
	}
	return verdict, nil
}

func (i *issuer) verdict(ctx context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	c := i.config.check
	if c == nil {
		return rotator.Unknown, errors.ErrUnsupported
	}
	answer, err := i.probe(ctx, r)
	if err != nil {
		return rotator.Unknown, err
	}
	vars := variables(answer)
	live, err := c.live.bool(ctx, vars)
	if err != nil {
		return rotator.Unknown, err
	}
	dead, err := c.dead.bool(ctx, vars)
	switch {
	case err != nil:
		return rotator.Unknown, err
	case live && dead:
		return rotator.Unknown, fmt.Errorf("answered %d: check.live and check.dead are both true", answer.Status)
	case live:
		return rotator.Live, nil
	case dead:
		return rotator.Dead, nil
	}
	return rotator.Unknown, fmt.Errorf("answered %d: neither check.live nor check.dead is true", answer.Status)
}

// probe sends the check's call and sorts out answers that say nothing.
func (i *issuer) probe(ctx context.Context, r rotator.CheckRequest) (webclient.Answer, error) {
	if r.Value.Reveal() == "" {
		return webclient.Answer{}, rotator.Permanent(errors.New("there is no value to ask with"))
	}
	answer, err := i.send(ctx, i.config.check.call, fields{
		"params": texts(r.Params), "token": r.Token, "value": r.Value.Reveal(),
	})
	if s := answer.Status; s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= 500 {
		return answer, refused(answer)
	}
	return answer, err
}

// Scopes implements rotator.Scoper.
func (s scoper) Scopes(ctx context.Context, r rotator.CheckRequest) ([]string, error) {
	answer, err := s.of.probe(ctx, r)
	if err == nil {
		err = refused(answer)
	}
	if err != nil {
		return nil, fmt.Errorf("read scopes: %w", err)
	}
	found, err := s.of.config.check.scopes.strings(ctx, variables(answer))
	if err != nil {
		return nil, fmt.Errorf("read scopes: %w", err)
	}
	return found, nil
}

// Ping implements rotator.Pinger: the ping's own call, else the list's first page.
func (p pinger) Ping(ctx context.Context) error {
	if err := p.ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

func (p pinger) ping(ctx context.Context) error {
	c := p.of.config.ping
	if c == nil {
		_, _, err := p.of.page(ctx, rotator.ListRequest{}, "", maxItems)
		return err
	}
	if c.ok == nil {
		_, err := p.of.ask(ctx, c.call, fields{})
		return err
	}
	answer, err := p.of.send(ctx, c.call, fields{})
	if err != nil {
		return err
	}
	ok, err := c.ok.bool(ctx, variables(answer))
	if ok && err == nil {
		return nil
	}
	if refusal := refused(answer); refusal != nil {
		return refusal // says more than an expression that fails on it
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("answered %d: ping.ok is not true", answer.Status)
}

// texts is the type that templates take params in.
func texts(p rotator.Params) map[string]string { return p }
