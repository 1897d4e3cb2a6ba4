package vaultstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A session holds the log-in. It logs in when the first call needs it, renews
// when two thirds of the token's life are over, and logs in again when that
// does not work or the token is refused.
type session struct {
	config Config
	http   *http.Client                // without a client certificate
	own    atomic.Pointer[http.Client] // of the last log-in by certificate: its connections show that certificate
	base   *api.Client                 // without a token
	auth   Auth
	turn   chan struct{} // of one: whoever put something in may use what follows
	now    *login
	fixed  bool // the token may not renew itself: told when it ends
}

// A login is a token that works, as far as we know.
type login struct {
	client    *api.Client
	life      time.Duration // when we logged in; 0: no end, or it is unknown
	renewAt   time.Time     // zero: never
	renewable bool
}

func newSession(c Config) (*session, error) {
	s := &session{config: c, auth: c.Auth, turn: make(chan struct{}, 1)}
	var err error
	s.http, s.base, err = c.client(nil)
	return s, err
}

// client makes a client of Vault's API without a token, which shows a
// certificate where it has one.
func (c Config) client(certificate *tls.Certificate) (*http.Client, *api.Client, error) {
	httpClient, err := webclient.New(webclient.Options{CAFile: c.CAFile})
	if err != nil {
		return nil, nil, rotator.Field("ca_file", err)
	}
	if transport, ok := httpClient.Transport.(*http.Transport); ok && certificate != nil {
		// Shown whatever the server asks for: it may list other authorities than those that its log-in trusts.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
	}
	httpClient.Transport = bounded{httpClient.Transport}
	sameHost := httpClient.CheckRedirect
	httpClient.CheckRedirect = func(next *http.Request, before []*http.Request) error {
		if err := sameHost(next, before); err != nil {
			return &elsewhere{next.URL.Host}
		}
		return nil
	}
	base, err := api.NewClient(&api.Config{Address: c.Address, HttpClient: httpClient})
	if err != nil {
		return nil, nil, fmt.Errorf("make Vault client (a VAULT_* variable of the environment may be malformed): %w", err)
	}
	// The client has taken token, namespace and headers from the environment.
	base.ClearToken()
	headers := http.Header{api.RequestHeaderName: {"true"}}
	if c.Namespace != "" {
		headers.Set(api.NamespaceHeaderName, c.Namespace)
	}
	base.SetHeaders(headers)
	base.SetMaxRetries(0)
	return httpClient, base, nil
}

// close closes the connections that wait for the next call.
func (s *session) close() {
	s.http.CloseIdleConnections()
	if own := s.own.Load(); own != nil {
		own.CloseIdleConnections()
	}
}

// do makes a call with a token that works. When Vault refuses it, and not the
// policy but the token is to blame, it is made once more with a new log-in.
func (s *session) do(ctx context.Context, call func(*api.Client) error) error {
	err := s.try(ctx, call)
	if statusOf(err) != http.StatusServiceUnavailable {
		return err
	}
	// Of a Vault that was never initialised, every call says that it is sealed.
	if state, asked := s.base.Sys().SealStatusWithContext(ctx); asked == nil && state != nil && !state.Initialized {
		return rotator.Unsent(&answered{http.StatusServiceUnavailable, "Vault is not initialised: run `vault operator init` first; is this the right address?"})
	}
	return err
}

func (s *session) try(ctx context.Context, call func(*api.Client) error) error {
	now, err := s.ready(ctx)
	if err != nil {
		return err
	}
	refused := call(now.client)
	if statusOf(refused) != http.StatusForbidden {
		return refused
	}
	again, err := s.after(ctx, now)
	if err != nil {
		return err
	}
	if again == nil {
		return refused
	}
	return call(again.client)
}

// ready returns a log-in that is not near its end.
func (s *session) ready(ctx context.Context) (*login, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	switch {
	case s.now == nil:
		return s.logIn(ctx)
	case s.now.renewAt.IsZero() || time.Now().Before(s.now.renewAt):
		return s.now, nil
	}
	if s.now.renewable {
		renewed, err := s.now.client.Auth().Token().RenewSelfWithContext(ctx, 0)
		response, refused := errors.AsType[*api.ResponseError](err)
		s.fixed = refused && response.StatusCode == http.StatusForbidden
		// Near the end of the longest life that Vault allows, renewing gives less and less.
		if err == nil && renewed != nil && renewed.Auth != nil && lifeOf(renewed.Auth)*2 >= s.now.life {
			s.now.ends(lifeOf(renewed.Auth))
			return s.now, nil
		}
	}
	return s.logIn(ctx)
}

// after says how to go on after a refusal: with a new log-in, or not (nil) when
// the token itself is fine. It logs in once, whatever comes of it.
func (s *session) after(ctx context.Context, refused *login) (*login, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if s.now != refused && s.now != nil {
		return s.now, nil // another call was here first
	}
	if _, err := s.lookUp(ctx, refused.client); statusOf(err) != http.StatusForbidden {
		return nil, beforeWrite(err) // the token is fine, or nobody can tell now
	}
	s.now = nil
	again, err := s.logIn(ctx)
	if err == nil && again.client.Token() == refused.client.Token() {
		s.now = nil
		text := "log in: the token is refused: it is wrong, expired or revoked, or may not even read \"auth/token/lookup-self\"; " + methods()[s.auth.Method].mend
		if s.fixed {
			text += `, with a policy that gives the capability "update" on "auth/token/renew-self": the last one was not allowed to renew itself`
		}
		return nil, rotator.Permanent(&answered{http.StatusForbidden, text})
	}
	return again, err
}

// ends sets when the log-in is to be renewed, from the rest of its life.
func (l *login) ends(life time.Duration) {
	l.renewAt = time.Time{}
	if life > 0 {
		l.renewAt = time.Now().Add(life * 2 / 3)
	}
}

func lifeOf(auth *api.SecretAuth) time.Duration {
	return time.Duration(auth.LeaseDuration) * time.Second
}

// lock waits for the turn, as long as ctx allows.
func (s *session) lock(ctx context.Context) error { return take(ctx, s.turn) }

func (s *session) unlock() { <-s.turn }

func take(ctx context.Context, turn chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return rotator.Unsent(ctx.Err())
	}
}

// bounded limits the length of every answer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(request)
	if answer != nil && answer.Body != nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, webclient.MaxBody)
	}
	return answer, err
}

// CloseIdleConnections makes http.Client.CloseIdleConnections reach the transport.
func (b bounded) CloseIdleConnections() {
	if closer, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
