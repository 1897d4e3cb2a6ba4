package webclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

const canary = "canary-0815"

func call(ctx context.Context, t *testing.T, o webclient.Options, url string) (webclient.Answer, error) {
	t.Helper()
	client, err := webclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+canary)
	answer, err := webclient.Do(client, req)
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows a secret: %v", err)
	}
	return answer, err
}

// A redirect never takes a credential, or the request, to another place.
func TestRedirects(t *testing.T) {
	reached := 0
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })
	other, secure := httptest.NewServer(count), httptest.NewTLSServer(nil)
	defer other.Close()
	defer secure.Close()
	var target string
	var status int
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/end" {
			w.Header().Set("Location", target)
			w.WriteHeader(status)
		}
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	secure.Config.Handler = handler
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	port := strings.TrimPrefix(other.URL, "http://127.0.0.1")
	for name, place := range map[string]struct{ from, to string }{
		"another port":       {server.URL, other.URL + "/" + canary},
		"another host":       {server.URL, "http://localhost" + port},
		"a link-local host":  {server.URL, "http://169.254.169.254/latest/meta-data/"},
		"a link-local IPv6":  {server.URL, "http://[fe80::1]/"},
		"without TLS":        {secure.URL, other.URL},
		"the same, no TLS":   {secure.URL, strings.Replace(secure.URL, "https", "http", 1)},
		"another scheme":     {server.URL, "file:///etc/passwd"},
		"a user in the URL":  {server.URL, "http://" + canary + "@127.0.0.1" + port},
		"a URL without host": {server.URL, "http:///"},
	} {
		for _, status = range []int{301, 302, 303, 307, 308} {
			target = place.to
			answer, err := call(t.Context(), t, webclient.Options{CAFile: ca}, place.from+"/?key="+canary)
			if err == nil || reached > 0 {
				t.Errorf("%d to %s: Do = %d, %v, and the other place saw %d calls; want a refusal", status, name, answer.Status, err, reached)
			}
		}
	}
	for _, status = range []int{301, 302, 303, 307, 308} {
		target = "/end"
		if answer, err := call(t.Context(), t, webclient.Options{}, server.URL); err != nil || answer.Status != http.StatusOK {
			t.Errorf("%d: Do = %d, %v; want the redirect on the same host followed", status, answer.Status, err)
		}
		target = "/again"
		if _, err := call(t.Context(), t, webclient.Options{}, server.URL); err == nil || !strings.Contains(err.Error(), "too many redirects") {
			t.Errorf("%d: Do of a circle = %v; want it cut", status, err)
		}
	}
}

func TestCheckTLS(t *testing.T) {
	for raw, fine := range map[string]bool{
		"https://a.example.com": true, "http://127.0.0.1:80": true, "http://[::1]": true, "http://localhost:1": true, "http://127.9.9.9": true,
		"http://a.example.com": false, "http://10.0.0.1": false, "http://169.254.169.254": false, "http://localhost.example.com": false, "http://0.0.0.0": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := webclient.CheckTLS(u, false); (err == nil) != fine {
			t.Errorf("CheckTLS(%q) = %v; want it fine: %t", raw, err, fine)
		}
		if err := webclient.CheckTLS(u, true); err != nil {
			t.Errorf("CheckTLS(%q, allowed) = %v", raw, err)
		}
	}
}

// What is wrong with a certificate is said, and nothing is sent.
func TestTLS(t *testing.T) {
	authority, others := newAuthority(t), newAuthority(t)
	served := 0
	for name, test := range map[string]struct {
		certificate tls.Certificate
		plain       bool
		say         string // empty: it works
	}{
		"right":            {authority.issue(t, "localhost", time.Hour), false, ""},
		"wrong name":       {authority.issue(t, "vault.example.com", time.Hour), false, "certificate is valid for vault.example.com, not localhost"},
		"expired":          {authority.issue(t, "localhost", -time.Hour), false, "certificate has expired"},
		"of an unknown CA": {others.issue(t, "localhost", time.Hour), false, "certificate signed by unknown authority"},
		"plain HTTP":       {tls.Certificate{}, true, "server gave HTTP response to HTTPS client"},
	} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		if test.plain {
			server.Start()
		} else {
			server.TLS = &tls.Config{Certificates: []tls.Certificate{test.certificate}, MinVersion: tls.VersionTLS12}
			server.StartTLS()
		}
		_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
		if test.plain {
			_, port, _ = strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
		}
		_, err := call(t.Context(), t, webclient.Options{CAFile: authority.file(t)}, "https://localhost:"+port+"/"+canary)
		server.Close()
		switch {
		case test.say == "" && (err != nil || served != 1):
			t.Errorf("%s: Do = %v, and %d calls were served; want one", name, err, served)
		case test.say == "":
		case err == nil || !strings.Contains(err.Error(), test.say) || !rotator.HadNoEffect(err) || rotator.IsPermanent(err):
			t.Errorf("%s: Do = %v; want an error without effect that can be tried again and says %q", name, err, test.say)
		case served > 0:
			t.Errorf("%s: the call was served", name)
		}
		served = 0
	}
}

// An authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}

// issue makes a server's certificate that ends at a time from now.
func (a *authority) issue(t *testing.T, name string, life time.Duration) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: a.key}
}

func (a *authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnswersAreBounded(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, endless.URL); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("Do of an endless answer = %v; want it cut", err)
	}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	if _, err := call(t.Context(), t, webclient.Options{Timeout: 20 * time.Millisecond}, silent.URL); err == nil || rotator.HadNoEffect(err) {
		t.Errorf("Do of a silent server = %v; want an error that leaves the effect in doubt", err)
	}
}

func TestErrorsAreClassified(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	url := gone.URL
	gone.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, url+"/"+canary); !rotator.HadNoEffect(err) || rotator.IsPermanent(err) {
		t.Errorf("Do of a refused connection = %v; want Unsent", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := call(cancelled, t, webclient.Options{}, url); !errors.Is(err, context.Canceled) {
		t.Errorf("Do with a cancelled context = %v; want context.Canceled", err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	if _, err := call(t.Context(), t, webclient.Options{}, secure.URL); !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("Do with an unknown CA = %v; want Unsent and a word on ca_file", err)
	}
	if err := webclient.Clean(cancelled, nil); err != nil {
		t.Errorf("Clean(nil) = %v", err)
	}
}

func TestCAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	if _, err := webclient.New(webclient.Options{CAFile: path}); err == nil {
		t.Error("New with a missing CA file = nil error")
	}
	if err := os.WriteFile(path, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := webclient.New(webclient.Options{CAFile: path}); err == nil {
		t.Error("New with a CA file without a certificate = nil error")
	}
}

func TestStatusError(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	limited := http.Header{"X-Ratelimit-Reset": {"1000030"}}
	tests := []struct {
		status              int
		header              http.Header
		fine, final, unsent bool
		retry               time.Time
	}{
		{status: 204, fine: true},
		{status: 302, final: true, unsent: true},
		{status: 401, final: true, unsent: true},
		{status: 404, final: true, unsent: true},
		{status: 408},
		{status: 429, header: limited, unsent: true, retry: time.Unix(1_000_030, 0)},
		{status: 500},
		{status: 503, header: http.Header{"Retry-After": {"7"}}, retry: now.Add(7 * time.Second)},
	}
	for _, test := range tests {
		err := webclient.StatusError(webclient.Answer{Status: test.status, Header: test.header}, now)
		if (err == nil) != test.fine || rotator.IsPermanent(err) != test.final || rotator.HadNoEffect(err) != test.unsent {
			t.Errorf("StatusError(%d) = %v, permanent %t, without effect %t", test.status, err, rotator.IsPermanent(err), rotator.HadNoEffect(err))
		}
		if got := rotator.RetryTime(err); !got.Equal(test.retry) {
			t.Errorf("StatusError(%d) asks to wait until %v; want %v", test.status, got, test.retry)
		}
	}
}

func TestRetryTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		header http.Header
		want   time.Time
	}{
		{"nothing", http.Header{}, time.Time{}},
		{"seconds", http.Header{"Retry-After": {"5"}}, now.Add(5 * time.Second)},
		{"date", http.Header{"Retry-After": {now.Add(time.Minute).Format(http.TimeFormat)}}, now.Add(time.Minute)},
		{"past", http.Header{"Retry-After": {now.Add(-time.Minute).Format(http.TimeFormat)}}, time.Time{}},
		{"nonsense", http.Header{"Retry-After": {"soon"}}, time.Time{}},
		{"a year", http.Header{"Retry-After": {"31536000"}}, now.Add(15 * time.Minute)},
		{"limit not reached", http.Header{"X-Ratelimit-Reset": {"1795435260"}, "X-Ratelimit-Remaining": {"3"}}, time.Time{}},
		{"limit reached", http.Header{"X-Ratelimit-Reset": {"1795435260"}, "X-Ratelimit-Remaining": {"0"}}, time.Unix(1795435260, 0)},
	}
	for _, test := range tests {
		if got := webclient.RetryTime(test.header, now); !got.Equal(test.want) {
			t.Errorf("%s: RetryTime = %v; want %v", test.name, got, test.want)
		}
	}
}
