package vaultstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

const (
	accessKey    = "AKIDEXAMPLE"
	secretKey    = "s3cr3t-key-of-aws"
	sessionToken = "s3cr3t-session-of-aws"
)

func byAWS(t *testing.T, vault *testservers.VaultServer) way {
	status, _, err := vault.Call(t.Context(), http.MethodGet, "auth/aws/config/client", nil)
	if err != nil || (vault.UnsealKey == "" && status != http.StatusOK && status != http.StatusNotFound) {
		t.Skipf("not with a server without the log-in aws: status %d, %v", status, err)
	}
	aws := httptest.NewServer(awsStandIn(t, "sts.eu-west-1.amazonaws.com", "eu-west-1"))
	t.Cleanup(aws.Close)
	vault.Must(t, http.MethodPost, "auth/aws/config/client", map[string]any{
		"sts_endpoint": aws.URL, "sts_region": "eu-west-1", "iam_endpoint": aws.URL, "access_key": "AKIDVAULT", "secret_key": "of-vault", "max_retries": 0,
	})
	setUp(t, vault, "auth/aws/", nil)
	withAWS(t, secretKey)
	return way{
		auth: func(c *Config) {
			c.Auth = Auth{Method: "aws", Role: "rotatord", Region: "eu-west-1", HeaderValue: "vault.example.com"}
		},
		refuse: func() { withAWS(t, "s3cr3t-but-wrong") },
		mend:   "that the role binds this principal",
	}
}

// withAWS sets what the SDK finds; none of it is of this machine.
func withAWS(t *testing.T, secret string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": sessionToken, "AWS_REGION": "xx-nowhere-1",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
}

// awsStandIn answers as STS and IAM do to what Vault asks them. The call to STS
// is rotatord's own, and must be signed as AWS documents it:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
func awsStandIn(t *testing.T, host, region string) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read a call to AWS: %v", err)
		}
		w.Header().Set("Content-Type", "text/xml")
		if strings.Contains(string(body), "Action=GetRole") { // Vault resolves the principal of a role
			_, _ = io.WriteString(w, `<GetRoleResponse><GetRoleResult><Role><RoleId>AROAEXAMPLE</RoleId><RoleName>rotatord</RoleName><Path>/</Path>`+
				`<Arn>arn:aws:iam::123456789012:role/rotatord</Arn></Role></GetRoleResult></GetRoleResponse>`)
			return
		}
		const caller = `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/rotatord/i-1</Arn>` +
			`<UserId>AROAEXAMPLE:i-1</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`
		if strings.Contains(r.Header.Get("Authorization"), "Credential=AKIDVAULT/") { // and looks who it is itself
			_, _ = io.WriteString(w, caller)
			return
		}
		if string(body) != "Action=GetCallerIdentity&Version=2011-06-15" || r.Method != http.MethodPost || r.Host != host {
			t.Errorf("%s at %s with %q; want a call to GetCallerIdentity at %s", r.Method, r.Host, body, host)
		}
		if err := signedBy(r, body, secretKey, region); err != nil {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>`)
			return
		}
		_, _ = io.WriteString(w, caller)
	})
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/sts/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)

// signedBy checks a signature of version 4 without AWS's own library.
func signedBy(r *http.Request, body []byte, secret, region string) error {
	parts := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if parts == nil || parts[1] != accessKey || parts[3] != region {
		return fmt.Errorf("authorization is %q", r.Header.Get("Authorization"))
	}
	names := strings.Split(parts[4], ";")
	for _, needed := range []string{"host", "x-amz-date", "x-amz-security-token", "x-vault-aws-iam-server-id", "content-type"} {
		if !slices.Contains(names, needed) {
			return fmt.Errorf("%s is not signed", needed)
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 5*time.Minute || r.Header.Get("X-Amz-Security-Token") != sessionToken {
		return fmt.Errorf("signed at %q, or with another session", r.Header.Get("X-Amz-Date"))
	}
	var canonical strings.Builder
	_, _ = fmt.Fprintf(&canonical, "%s\n/\n\n", r.Method)
	for _, name := range names {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(len(body))
		}
		_, _ = fmt.Fprintf(&canonical, "%s:%s\n", name, strings.TrimSpace(value))
	}
	_, _ = fmt.Fprintf(&canonical, "\n%s\n%s", parts[4], sum(body))
	scope := parts[2] + "/" + region + "/sts/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + scope + "\n" + sum([]byte(canonical.String()))
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	if hex.EncodeToString(mac(key, text)) != parts[5] {
		return errors.New("the signature is another one")
	}
	return nil
}

func sum(text []byte) string {
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, text)
	return h.Sum(nil)
}

func TestEndpointOfSTS(t *testing.T) {
	for region, want := range map[string]string{
		"":               "https://sts.amazonaws.com/",
		"eu-west-1":      "https://sts.eu-west-1.amazonaws.com/",
		"us-gov-west-1":  "https://sts.us-gov-west-1.amazonaws.com/",
		"cn-northwest-1": "https://sts.cn-northwest-1.amazonaws.com.cn/",
	} {
		if got := stsURL(region); got != want {
			t.Errorf("stsURL(%q) = %q; want %q", region, got, want)
		}
	}
}

// Without an identity of AWS the error says where one was looked for, and Vault is not asked.
func TestNoIdentityOfAWS(t *testing.T) {
	withAWS(t, "")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	store := opened(t, "http://"+closedPort(t), "", func(c *Config) { c.Auth = Auth{Method: "aws", Role: "rotatord"} })
	err := store.Ping(t.Context())
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "no AWS credentials") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Ping = %v; want an error about AWS credentials that can be tried again", err)
	}
	t.Setenv("AWS_PROFILE", "nobody")
	if err := store.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS_PROFILE") {
		t.Errorf("Ping with a profile that is not there = %v; want an error that names AWS_PROFILE", err)
	}
}

// When Vault can't reach STS, that is no refusal of ours.
func TestVaultDoesNotReachSTS(t *testing.T) {
	vault := server(t)
	way := byAWS(t, vault)
	vault.Must(t, http.MethodPost, "auth/aws/config/client", map[string]any{"sts_endpoint": "http://" + closedPort(t), "max_retries": 0})
	err := opened(t, vault.Addr, "", way.auth).Ping(t.Context())
	if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "does not reach its sts_endpoint") {
		t.Errorf("Ping = %v; want an error of Vault's way to STS that can be tried again", err)
	}
}
