package awssecretsmanagerstore

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/oklog/ulid/v2"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/awssim"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
	"github.com/rotatord/rotatord/stores/storetest"
)

// The log-in that works, and one that nobody knows.
const (
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
	writeFile(t, file, profileOf("works", accessKey, secretKey)+profileOf("refused", refusedKey, refusedOne))
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

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// opened returns a store that logs in with the profile that works.
func opened(t testing.TB, endpoint string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{Config: awsclient.Config{Region: awssim.Region, Profile: "works", Endpoint: endpoint}, Create: true}
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

// A world is a place with secrets, past the store.
type world struct {
	endpoint string // of the service
	refusing string // of one that refuses the log-in `refused`
	read     func(t testing.TB, secret string) (string, bool)
	write    func(t testing.TB, secret, text string)
}

// simulated returns a world of our own strict stand-in.
func simulated(t testing.TB) (world, *awssim.Sim) {
	t.Helper()
	logIns(t)
	sim := awssim.New(accessKey, secretKey)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return world{
		endpoint: server.URL, refusing: server.URL,
		read:  func(_ testing.TB, secret string) (string, bool) { return sim.Read(secret, current) },
		write: func(_ testing.TB, secret, text string) { sim.Write(secret, text) },
	}, sim
}

// motos returns a world of moto. It is not AWS in this: PutSecretValue with the
// default label, after AWSCURRENT was moved once, leaves it where it is.
func motos(t testing.TB) world {
	t.Helper()
	logIns(t)
	moto, strict := testservers.Moto(t), testservers.Moto(t)
	strict.Enforce(t)
	client := motoClient(t, moto.Addr, accessKey, secretKey)
	return world{
		endpoint: moto.Addr, refusing: strict.Addr,
		read: func(t testing.TB, secret string) (string, bool) {
			t.Helper()
			value, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionStage: aws.String(current)})
			if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
				return "", false
			}
			if err != nil {
				t.Fatal(err)
			}
			return aws.ToString(value.SecretString), true
		},
		write: func(t testing.TB, secret, text string) {
			t.Helper()
			if err := foreignWrite(t.Context(), client, secret, text); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func motoClient(t testing.TB, address, access, secret string) *secretsmanager.Client {
	t.Helper()
	return secretsmanager.New(secretsmanager.Options{
		Region: awssim.Region, BaseEndpoint: &address, Retryer: aws.NopRetryer{}, Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

func foreignWrite(ctx context.Context, client *secretsmanager.Client, secret, text string) error {
	token := "foreign-" + ulid.Make().String()
	before, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secret, VersionStage: aws.String(current)})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		_, err = client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &secret, ClientRequestToken: &token, SecretString: &text})
		return err
	}
	if err != nil {
		return err
	}
	if _, err = client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &secret, ClientRequestToken: &token, SecretString: &text, VersionStages: []string{"STAGED"},
	}); err != nil {
		return err
	}
	_, err = client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &secret, VersionStage: aws.String(current), RemoveFromVersionId: before.VersionId, MoveToVersionId: &token,
	})
	return err
}

func TestConformance(t *testing.T) {
	sim, _ := simulated(t)
	t.Run("whole secret", func(t *testing.T) { conformance(t, sim, "") })
	t.Run("field", func(t *testing.T) { conformance(t, sim, "INSTASENT_TOKEN") })
}

func TestConformanceMoto(t *testing.T) {
	moto := motos(t)
	t.Run("whole secret", func(t *testing.T) { conformance(t, moto, "") })
	t.Run("field", func(t *testing.T) { conformance(t, moto, "INSTASENT_TOKEN") })
}

func conformance(t *testing.T, w world, field string) {
	t.Helper()
	places := 0
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		places++
		secret := fmt.Sprintf("team/place%d%s/crm", places, field)
		h := storetest.Harness{
			Store: opened(t, w.endpoint),
			Key:   secret,
			Bad: []string{
				"", "#x", secret + "#", "..", "../crm", "team/../crm", "team/..#x", "a b", "crm:1", "a\nb", "crm#a\nb",
				strings.Repeat("a", 513), "arn:aws:s3:::bucket", "arn:aws:secretsmanager:eu-west-1:1:secret:../x",
			},
			Write:       w.write,
			Read:        w.read,
			Breaking:    opened(t, breaking(t, w.endpoint, "PutSecretValue", "CreateSecret", "UpdateSecretVersionStage")),
			Unreachable: opened(t, "http://"+closedPort(t)),
			Refused:     opened(t, w.refusing, func(c *Config) { c.Profile = "refused" }),
			Secrets:     []string{secretKey, refusedOne, "s3cr3t"},
			Lacks:       storetest.Lacks{Fields: true, Empty: true},
		}
		if field == "" {
			return h
		}
		h.Lacks = storetest.Lacks{}
		h.Key = secret + "#" + field
		h.Sibling = func(i int) string { return fmt.Sprintf("%s#OTHER %d", secret, i) }
		fields := func(t testing.TB) map[string]any {
			t.Helper()
			found := map[string]any{}
			if text, ok := w.read(t, secret); ok {
				if err := json.Unmarshal([]byte(text), &found); err != nil {
					t.Fatalf("what others read is not JSON: %v", err)
				}
			}
			return found
		}
		nameOf := func(key string) string { return strings.TrimPrefix(key, secret+"#") }
		h.Write = func(t testing.TB, key, value string) {
			t.Helper()
			all := fields(t)
			all[nameOf(key)] = value
			text, err := json.MarshalIndent(all, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			w.write(t, secret, string(text))
		}
		h.Read = func(t testing.TB, key string) (string, bool) {
			t.Helper()
			value, ok := fields(t)[nameOf(key)].(string)
			return value, ok
		}
		return h
	})
}

// A half write can end between the two calls too: the promotion breaks off.
func TestPromotionBreaksOff(t *testing.T) {
	w, sim := simulated(t)
	sim.Write("crm", "old")
	broken, store := opened(t, breaking(t, w.endpoint, "UpdateSecretVersionStage")), opened(t, w.endpoint)
	now, err := store.Get(t.Context(), "crm")
	if err != nil {
		t.Fatal(err)
	}
	write := rotator.Write{Value: rotator.NewSecret("new"), Prev: now.ID, Attempt: "a"}
	if _, err := broken.Put(t.Context(), "crm", write); err == nil || rotator.HadNoEffect(err) {
		t.Errorf("Put that breaks off = %v, no effect %v; want one in doubt", err, rotator.HadNoEffect(err))
	}
	if value, _ := sim.Read("crm", current); value != "old" {
		t.Errorf("consumers read %q; want old", value)
	}
	if _, err := store.Put(t.Context(), "crm", write); err != nil {
		t.Errorf("Put again = %v; want nil", err)
	}
	if id, versions := sim.Holder("crm", current); versions != 2 || !strings.HasPrefix(id, ours) {
		t.Errorf("%d versions, current %q; want the old one and one of the attempt", versions, id)
	}
	if previous, _ := sim.Read("crm", "AWSPREVIOUS"); previous != "old" {
		t.Errorf("AWSPREVIOUS = %q; want old", previous)
	}
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

// breaking is an address where some actions break off in the middle of their request.
func breaking(t testing.TB, endpoint string, actions ...string) string {
	t.Helper()
	return between(t, endpoint, func(_ http.ResponseWriter, r *http.Request, action string, _ http.Handler) bool {
		for _, breaks := range actions {
			if action == breaks {
				sendHalf(t, strings.TrimPrefix(endpoint, "http://"), r)
				panic(http.ErrAbortHandler)
			}
		}
		return false
	})
}

// sendHalf passes the first half of a request on, and hangs up.
func sendHalf(t testing.TB, address string, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("read a request: %v", err)
		return
	}
	connection, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", address)
	if err != nil {
		t.Errorf("send half of a request: %v", err)
		return
	}
	defer func() { _ = connection.Close() }()
	_, _ = fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: %s\r\n", r.Host)
	_ = r.Header.WriteSubset(connection, map[string]bool{"Host": true, "Content-Length": true})
	_, _ = fmt.Fprintf(connection, "Content-Length: %d\r\n\r\n%s", len(body), body[:len(body)/2])
}
