package vaultstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

// A way is one way to log in, set up at a Vault as the page says.
type way struct {
	auth    func(*Config)
	refuse  func() // from now on Vault refuses the log-in
	replace func() // where rotatord can't log in by itself: what a person or an agent does
	mend    string // what the error then speaks of
}

// ways maps each method to its set-up. Kubernetes has a test of its own.
func ways() map[string]func(*testing.T, *testservers.VaultServer) way {
	return map[string]func(*testing.T, *testservers.VaultServer) way{
		"token": byToken, "token_file": byTokenFile, "approle": byAppRole, "jwt": byJWT, "aws": byAWS, "cert": byCertificate,
	}
}

func newToken(t *testing.T, vault *testservers.VaultServer) string {
	t.Helper()
	vault.Must(t, http.MethodPut, "sys/policy/rotatord", map[string]string{"policy": policyOf(t, "secret/data/crm")})
	token, _ := vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{
		"policies": []string{"rotatord"}, "no_default_policy": true, "ttl": "1h",
	})["client_token"].(string)
	return token
}

func byToken(t *testing.T, vault *testservers.VaultServer) way {
	t.Setenv("ROTATORD_TEST_VAULT_LOGIN", newToken(t, vault))
	return way{
		auth: func(c *Config) {
			c.Auth = Auth{Method: "token", Token: rotator.SecretSource{Env: "ROTATORD_TEST_VAULT_LOGIN"}}
		},
		refuse:  func() {},
		replace: func() { t.Setenv("ROTATORD_TEST_VAULT_LOGIN", newToken(t, vault)) },
		mend:    "make a new token",
	}
}

func byTokenFile(t *testing.T, vault *testservers.VaultServer) way {
	file := tokenFile(t, newToken(t, vault))
	return way{
		auth:    func(c *Config) { c.Auth = Auth{Method: "token_file", TokenFile: file} },
		refuse:  func() {},
		replace: func() { writeFile(t, file, newToken(t, vault)) },
		mend:    "Vault Agent",
	}
}

func byAppRole(t *testing.T, vault *testservers.VaultServer) way {
	setUp(t, vault, "auth/approle/", nil)
	id, _ := vault.Must(t, http.MethodGet, "auth/approle/role/rotatord/role-id", nil)["role_id"].(string)
	secret, _ := vault.Must(t, http.MethodPost, "auth/approle/role/rotatord/secret-id", nil)["secret_id"].(string)
	file := tokenFile(t, secret)
	return way{
		auth: func(c *Config) {
			c.Auth = Auth{Method: "approle", RoleID: id, SecretID: rotator.SecretSource{File: file}}
		},
		refuse: func() {
			vault.Must(t, http.MethodPost, "auth/approle/role/rotatord/secret-id/destroy", map[string]string{"secret_id": secret})
		},
		mend: "make a new secret ID",
	}
}

func byJWT(t *testing.T, vault *testservers.VaultServer) way {
	key := newKey(t)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	setUp(t, vault, "auth/jwt/", map[string]string{"issuer.pem": pemOf("PUBLIC KEY", public)})
	file := filepath.Join(t.TempDir(), "jwt")
	writeFile(t, file, jwtOf(t, key, time.Now().Add(time.Hour))+"\n")
	return way{
		auth:   func(c *Config) { c.Auth = Auth{Method: "jwt", Role: "rotatord", JWTFile: file} },
		refuse: func() { writeFile(t, file, jwtOf(t, key, time.Now().Add(-time.Hour))) },
		mend:   "the JWT may be expired",
	}
}

// jwtOf makes a JWT signed by ES256 (RFC 7518, section 3.4).
func jwtOf(t *testing.T, key *ecdsa.PrivateKey, expires time.Time) string {
	t.Helper()
	part := func(claims map[string]any) string {
		text, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(map[string]any{"alg": "ES256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": "https://ci.example.com", "sub": "rotatord", "aud": "vault", "exp": expires.Unix(), "iat": expires.Add(-2 * time.Hour).Unix(),
	})
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func byCertificate(t *testing.T, vault *testservers.VaultServer) way {
	if vault.TLSAddr == "" {
		t.Skip("not with a running server: its address with TLS is not known")
	}
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client-key.pem")
	writeFile(t, ca, vault.CA)
	renew := func() string {
		authority, certificate, private := clientCertificate(t)
		writeFile(t, cert, certificate)
		writeFile(t, key, private)
		return authority
	}
	setUp(t, vault, "auth/cert/", map[string]string{"clients-ca.pem": renew()})
	return way{
		auth: func(c *Config) {
			c.Address, c.CAFile = vault.TLSAddr, ca
			c.Auth = Auth{Method: "cert", CertFile: cert, KeyFile: key, Role: "rotatord"}
		},
		refuse: func() { renew() }, // of another authority, in the same files
		mend:   "the certificate may be expired",
	}
}

// clientCertificate makes an authority and a certificate of it for a client
// called rotatord, all as PEM.
func clientCertificate(t *testing.T) (authority, certificate, private string) {
	t.Helper()
	caKey, key := newKey(t), newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	client := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "rotatord"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	sign := func(template *x509.Certificate, public any) string {
		made, err := x509.CreateCertificate(rand.Reader, template, ca, public, caKey)
		if err != nil {
			t.Fatal(err)
		}
		return pemOf("CERTIFICATE", made)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return sign(ca, caKey.Public()), sign(client, key.Public()), pemOf("PRIVATE KEY", raw)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(kind string, raw []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}))
}

// counting is an address of Vault where log-ins and looks at a token are counted.
func counting(t *testing.T, vault string) (address string, logins *atomic.Int32) {
	t.Helper()
	target, err := url.Parse(vault)
	if err != nil {
		t.Fatal(err)
	}
	logins = new(atomic.Int32)
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/auth/") && strings.HasSuffix(r.URL.Path, "/login") {
			logins.Add(1)
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, logins
}

// Each way logs in, renews, and logs in once more when the log-in is revoked in
// the middle; when that is refused too, the error says what to mend, and nothing is lost.
func TestEveryLogIn(t *testing.T) {
	for method, setUp := range ways() {
		t.Run(method, func(t *testing.T) {
			vault := server(t)
			address, logins := counting(t, vault.Addr)
			way := setUp(t, vault)
			store := opened(t, address, "", way.auth)
			write := func(what, value string) string {
				t.Helper()
				if _, err := put(t, store, key, value); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				return store.session.now.client.Token()
			}
			revoke := func(token string) {
				t.Helper()
				vault.Must(t, http.MethodPost, "auth/token/revoke", map[string]string{"token": token})
			}
			first := write("the first write", "1")
			if again := write("the second write", "2"); again != first {
				t.Errorf("the second write logged in again")
			}
			store.session.now.renewAt = time.Now()
			if again := write("a write when two thirds of the life are over", "3"); again != first {
				t.Errorf("the log-in was made anew; want it renewed")
			}
			if look := vault.Must(t, http.MethodPost, "auth/token/lookup", map[string]string{"token": first}); look["last_renewal"] == nil {
				t.Errorf("the log-in was not renewed")
			}

			revoke(first)
			if way.replace != nil {
				way.replace()
			}
			second := write("a write after the log-in was revoked", "4")
			if second == first {
				t.Errorf("the revoked log-in is still used")
			}

			way.refuse()
			revoke(second)
			before := logins.Load()
			now, getErr := store.Get(t.Context(), key)
			tried := logins.Load() - before
			_, putErr := store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret("s3cr3t-5"), Prev: now.ID})
			for call, err := range map[string]error{"Get": getErr, "Put": putErr, "Ping": store.Ping(t.Context()), "CheckWrite": store.CheckWrite(t.Context(), key)} {
				if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), way.mend) {
					t.Errorf("%s when no log-in works = %v; want a permanent error with %q", call, err, way.mend)
				}
				if err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), second) || strings.Contains(err.Error(), "://")) {
					t.Errorf("%s: the error shows too much: %v", call, err)
				}
			}
			if tried > 1 {
				t.Errorf("Get logged in %d times; want once", tried)
			}
			if got := fieldsOf(t, vault, "secret", "crm")["INSTASENT_TOKEN"]; got != "4" {
				t.Errorf("after the refusals the secret holds %v; want 4", got)
			}
		})
	}
}

// A token that may not renew itself works until it ends; then the error says so.
func TestTokenMayNotRenew(t *testing.T) {
	vault := server(t)
	vault.Must(t, http.MethodPut, "sys/policy/fixed", map[string]string{"policy": strings.ReplaceAll(policyOf(t, "secret/data/crm"), "renew-self", "elsewhere")})
	token, _ := vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{
		"policies": []string{"fixed"}, "no_default_policy": true, "ttl": "1h",
	})["client_token"].(string)
	store := opened(t, vault.Addr, token)
	if _, err := put(t, store, key, "1"); err != nil {
		t.Fatal(err)
	}
	store.session.now.renewAt = time.Now()
	if _, err := put(t, store, key, "2"); err != nil {
		t.Errorf("Put with a token that is not renewed = %v; want nil", err)
	}
	vault.Must(t, http.MethodPost, "auth/token/revoke", map[string]string{"token": token})
	if err := store.Ping(t.Context()); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), `"update" on "auth/token/renew-self"`) {
		t.Errorf("Ping after the token's end = %v; want a permanent error that speaks of renew-self", err)
	}
}

// A certificate that is replaced is shown at the next log-in, not before.
func TestCertificateIsReadAnew(t *testing.T) {
	vault := server(t)
	way := byCertificate(t, vault)
	store := opened(t, "", "", way.auth)
	if _, err := put(t, store, key, "1"); err != nil {
		t.Fatal(err)
	}
	authority, certificate, private := clientCertificate(t)
	writeFile(t, store.config.Auth.CertFile, certificate)
	writeFile(t, store.config.Auth.KeyFile, private)
	store.session.now.renewAt = time.Now()
	if _, err := put(t, store, key, "2"); err != nil {
		t.Errorf("Put with a log-in by the certificate before = %v; want it renewed", err)
	}
	setUp(t, vault, "auth/cert/", map[string]string{"clients-ca.pem": authority})
	vault.Must(t, http.MethodPost, "auth/token/revoke", map[string]string{"token": store.session.now.client.Token()})
	if _, err := put(t, store, key, "3"); err != nil {
		t.Errorf("Put with the new certificate = %v; want nil", err)
	}
	writeFile(t, store.config.Auth.KeyFile, "s3cr3t")
	store.session.now = nil
	if err := store.Ping(t.Context()); err == nil || !rotator.HadNoEffect(err) || strings.Contains(err.Error(), "s3cr3t") || !strings.Contains(err.Error(), "client certificate") {
		t.Errorf("Ping with a file that holds no key = %v; want an error about the certificate without it", err)
	}
}
