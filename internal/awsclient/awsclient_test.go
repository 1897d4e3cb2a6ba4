package awsclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/awssim"
	"github.com/rotatord/rotatord/rotator"
)

const (
	oldKey, oldSecret = "AKIAROTATORDTEST0001", "s3cr3t-old"
	newKey, newSecret = "AKIAROTATORDTEST0002", "s3cr3t-new"
	roleARN           = "arn:aws:iam::123456789012:role/rotatord"
)

// logIn makes shared AWS files with one profile, and keeps what this machine
// has away from the test. The function it returns changes the profile.
func logIn(t *testing.T) (change func(accessKey, secretKey string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials")
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	change = func(accessKey, secretKey string) {
		text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(oldKey, oldSecret)
	return change
}

// served returns a stand-in and its address.
func served(t *testing.T) (*awssim.Sim, string) {
	t.Helper()
	sim := awssim.New(oldKey, oldSecret)
	sim.Write("crm", "v")
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return sim, server.URL
}

// asking returns what reads a secret over a session.
func asking(t *testing.T, c awsclient.Config) func(context.Context) error {
	t.Helper()
	c.Region = awssim.Region
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	session, err := awsclient.New(c, func(loaded aws.Config) *secretsmanager.Client { return secretsmanager.NewFromConfig(loaded) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return func(ctx context.Context) error {
		call := awsclient.Call{Verb: "read", Object: "crm", Action: "secretsmanager:GetSecretValue"}
		return session.Do(ctx, call, func(ctx context.Context, c *secretsmanager.Client) error {
			_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("crm")})
			return err
		})
	}
}

// The log-in ends in the middle: what is in the files by then is taken up, once.
func TestLogInEnds(t *testing.T) {
	for _, code := range []string{"ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"} {
		change := logIn(t)
		sim, url := served(t)
		ask := asking(t, awsclient.Config{Endpoint: url})
		if err := ask(t.Context()); err != nil {
			t.Fatal(err)
		}
		sim.Refuse(oldKey, code)
		sim.Accept(newKey, newSecret, "")
		calls := sim.Calls("GetSecretValue")
		err := ask(t.Context())
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "log-in is refused ("+code+")") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v; want a permanent error of the log-in", code, err)
		}
		if made := sim.Calls("GetSecretValue") - calls; made != 2 {
			t.Errorf("%s: %d calls; want one, and one with a new log-in", code, made)
		}
		change(newKey, newSecret)
		if err := ask(t.Context()); err != nil {
			t.Errorf("%s: after the files have a new log-in: %v; want nil", code, err)
		}
	}
}

func TestNoLogIn(t *testing.T) {
	logIn(t)
	_, url := served(t)
	err := asking(t, awsclient.Config{Endpoint: url, Profile: "nope"})(t.Context())
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), `no profile "nope"`) {
		t.Errorf("a missing profile: %v; want an error that names it and is retried", err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "nothing"))
	err = asking(t, awsclient.Config{Endpoint: url})(t.Context())
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("no credentials: %v; want an error that says so and is retried", err)
	}
	if _, err := awsclient.New(awsclient.Config{CAFile: "/nonexistent"}, func(aws.Config) int { return 0 }); err == nil {
		t.Error("a missing ca_file: nil; want an error")
	}
}

// A role is assumed with what the chain gives, again before it expires, and again when it is refused.
func TestRole(t *testing.T) {
	logIn(t)
	sim, url := served(t)
	var assumed, life atomic.Int64
	var refusal atomic.Value
	refusal.Store("")
	life.Store(int64(time.Hour))
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "AssumeRole" || r.Form.Get("RoleArn") != roleARN ||
			r.Form.Get("ExternalId") != "ext" || r.Form.Get("RoleSessionName") != "rotatord" || !strings.Contains(r.Header.Get("Authorization"), oldKey) {
			t.Errorf("STS is asked %v, %v", r.Form, err)
		}
		if code := refusal.Load(); code != "" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Code>%s</Code><Message>s3cr3t</Message></Error></ErrorResponse>", code)
			return
		}
		n := assumed.Add(1)
		key := fmt.Sprintf("ASIAROTATORDTEST%04d", n)
		sim.Accept(key, "s3cr3t-role", "s3cr3t-session")
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>s3cr3t-role</SecretAccessKey>
			<SessionToken>s3cr3t-session</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			key, time.Now().Add(time.Duration(life.Load())).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(sts.Close)
	ask := asking(t, awsclient.Config{Endpoint: url, STSEndpoint: sts.URL, RoleARN: roleARN, ExternalID: "ext"})
	want := func(what string, times int64) {
		t.Helper()
		if err := ask(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if assumed.Load() != times {
			t.Errorf("%s: the role was assumed %d times; want %d", what, assumed.Load(), times)
		}
	}
	want("the first call", 1)
	want("the second call", 1)
	sim.Refuse("ASIAROTATORDTEST0001", "ExpiredTokenException")
	want("after the session was revoked", 2)
	life.Store(int64(30 * time.Second)) // a session is not used in the minute before its end
	sim.Refuse("ASIAROTATORDTEST0002", "ExpiredTokenException")
	for range 2 {
		before := assumed.Load()
		if err := ask(t.Context()); err != nil || assumed.Load() == before {
			t.Errorf("near the session's end: %v, and the role was not assumed again", err)
		}
	}

	refusal.Store("AccessDenied")
	err := ask(t.Context())
	if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), roleARN) || !strings.Contains(err.Error(), "external_id") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("a refused role: %v; want a permanent error with the role and what to look at", err)
	}
	refusal.Store("Throttling")
	if err := ask(t.Context()); err == nil || rotator.IsPermanent(err) && !strings.Contains(err.Error(), "log in") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("a slow STS: %v; want an error of the log-in", err)
	}
	sts.Close()
	if err := ask(t.Context()); err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || strings.Contains(err.Error(), "http://") {
		t.Errorf("an unreachable STS: %v; want an error that is retried, without URL", err)
	}
}

// What a service may answer, and what is made of it. The stand-in's message holds the whole request.
func TestAnswers(t *testing.T) {
	logIn(t)
	sim, url := served(t)
	var status int
	var code string
	sim.Before = func(string) (int, string) { return status, code }
	for _, test := range []struct {
		status              int
		code, want          string
		permanent, noEffect bool
	}{
		{400, "ThrottlingException", "slow down", false, true},
		{429, "Whatever", "429", false, true},
		{400, "AccessDeniedException", "must allow secretsmanager:GetSecretValue", true, true},
		{400, "DecryptionFailure", "(DecryptionFailure)", true, true},
		{400, "s3cr3t 1", "answered 400 bad request", true, true},
		{400, strings.Repeat("a", 65), "answered 400 bad request", true, true},
		{500, "InternalServiceError", "answered 500 internal server error (InternalServiceError)", false, false},
		{503, "ServiceUnavailable", "answered 503", false, false},
		{302, "Moved", "answered 302", true, true},
	} {
		status, code = test.status, test.code
		err := asking(t, awsclient.Config{Endpoint: url})(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) || rotator.IsPermanent(err) != test.permanent || rotator.HadNoEffect(err) != test.noEffect {
			t.Errorf("%d %s: %v, permanent %v, no effect %v", test.status, test.code, err, rotator.IsPermanent(err), rotator.HadNoEffect(err))
		}
		if err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "AKIA") || strings.Contains(err.Error(), "You sent")) {
			t.Errorf("%d %s: %v shows what was sent", test.status, test.code, err)
		}
		if awsclient.CodeOf(err) != test.code {
			t.Errorf("CodeOf(%v) = %q; want %q", err, awsclient.CodeOf(err), test.code)
		}
	}
}

// No answer, half of one, and ones that are not of AWS.
func TestConnections(t *testing.T) {
	logIn(t)
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"HTML":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>s3cr3t</html>") }, "not one of AWS"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"half": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"Name": "s3cr3t`)
		}, "broke off"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"Name": "`+strings.Repeat("s3cr3t", 1<<18)+`"}`)
		}, "longer than 1048576 bytes"},
	} {
		server := httptest.NewServer(test.handler)
		err := asking(t, awsclient.Config{Endpoint: server.URL})(t.Context())
		server.Close()
		if err == nil || rotator.HadNoEffect(err) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, no effect %v; want one in doubt with %q", name, err, rotator.HadNoEffect(err), test.want)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	err = asking(t, awsclient.Config{Endpoint: "http://" + listener.Addr().String()})(t.Context())
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || strings.Contains(err.Error(), "http://") {
		t.Errorf("a refused connection: %v; want an error that surely had no effect, without URL", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := asking(t, awsclient.Config{Endpoint: "http://" + listener.Addr().String()})(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v; want context.Canceled", err)
	}
}

// STS throttles with status 400, and may be unable to ask an identity provider:
// neither is a refusal.
func TestLogInThatMayWorkLater(t *testing.T) {
	logIn(t)
	_, url := served(t)
	for _, code := range []string{"Throttling", "ThrottlingException", "RequestThrottled", "IDPCommunicationError", "InvalidIdentityToken"} {
		sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/xml")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>m</Message></Error></ErrorResponse>`, code)
		}))
		t.Cleanup(sts.Close)
		err := asking(t, awsclient.Config{Endpoint: url, RoleARN: roleARN, STSEndpoint: sts.URL})(t.Context())
		if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) {
			t.Errorf("%s: %v, permanent %v; want an error that is tried again", code, err, rotator.IsPermanent(err))
		}
	}
}
