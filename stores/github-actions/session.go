package githubactionsstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-github/v89/github"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

const (
	// An App's own token may live ten minutes at most, and GitHub asks to date it
	// a minute back for clocks that differ.
	// Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
	jwtLife = 9 * time.Minute
	jwtBack = time.Minute
	// renewBefore is how long before its end an installation's token is no longer used.
	renewBefore = 5 * time.Minute
	callTimeout = 30 * time.Second
)

// A session holds the log-in. It logs in when the first call needs it, again
// before an installation's token ends, and once more when the log-in is refused.
type session struct {
	http *http.Client
	base *github.Client // without a log-in
	auth Auth
	turn chan struct{} // of one: whoever put something in may use now
	now  *login
}

// A login is a token that works, as far as we know.
type login struct {
	client *github.Client
	token  string
	ends   time.Time                       // zero: not known
	may    *github.InstallationPermissions // of an App; nil: not known
}

func newSession(c Config) (*session, error) {
	httpClient, err := webclient.New(webclient.Options{CAFile: c.CAFile})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	httpClient.Transport = bounded{httpClient.Transport}
	httpClient.Timeout = 0 // a call has its own: the GitHub client closes no body of a refusal, which only the end of a ctx frees
	// GitHub redirects the old name of a repository. To follow would write to a
	// place that the configuration does not name, and turns some writes into reads.
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error {
		return rotator.Permanent(errors.New("GitHub says that it has moved: it was renamed or transferred; use its new name"))
	}
	address := c.BaseURL
	base, err := github.NewClient(
		github.WithHTTPClient(httpClient), github.WithURLs(&address, nil),
		github.WithUserAgent("rotatord"), github.WithDisableRateLimitCheck()) // the engine waits, not the client
	if err != nil {
		return nil, rotator.Field("base_url", errors.New("is not a URL"))
	}
	return &session{http: httpClient, base: base, auth: c.Auth, turn: make(chan struct{}, 1)}, nil
}

// send makes one call with a log-in that works, and returns the answer's header.
// A refused log-in is replaced once. into may be nil.
func (s *session) send(ctx context.Context, c call, method, path string, body, into any) (http.Header, error) {
	now, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	header, err := now.send(ctx, c, method, path, body, into)
	if statusOf(err) != http.StatusUnauthorized {
		return header, err
	}
	again, err := s.after(ctx, now)
	if err != nil {
		return nil, err
	}
	return again.send(ctx, c, method, path, body, into)
}

func (l *login) send(ctx context.Context, c call, method, path string, body, into any) (http.Header, error) {
	if err := ctx.Err(); err != nil {
		return nil, rotator.Unsent(fmt.Errorf("%s: %w", c.what, context.Cause(ctx)))
	}
	inner, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := l.client.NewRequest(inner, method, path, body)
	if err != nil {
		return nil, rotator.Permanent(fmt.Errorf("%s: the request can't be made", c.what))
	}
	response, err := l.client.Do(request, into)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return response.Header, nil
}

// ready returns a log-in that is not near its end.
func (s *session) ready(ctx context.Context) (*login, error) {
	if err := take(ctx, s.turn); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	if s.now != nil && (s.now.ends.IsZero() || time.Until(s.now.ends) > renewBefore) {
		return s.now, nil
	}
	return s.logIn(ctx)
}

// after returns another log-in than the refused one, or says that there is none.
func (s *session) after(ctx context.Context, refused *login) (*login, error) {
	if err := take(ctx, s.turn); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	if s.now != refused && s.now != nil {
		return s.now, nil // another call was here first
	}
	s.now = nil
	again, err := s.logIn(ctx)
	if err == nil && again.token == refused.token {
		s.now = nil
		return nil, rotator.Permanent(&answered{http.StatusUnauthorized, "log in: the token is refused: it is wrong, expired or revoked"})
	}
	return again, err
}

// logIn replaces the log-in. The caller has the turn. It never has an effect on a secret.
func (s *session) logIn(ctx context.Context) (*login, error) {
	var now *login
	var err error
	if s.auth.Method == "app" {
		now, err = s.installation(ctx)
	} else {
		var token rotator.Secret
		token, err = s.auth.Token.Get(ctx)
		now = &login{token: strings.TrimSpace(token.Reveal())}
	}
	if err != nil {
		return nil, beforeWrite(fmt.Errorf("log in: %w", err))
	}
	if now.client, err = s.with(now.token); err != nil {
		return nil, err
	}
	s.now = now
	return now, nil
}

// with returns a client that logs in with a token.
func (s *session) with(token string) (*github.Client, error) {
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, rotator.Permanent(errors.New("log in: what should be the token has characters that no token has"))
	}
	client, err := s.base.Clone(github.WithAuthToken(token))
	if err != nil {
		return nil, rotator.Permanent(errors.New("log in: the GitHub client can't be copied"))
	}
	return client, nil
}

// installation asks for a token of the App's installation, with all that the App may do.
func (s *session) installation(ctx context.Context) (*login, error) {
	pem, err := s.auth.PrivateKey.Get(ctx)
	if err != nil {
		return nil, err
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(pem.Reveal()))
	if err != nil {
		return nil, rotator.Permanent(errors.New("the private key is not an RSA key in PEM"))
	}
	now := time.Now()
	own, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: s.auth.AppID, IssuedAt: jwt.NewNumericDate(now.Add(-jwtBack)), ExpiresAt: jwt.NewNumericDate(now.Add(jwtLife)),
	}).SignedString(key)
	if err != nil {
		return nil, rotator.Permanent(errors.New("the private key can't sign"))
	}
	client, err := s.with(own)
	if err != nil {
		return nil, err
	}
	this := call{fmt.Sprintf("ask for a token of installation %d", s.auth.InstallationID), "an installation of this App that is not suspended"}
	var made github.InstallationToken
	_, err = (&login{client: client}).send(ctx, this, http.MethodPost, fmt.Sprintf("app/installations/%d/access_tokens", s.auth.InstallationID), nil, &made)
	switch {
	case statusOf(err) == http.StatusUnauthorized:
		return nil, rotator.Permanent(&answered{http.StatusForbidden, this.what + ": the App is refused; check app_id, private_key and this machine's clock"})
	case statusOf(err) == http.StatusNotFound:
		return nil, rotator.Permanent(&answered{http.StatusForbidden, this.what + ": the App has no such installation; check installation_id"})
	case err != nil:
		return nil, err
	case made.GetToken() == "":
		return nil, errors.New(this.what + ": the answer has no token")
	}
	return &login{token: made.GetToken(), ends: made.GetExpiresAt().Time, may: made.Permissions}, nil
}

func take(ctx context.Context, turn chan struct{}) error {
	if ctx.Err() != nil {
		return rotator.Unsent(context.Cause(ctx))
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return rotator.Unsent(context.Cause(ctx))
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
