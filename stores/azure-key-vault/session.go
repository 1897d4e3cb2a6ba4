package azurekeyvaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A session holds the log-in. It logs in when the first call needs it, and once
// more, from the start, when the vault refuses a token.
type session struct {
	config    Config
	http      *http.Client
	transport *http.Transport // below http
	turn      chan struct{}
	now       *azsecrets.Client
}

func newSession(c Config) (*session, error) {
	client, err := webclient.New(webclient.Options{CAFile: c.CAFile})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("make client: it has no transport")
	}
	client.Transport = bounded{transport}
	return &session{config: c, http: client, transport: transport, turn: make(chan struct{}, 1)}, nil
}

// ask makes one call with a log-in that works. When the vault refuses the token,
// the call is made once more with a new log-in.
func ask[T any](ctx context.Context, s *session, this call, do func(*azsecrets.Client) (T, error)) (T, error) {
	var none T
	now, err := s.ready(ctx, nil)
	if err != nil {
		return none, err
	}
	answer, err := do(now)
	if err = this.explain(ctx, err); refusalOf(err).status != http.StatusUnauthorized {
		return answer, err
	}
	if now, err = s.ready(ctx, now); err != nil {
		return none, err
	}
	answer, err = do(now)
	return answer, this.explain(ctx, err)
}

// ready returns a client, and another one than refused.
func (s *session) ready(ctx context.Context, refused *azsecrets.Client) (*azsecrets.Client, error) {
	if err := take(ctx, s.turn); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	if s.now != nil && s.now != refused {
		return s.now, nil
	}
	options := azcore.ClientOptions{
		Transport: s.http,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the engine retries
		Cloud:     cloudOf(s.config.VaultURL),
	}
	found, err := s.credential(ctx, options)
	if err != nil {
		return nil, err
	}
	// The challenge's resource stays verified: a vault that asks for a token of
	// another domain than its own gets none.
	login := &logIn{TokenCredential: found}
	login.anew.Store(refused != nil && s.config.Auth.Method == "managed_identity")
	client, err := azsecrets.NewClient(s.config.VaultURL, login, &azsecrets.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, rotator.Permanent(errors.New("make client: the settings are not usable"))
	}
	s.now = client
	return client, nil
}

// cloudOf says where to log in, by the domain of the vault.
func cloudOf(vault string) cloud.Configuration {
	switch {
	case strings.HasSuffix(vault, ".azure.cn"):
		return cloud.AzureChina
	case strings.HasSuffix(vault, ".usgovcloudapi.net"):
		return cloud.AzureGovernment
	}
	return cloud.AzurePublic
}

// credential makes the log-in anew, files and sources included.
func (s *session) credential(ctx context.Context, options azcore.ClientOptions) (found azcore.TokenCredential, err error) {
	a := s.config.Auth
	switch a.Method {
	case "client_secret":
		secret, readErr := a.ClientSecret.Get(ctx)
		if readErr != nil {
			return nil, beforeWrite(fmt.Errorf("log in: %w", readErr))
		}
		found, err = azidentity.NewClientSecretCredential(a.TenantID, a.ClientID, secret.Reveal(), &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case "workload_identity":
		found, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, TenantID: a.TenantID, ClientID: a.ClientID, TokenFilePath: a.TokenFile,
		})
	case "managed_identity":
		identity := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if a.ClientID != "" {
			identity.ID = azidentity.ClientID(a.ClientID)
		}
		found, err = azidentity.NewManagedIdentityCredential(identity)
	default:
		found, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, TenantID: a.TenantID})
	}
	if err != nil {
		return nil, rotator.Permanent(fmt.Errorf("log in: method %s has not all that it needs, in the settings or the environment", a.Method))
	}
	return found, nil
}

// logIn keeps errors of the log-in apart from those of the vault.
type logIn struct {
	azcore.TokenCredential
	anew atomic.Bool // the library keeps a token of before, which was refused
}

func (l *logIn) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	// Tokens of managed identities are kept for the whole process, beyond the
	// credential; only a request with claims passes over them.
	if l.anew.Swap(false) && options.Claims == "" {
		options.Claims = "{}"
	}
	token, err := l.TokenCredential.GetToken(ctx, options)
	if err != nil {
		return azcore.AccessToken{}, &logInError{explainLogIn(ctx, err)}
	}
	return token, nil
}

// take waits for the turn, as long as ctx allows.
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
type bounded struct{ *http.Transport }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.Transport.RoundTrip(request)
	if answer != nil && answer.Body != nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, webclient.MaxBody)
	}
	return answer, err
}
