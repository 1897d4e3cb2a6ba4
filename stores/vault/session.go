package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A session holds the log-in. It logs in when the first call needs it, renews
// when two thirds of the token's life are over, and logs in again when that
// does not work or the token is refused.
type session struct {
	http *http.Client
	base *api.Client // without a token
	auth Auth
	turn chan struct{} // of one: whoever put something in may use current
	now  *login
}

// A login is a token that works, as far as we know.
type login struct {
	client    *api.Client
	life      time.Duration // when we logged in; 0: no end, or it is unknown
	renewAt   time.Time     // zero: never
	renewable bool
}

func newSession(c Config) (*session, error) {
	httpClient, err := webclient.New(webclient.Options{CAFile: c.CAFile})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	httpClient.Transport = bounded{httpClient.Transport}
	base, err := api.NewClient(&api.Config{Address: c.Address, HttpClient: httpClient})
	if err != nil {
		return nil, fmt.Errorf("make Vault client (a VAULT_* variable of the environment may be malformed): %w", err)
	}
	// The client has taken token, namespace and headers from the environment.
	base.ClearToken()
	headers := http.Header{api.RequestHeaderName: {"true"}}
	if c.Namespace != "" {
		headers.Set(api.NamespaceHeaderName, c.Namespace)
	}
	base.SetHeaders(headers)
	base.SetMaxRetries(0)
	return &session{http: httpClient, base: base, auth: c.Auth, turn: make(chan struct{}, 1)}, nil
}

// do makes a call with a token that works. When Vault refuses it, and not the
// policy but the token is to blame, it is made once more with a new log-in.
func (s *session) do(ctx context.Context, call func(*api.Client) error) error {
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
		// Near the end of the longest life that Vault allows, renewing gives less and less.
		if err == nil && renewed != nil && renewed.Auth != nil && lifeOf(renewed.Auth)*2 >= s.now.life {
			s.now.ends(lifeOf(renewed.Auth))
			return s.now, nil
		}
	}
	return s.logIn(ctx)
}

// after says how to go on after a refusal: with a new log-in, or not (nil) when
// the token itself is fine.
func (s *session) after(ctx context.Context, refused *login) (*login, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if s.now != refused && s.now != nil {
		return s.now, nil // another call was here first
	}
	if _, err := s.lookUp(ctx, refused.client); err == nil {
		return nil, nil //nolint:nilnil // documented: nil means that the token is fine
	}
	s.now = nil
	again, err := s.logIn(ctx)
	if err == nil && again.client.Token() == refused.client.Token() {
		s.now = nil
		return nil, rotator.Permanent(&answered{
			status: http.StatusForbidden,
			text:   "log in: the token is refused: it is wrong or expired, or its policies allow nothing here",
		})
	}
	return again, err
}

// logIn replaces the log-in. The caller has the turn.
func (s *session) logIn(ctx context.Context) (*login, error) {
	client, err := s.base.CloneWithHeaders()
	if err != nil {
		return nil, errors.New("log in: the Vault client can't be copied")
	}
	client.ClearToken() // the copy has taken one from the environment
	method, token, err := s.method(ctx)
	if err != nil {
		return nil, beforeWrite(fmt.Errorf("log in: %w", err))
	}
	now := &login{client: client}
	if method == nil {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, rotator.Permanent(errors.New("log in: what should be the token has characters that no token has"))
		}
		client.SetToken(token)
		// A token that may not look at itself can still do its work.
		info, err := s.lookUp(ctx, client)
		if err != nil && statusOf(err) != http.StatusForbidden {
			return nil, beforeWrite(err)
		}
		if info != nil {
			now.life, _ = info.TokenTTL()
			now.renewable, _ = info.TokenIsRenewable()
		}
	} else {
		secret, err := client.Auth().Login(ctx, method)
		if err != nil {
			to := call{"log in at", "auth/" + s.auth.Mount, "update"}
			return nil, beforeWrite(to.explainLogIn(ctx, err))
		}
		now.life, now.renewable = lifeOf(secret.Auth), secret.Auth.Renewable
	}
	now.ends(now.life)
	s.now = now
	return now, nil
}

// method returns how to log in or, where nothing is to be asked, the token.
// The files and sources are read anew each time.
func (s *session) method(ctx context.Context) (api.AuthMethod, string, error) {
	switch s.auth.Method {
	case "token":
		token, err := s.auth.Token.Get(ctx)
		return nil, token.Reveal(), err
	case "token_file":
		token, err := rotator.SecretSource{File: s.auth.TokenFile}.Get(ctx)
		return nil, strings.TrimSpace(token.Reveal()), err
	case "approle":
		secretID, err := s.auth.SecretID.Get(ctx)
		if err != nil {
			return nil, "", err
		}
		method, err := approle.NewAppRoleAuth(s.auth.RoleID, &approle.SecretID{FromString: secretID.Reveal()}, approle.WithMountPath(s.auth.Mount))
		return method, "", err
	case "kubernetes":
		jwt, err := os.ReadFile(s.auth.JWTFile)
		if err != nil {
			return nil, "", err
		}
		method, err := kubernetes.NewKubernetesAuth(s.auth.Role,
			kubernetes.WithServiceAccountToken(strings.TrimSpace(string(jwt))), kubernetes.WithMountPath(s.auth.Mount))
		return method, "", err
	}
	return nil, "", rotator.Permanent(fmt.Errorf("method %q is not known", s.auth.Method))
}

// explainLogIn is explain for a log-in: AppRole answers 400 to a wrong secret ID.
func (c call) explainLogIn(ctx context.Context, err error) error {
	var response *api.ResponseError
	if ctx.Err() == nil && errors.As(err, &response) &&
		(response.StatusCode == http.StatusBadRequest || response.StatusCode == http.StatusForbidden) {
		return rotator.Permanent(&answered{response.StatusCode, fmt.Sprintf("%s %q: refused; check role, secret and mount", c.verb, c.path)})
	}
	return c.explain(ctx, err)
}

func (s *session) lookUp(ctx context.Context, client *api.Client) (*api.Secret, error) {
	secret, err := client.Auth().Token().LookupSelfWithContext(ctx)
	return secret, call{"look up", "auth/token/lookup-self", "read"}.explain(ctx, err)
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
