package gcpsecretmanagerstore

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/credentials/impersonate"
	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

const (
	scope = "https://www.googleapis.com/auth/cloud-platform"
	// longestPause between two tries to connect, below the pauses of the engine.
	longestPause = 10 * time.Second
)

// A session holds the log-in and the connection. It logs in when the first
// call needs it, and once more, from the start, when the API refuses a token.
type session struct {
	config Config
	http   *http.Client // for the log-in
	tls    *tls.Config  // for the API
	turn   chan struct{}
	now    *login
}

// A login is a way to tokens that works, as far as we know, and a connection.
type login struct {
	credentials *auth.Credentials
	conn        *grpc.ClientConn
	client      *secretmanager.Client
}

func newSession(c Config) (*session, error) {
	client, err := webclient.New(webclient.Options{CAFile: c.CAFile})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("make client: it has no TLS settings")
	}
	tlsConfig := transport.TLSClientConfig.Clone()
	client.Transport = bounded{transport}
	return &session{config: c, http: client, tls: tlsConfig, turn: make(chan struct{}, 1)}, nil
}

// ask makes one call with a log-in that works. When the API refuses the token,
// the call is made once more with a new log-in.
func ask[T any](ctx context.Context, s *session, this call, do func(context.Context, *secretmanager.Client, ...gax.CallOption) (T, error)) (T, error) {
	var none T
	now, err := s.ready(ctx, nil)
	if err != nil {
		return none, err
	}
	answer, err := once(ctx, now, this, do)
	if codeOf(err) != codes.Unauthenticated {
		return answer, err
	}
	if now, err = s.ready(ctx, now); err != nil {
		return none, err
	}
	return once(ctx, now, this, do)
}

func once[T any](ctx context.Context, now *login, this call, do func(context.Context, *secretmanager.Client, ...gax.CallOption) (T, error)) (T, error) {
	var none T
	token, err := now.credentials.Token(ctx)
	if err != nil {
		return none, logInError(ctx, err)
	}
	header := []string{"authorization", "Bearer " + token.Value}
	if project, err := now.credentials.QuotaProjectID(ctx); err == nil && project != "" {
		header = append(header, "x-goog-user-project", project)
	}
	// The peer is known once the request has a connection to leave on.
	var to peer.Peer
	answer, err := do(metadata.AppendToOutgoingContext(ctx, header...), now.client, gax.WithGRPCOptions(grpc.Peer(&to)))
	if err != nil {
		return none, this.explain(ctx, err, to.Addr != nil || isAnswer(err))
	}
	return answer, nil
}

// isAnswer tells a refusal that only the service can have sent from an error of
// the connection.
func isAnswer(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Unknown, codes.Internal:
		return false
	default:
		return true
	}
}

// ready returns a log-in, and another one than refused.
func (s *session) ready(ctx context.Context, refused *login) (*login, error) {
	if err := take(ctx, s.turn); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	if s.now != nil && s.now != refused {
		return s.now, nil
	}
	found, err := s.credentials()
	if err != nil {
		return nil, err
	}
	if s.now != nil { // its calls under way go on
		s.now = &login{credentials: found, conn: s.now.conn, client: s.now.client}
		return s.now, nil
	}
	conn, err := grpc.NewClient(s.config.address(),
		grpc.WithTransportCredentials(grpccredentials.NewTLS(s.tls)),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestPause},
			MinConnectTimeout: longestPause,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(webclient.MaxBody)))
	if err != nil {
		return nil, rotator.Permanent(errors.New("connect: the endpoint is not host:port"))
	}
	client, err := secretmanager.NewClient(ctx, option.WithGRPCConn(conn), option.WithLogger(silent()))
	if err != nil {
		_ = conn.Close()
		return nil, rotator.Permanent(errors.New("connect: the client can't be made"))
	}
	client.CallOptions = &secretmanager.CallOptions{} // neither retries nor time-outs of its own
	s.now = &login{credentials: found, conn: conn, client: client}
	return s.now, nil
}

// silent keeps the libraries from writing requests, values included, to standard
// error where a variable of the environment asks for that.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

// credentials finds the log-in anew, files included.
func (s *session) credentials() (*auth.Credentials, error) {
	options := &credentials.DetectOptions{Scopes: []string{scope}, Client: s.http, DisableAsyncRefresh: true, Logger: silent()}
	var found *auth.Credentials
	var err error
	if s.config.CredentialsFile == "" {
		if found, err = credentials.DetectDefault(options); err != nil {
			return nil, rotator.Unsent(errors.New("log in: there are no application default credentials, or they can't be read; set credentials_file"))
		}
	} else if found, err = fromFile(s.config.CredentialsFile, options); err != nil {
		return nil, err
	}
	if s.config.Impersonate == "" {
		return found, nil
	}
	as, err := impersonate.NewCredentials(&impersonate.CredentialsOptions{
		TargetPrincipal: s.config.Impersonate,
		Scopes:          []string{scope},
		Credentials:     found,
		Logger:          silent(),
		Client:          &http.Client{Transport: authorized{s.http.Transport, found}, Timeout: s.http.Timeout, CheckRedirect: s.http.CheckRedirect},
	})
	if err != nil {
		return nil, rotator.Permanent(fmt.Errorf("log in: act as %q: the settings are not usable", s.config.Impersonate))
	}
	return as, nil
}

// fromFile reads a credentials file of the kinds that are not interactive.
func fromFile(name string, options *credentials.DetectOptions) (*auth.Credentials, error) {
	raw, err := os.ReadFile(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, rotator.Unsent(fmt.Errorf("log in: read credentials_file: %w", err))
	}
	var file struct {
		Type credentials.CredType `json:"type"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, rotator.Permanent(fmt.Errorf("log in: %q is not a credentials file", name))
	}
	switch file.Type {
	case credentials.ServiceAccount, credentials.AuthorizedUser, credentials.ExternalAccount, credentials.ImpersonatedServiceAccount:
	default:
		return nil, rotator.Permanent(fmt.Errorf("log in: %q is not a credentials file of a known type", name))
	}
	found, err := credentials.NewCredentialsFromJSON(file.Type, raw, options)
	if err != nil {
		return nil, rotator.Permanent(fmt.Errorf("log in: the %s in %q is not usable", file.Type, name))
	}
	return found, nil
}

// close ends the connection; the next call makes another one.
func (s *session) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.now != nil {
		_ = s.now.client.Close()
		s.now = nil
	}
	s.http.CloseIdleConnections()
}

// take waits for the turn, as long as ctx allows.
func take(ctx context.Context, turn chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return rotator.Unsent(context.Cause(ctx))
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return rotator.Unsent(context.Cause(ctx))
	}
}

// authorized adds the log-in's token, to ask for one of another account.
type authorized struct {
	base http.RoundTripper
	with *auth.Credentials
}

func (a authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	token, err := a.with.Token(request.Context())
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+token.Value)
	answer, err := a.base.RoundTrip(request)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		_ = answer.Body.Close()
		return nil, &auth.Error{Response: answer} // which the library would make a text of
	}
	return answer, err
}

// bounded limits the length of every answer of the log-in.
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.Transport.RoundTrip(request)
	if answer != nil && answer.Body != nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, webclient.MaxBody)
	}
	return answer, err
}
