// Package awsclient is how the stores at AWS log in and name what went wrong:
// the default credential chain, a role to assume, and errors that are
// classified and hold nothing of what was sent or answered.
//
// It never retries, with one exception: a call whose log-in is refused is made
// once more with a log-in that is read anew. It opens nothing before the first
// call, and never logs.
//
// To add a service, make a Session with the constructor of its client, and send
// every call through Session.Do.
package awsclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// Config are the settings that every store at AWS has. It is inlined into theirs.
type Config struct {
	Region      string `yaml:"region" json:"region" jsonschema:"required,description=Region\\, for example eu-west-1"`
	Profile     string `yaml:"profile,omitempty" json:"profile,omitempty" jsonschema:"description=Profile of the shared AWS files to log in with (default: $AWS_PROFILE\\, else default)"`
	RoleARN     string `yaml:"role_arn,omitempty" json:"role_arn,omitempty" jsonschema:"description=Role to assume with what the default credential chain gives"`
	ExternalID  string `yaml:"external_id,omitempty" json:"external_id,omitempty" jsonschema:"description=External ID that the role's trust policy asks for"`
	Endpoint    string `yaml:"endpoint,omitempty" json:"endpoint,omitempty" jsonschema:"description=URL of the service instead of AWS's public one\\, for example that of a VPC endpoint"`
	STSEndpoint string `yaml:"sts_endpoint,omitempty" json:"sts_endpoint,omitempty" jsonschema:"description=URL of STS\\, which is asked for role_arn\\, instead of the one of the region"`
	AllowHTTP   bool   `yaml:"allow_http,omitempty" json:"allow_http,omitempty" jsonschema:"description=Allow an endpoint without TLS on another host; all values then travel in the clear"`
	CAFile      string `yaml:"ca_file,omitempty" json:"ca_file,omitempty" jsonschema:"description=PEM file with the only CAs to trust (default: $AWS_CA_BUNDLE\\, else those of the system)"`
}

var regionName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)

// Validate finds mistakes offline. Its fields are those of the store it is inlined into.
func (c Config) Validate() error {
	var role, external error
	if parsed, err := arn.Parse(c.RoleARN); c.RoleARN != "" && (err != nil || parsed.Service != "iam") {
		role = errors.New("must be the ARN of a role, like arn:aws:iam::123456789012:role/rotatord")
	}
	if c.ExternalID != "" && c.RoleARN == "" {
		external = errors.New("goes with role_arn only")
	}
	var region error
	if !regionName.MatchString(c.Region) {
		region = errors.New("must be a region's name, for example eu-west-1")
	}
	return errors.Join(
		rotator.Field("region", region),
		rotator.Field("role_arn", role),
		rotator.Field("external_id", external),
		rotator.Field("endpoint", checkEndpoint(c.Endpoint, c.AllowHTTP)),
		rotator.Field("sts_endpoint", checkEndpoint(c.STSEndpoint, c.AllowHTTP)),
	)
}

func checkEndpoint(endpoint string, allowHTTP bool) error {
	if endpoint == "" {
		return nil
	}
	parsed, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case parsed.Scheme != "https" && parsed.Scheme != "http", parsed.Host == "":
		return errors.New("must be a URL like https://vpce-0abc.secretsmanager.eu-west-1.vpce.amazonaws.com")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return errors.New("must not have a user, a query or a fragment")
	}
	return webclient.CheckTLS(parsed, allowHTTP)
}

// A Session holds the log-in of one store and the client of its service.
type Session[Client any] struct {
	config Config
	http   *http.Client
	client func(aws.Config) Client
	turn   chan struct{} // of one: whoever put something in may use now
	now    *login[Client]
}

type login[Client any] struct {
	credentials aws.CredentialsProvider
	client      Client
}

// New makes a session. It reads ca_file and calls nobody. client makes the
// service's client out of settings with log-in, region and endpoint.
func New[Client any](c Config, client func(aws.Config) Client) (*Session[Client], error) {
	made, err := webclient.New(webclient.Options{CAFile: cmp.Or(c.CAFile, os.Getenv("AWS_CA_BUNDLE"))})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	made.Transport = bounded{made.Transport}
	return &Session[Client]{config: c, http: made, client: client, turn: make(chan struct{}, 1)}, nil
}

// Close closes the connections that wait for the next call.
func (s *Session[Client]) Close() error {
	s.http.CloseIdleConnections()
	return nil
}

// Do makes one call with a log-in that works. When the log-in is refused, it is
// made once more with a new one. Errors are those of Call.explain.
func (s *Session[Client]) Do(ctx context.Context, c Call, call func(context.Context, Client) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now, err := s.ready(ctx, nil)
	if err != nil {
		return err
	}
	err = c.explain(ctx, call(ctx, now.client))
	if !logInRefused(CodeOf(err)) {
		return err
	}
	again, err := s.ready(ctx, now)
	if err != nil {
		return err
	}
	return c.explain(ctx, call(ctx, again.client))
}

// ready returns a log-in other than the one that was refused.
func (s *Session[Client]) ready(ctx context.Context, refused *login[Client]) (*login[Client], error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, rotator.Unsent(ctx.Err())
	}
	defer func() { <-s.turn }()
	if s.now == refused {
		s.now = nil
	}
	for {
		fresh := s.now == nil
		if fresh {
			now, err := s.logIn(ctx)
			if err != nil {
				return nil, s.explainLogIn(ctx, err)
			}
			s.now = now
		}
		_, err := s.now.credentials.Retrieve(ctx) // kept until they expire
		if err == nil {
			return s.now, nil
		}
		s.now = nil
		if fresh || ctx.Err() != nil {
			return nil, s.explainLogIn(ctx, err)
		}
	}
}

// logIn reads environment and shared files anew: somebody may have changed them.
func (s *Session[Client]) logIn(ctx context.Context) (*login[Client], error) {
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithRegion(s.config.Region),
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // the engine retries
		awsconfig.WithLogger(logging.Nop{}),
	}
	if s.config.Profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(s.config.Profile))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	loaded.HTTPClient = s.http
	if s.config.RoleARN != "" {
		asking := sts.NewFromConfig(loaded, func(o *sts.Options) {
			if s.config.STSEndpoint != "" {
				o.BaseEndpoint = &s.config.STSEndpoint
			}
		})
		role := stscreds.NewAssumeRoleProvider(asking, s.config.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "rotatord"
			if s.config.ExternalID != "" {
				o.ExternalID = &s.config.ExternalID
			}
		})
		loaded.Credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = time.Minute })
	}
	if s.config.Endpoint != "" {
		loaded.BaseEndpoint = &s.config.Endpoint
	}
	if loaded.Credentials == nil {
		return nil, errors.New("no credentials")
	}
	return &login[Client]{credentials: loaded.Credentials, client: s.client(loaded)}, nil
}

// explainLogIn says why there is no log-in, without the SDK's words.
func (s *Session[Client]) explainLogIn(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
		return rotator.Unsent(fmt.Errorf("log in: the shared AWS files have no profile %q", cmp.Or(s.config.Profile, os.Getenv("AWS_PROFILE"))))
	}
	code, status := codeAndStatus(err)
	switch {
	case s.config.RoleARN != "" && (code == "AccessDenied" || logInRefused(code)):
		return rotator.Permanent(&answered{code, fmt.Sprintf(
			"log in: assume role %q: refused (%s); check the log-in that assumes it, the role's trust policy and external_id", s.config.RoleARN, showable(code))})
	case slices.Contains(throttledCodes, code), slices.Contains(laterCodes, code):
		return rotator.Unsent(fmt.Errorf("log in: AWS asks to come back later (%s)", showable(code)))
	case status != 0 || isNetwork(err):
		return BeforeWrite(fmt.Errorf("log in: %w", byStatus(ctx, code, status, err)))
	}
	return rotator.Unsent(errors.New("log in: no credentials: looked at the environment, the shared AWS files, and what container or instance give"))
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
