package azurekeyvaultstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// A server is a vault, a log-in service and the way to them.
type server struct {
	*vault
	address string // host:port
	caFile  string
}

func newServer(t testing.TB, actions ...string) *server {
	t.Helper()
	v := &vault{
		secrets: map[string]*kept{}, tokens: map[string]string{}, accounts: map[string]bool{robot: true},
		actions: map[string][]string{robot: actions}, resource: "https://vault.azure.net",
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "login.microsoftonline.com" {
			v.entra(w, r)
			return
		}
		v.ServeHTTP(w, r)
	}))
	certificate, root := certificates(t, host, cutting, "login.microsoftonline.com")
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	name := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, name, root)
	return &server{vault: v, address: s.Listener.Addr().String(), caFile: name}
}

// certificates makes an authority and a certificate for names.
func certificates(t testing.TB, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// opened returns a store whose connections all lead to the server; those to a
// vault named "closed" are refused.
func (s *server) opened(t testing.TB, change ...func(*Config)) *Store {
	t.Helper()
	t.Setenv("TEST_CLIENT_SECRET", secretOf)
	c := Config{VaultURL: "https://" + host, CAFile: s.caFile, Auth: Auth{
		Method: "client_secret", TenantID: tenant, ClientID: robot, ClientSecret: rotator.SecretSource{Env: "TEST_CLIENT_SECRET"},
	}}
	for _, f := range change {
		f(&c)
	}
	opened, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	store := opened.(*Store)
	closed := closedPort(t)
	store.session.transport.Proxy = nil
	store.session.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		switch {
		case strings.HasPrefix(address, "closed."):
			address = closed
		case !strings.HasPrefix(address, "127.0.0.1:"):
			address = s.address
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func at(host string) func(*Config) { return func(c *Config) { c.VaultURL = "https://" + host } }

func creating(c *Config) { c.Create = true }

// put makes a version as somebody else would.
func (s *server) put(name, value string) *bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := bundle{Value: &value}
	if k := s.secrets[name]; k != nil {
		last := k.versions[len(k.versions)-1]
		b.ContentType, b.Tags, b.Attributes.Exp, b.Attributes.Nbf = last.ContentType, last.Tags, last.Attributes.Exp, last.Attributes.Nbf
	}
	return s.add(name, b)
}

// read returns what consumers read.
func (s *server) read(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.secrets[name]
	if k == nil || k.deleted || !*k.versions[len(k.versions)-1].Attributes.Enabled {
		return "", false
	}
	return *k.versions[len(k.versions)-1].Value, true
}

func (s *server) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.secrets[name].versions)
}

func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
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

func writeFile(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
