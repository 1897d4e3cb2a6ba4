package awsssmstore

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/stores/storetest"
)

const (
	region                 = "eu-west-1"
	accessKey, secretKey   = "AKIAROTATORDTEST0001", "s3cr3t-access-key"
	refusedKey, refusedOne = "AKIAROTATORDTEST0002", "s3cr3t-but-refused"
)

func profileOf(name, access, secret string) string {
	return fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", name, access, secret)
}

// logIns makes shared AWS files with a profile for each log-in, and keeps what
// this machine has away from the test. It returns the file.
func logIns(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte(profileOf("works", accessKey, secretKey)+profileOf("refused", refusedKey, refusedOne)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return file
}

// opened returns a store that logs in with the profile that works.
func opened(t testing.TB, endpoint string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{Config: awsclient.Config{Region: region, Profile: "works", Endpoint: endpoint}, Create: true}
	for _, f := range change {
		f(&c)
	}
	store, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(func() { _ = store.(*Store).Close() })
	return store.(*Store)
}

// clientOf returns AWS's own client, for what others do.
func clientOf(t testing.TB, address, access, secret string) *ssm.Client {
	t.Helper()
	return ssm.New(ssm.Options{
		Region: region, BaseEndpoint: &address, Retryer: aws.NopRetryer{}, Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

// foreign writes a parameter as somebody else would, and moves the label to it, if there is one.
func foreign(t testing.TB, client *ssm.Client, name, value, label string) {
	t.Helper()
	made, err := client.PutParameter(t.Context(), &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeSecureString, Overwrite: aws.Bool(true)})
	if err == nil && label != "" {
		_, err = client.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: &name, ParameterVersion: &made.Version, Labels: []string{label}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readAs reads a parameter as a consumer does.
func readAs(t testing.TB, client *ssm.Client, name, label string) (string, bool) {
	t.Helper()
	if label != "" {
		name += ":" + label
	}
	answer, err := client.GetParameter(t.Context(), &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if err != nil && strings.Contains(err.Error(), "NotFound") {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(answer.Parameter.Value), true
}

func TestConformance(t *testing.T) { conformance(t, "") }

func TestConformanceLabel(t *testing.T) { conformance(t, "live") }

func conformance(t *testing.T, label string) {
	t.Helper()
	logIns(t)
	moto, strict := testservers.Moto(t), testservers.Moto(t)
	strict.Enforce(t)
	client := clientOf(t, moto.Addr, accessKey, secretKey)
	labelled := func(c *Config) { c.Label = label }
	places := 0
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		places++
		return storetest.Harness{
			Store: opened(t, moto.Addr, labelled),
			Key:   fmt.Sprintf("/team/place%d%s/crm", places, label),
			Bad: []string{
				"", "/", "//a", "/a/", "/a/../b", "..", "/a/..", "/./a", "a/b", "/a:1", "/a:live", "/a b", "/a\nb", "/a#b", "/aws/x", "ssmx", "/AWSx",
				"/" + strings.Repeat("a/", 15) + "a", "/" + strings.Repeat("a", 1011), "arn:aws:ssm:eu-west-1:123456789012:parameter/a",
			},
			Write:       func(t testing.TB, key, value string) { foreign(t, client, key, value, label) },
			Read:        func(t testing.TB, key string) (string, bool) { return readAs(t, client, key, label) },
			Breaking:    opened(t, breaking(t, moto.Addr), labelled),
			Unreachable: opened(t, "http://"+closedPort(t), labelled),
			Refused:     opened(t, strict.Addr, labelled, func(c *Config) { c.Profile = "refused" }),
			Secrets:     []string{secretKey, refusedOne, "s3cr3t"},
			Lacks:       storetest.Lacks{Fields: true, Empty: true, CompareAndSet: true},
		}
	})
}

func closedPort(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// between puts a proxy before the service. handle may take a request for
// itself; it passes on those for which it returns false.
func between(t testing.TB, endpoint string, handle func(w http.ResponseWriter, r *http.Request, action string, pass http.Handler) bool) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if !handle(w, r, action, pass) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// breaking is an address where every write breaks off in the middle of its request.
func breaking(t testing.TB, endpoint string) string {
	t.Helper()
	return between(t, endpoint, func(_ http.ResponseWriter, r *http.Request, action string, _ http.Handler) bool {
		if action != "PutParameter" {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = sendHalf(r.Context(), strings.TrimPrefix(endpoint, "http://"), r, body)
		}
		if err != nil {
			t.Errorf("send half of a request: %v", err)
		}
		panic(http.ErrAbortHandler)
	})
}

func sendHalf(ctx context.Context, address string, r *http.Request, body []byte) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: %s\r\n", r.Host); err != nil {
		return err
	}
	if err := r.Header.WriteSubset(connection, map[string]bool{"Host": true, "Content-Length": true}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(connection, "Content-Length: %d\r\n\r\n%s", len(body), body[:len(body)/2])
	return err
}
