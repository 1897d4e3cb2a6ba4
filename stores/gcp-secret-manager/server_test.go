package gcpsecretmanagerstore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

const (
	robot    = "rotatord@my-project.iam.gserviceaccount.com"
	stranger = "stranger@elsewhere.iam.gserviceaccount.com"
)

// A server is the API and the log-in service over one cloud.
type server struct {
	*cloud
	tokens *httptest.Server
	api    string // host:port
	cut    string // host:port, where every write breaks off in the middle
	caFile string

	logIn func() error // an error refuses
}

var newKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newServer(t testing.TB, permissions ...string) *server {
	t.Helper()
	s := &server{cloud: &cloud{
		secrets: map[string]*kept{}, tokens: map[string]string{}, accounts: map[string]bool{robot: true},
		grants: map[string][]string{robot: permissions},
	}}
	s.tokens = httptest.NewTLSServer(http.HandlerFunc(s.token))
	t.Cleanup(s.tokens.Close)
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, s.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.tokens.Certificate().Raw}))
	s.api = s.serve(t, nil)
	cutter := &cutter{conns: map[string]net.Conn{}}
	s.cut = s.serve(t, cutter)
	return s
}

// serve starts the API on a port of its own.
func (s *server) serve(t testing.TB, cut *cutter) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := []grpc.ServerOption{
		grpc.Creds(credentials.NewServerTLSFromCert(&s.tokens.TLS.Certificates[0])),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			method := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
			if cut != nil && writes(method) {
				return nil, status.Error(codes.Unavailable, "half of a write")
			}
			return s.intercept(ctx, method, func(ctx context.Context) (any, error) { return handle(ctx, request) })
		}),
	}
	if cut != nil {
		cut.Listener, listener = listener, cut
		options = append(options, grpc.StatsHandler(cut))
	}
	api := grpc.NewServer(options...)
	pb.RegisterSecretManagerServiceServer(api, s.cloud)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = api.Serve(listener)
	}()
	t.Cleanup(func() {
		api.Stop()
		<-done
	})
	return listener.Addr().String()
}

func writes(method string) bool {
	return strings.HasPrefix(method, "Add") || strings.HasPrefix(method, "Create") || strings.HasPrefix(method, "Update") || strings.HasPrefix(method, "Disable")
}

// A cutter closes the connection when the header of a write has come, and its
// body has not been looked at.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns map[string]net.Conn
}

type remoteKey struct{}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns[conn.RemoteAddr().String()] = conn
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutter) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, remoteKey{}, info.RemoteAddr.String())
}

func (c *cutter) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if writes(info.FullMethodName[strings.LastIndexByte(info.FullMethodName, '/')+1:]) {
		remote, _ := ctx.Value(remoteKey{}).(string)
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = c.conns[remote].Close()
	}
	return ctx
}

func (c *cutter) HandleConn(context.Context, stats.ConnStats) {}
func (c *cutter) HandleRPC(context.Context, stats.RPCStats)   {}

// token is the log-in service: it takes a signed JWT of an account, or a token
// of one to act as another.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, text string) {
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"error": "invalid_grant", "error_description": "s3cr3t %s"}`, text)
	}
	s.mu.Lock()
	logIn := s.logIn
	s.mu.Unlock()
	if logIn != nil {
		if err := logIn(); err != nil {
			refuse(http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	if r.URL.Path != "/token" {
		s.actAs(w, r, refuse)
		return
	}
	account, err := s.verify(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || !s.accounts[account] {
		refuse(http.StatusBadRequest, fmt.Sprint(err))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": s.issue(account), "token_type": "Bearer", "expires_in": 3600})
}

// issue makes a token. The caller has the lock.
func (s *server) issue(account string) string {
	token := fmt.Sprintf("ya29.s3cr3t-%d", len(s.cloud.tokens)+1)
	s.cloud.tokens[token] = account
	return token
}

func (s *server) verify(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", err
	}
	parts := strings.Split(r.PostForm.Get("assertion"), ".")
	if r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || len(parts) != 3 {
		return "", fmt.Errorf("not a JWT of an account: %v", r.PostForm)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&newKey().PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		return "", err
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims struct {
		Iss, Scope, Aud string
		Exp             int64
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", err
	}
	if claims.Aud != s.tokens.URL+"/token" || claims.Scope != scope || time.Unix(claims.Exp, 0).Before(time.Now()) {
		return "", fmt.Errorf("wrong claims %v", claims)
	}
	return claims.Iss, nil
}

// actAs is IAM's generateAccessToken; the robot may act as "deputy@…".
func (s *server) actAs(w http.ResponseWriter, r *http.Request, refuse func(int, string)) {
	target, right := strings.CutPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/")
	target, right2 := strings.CutSuffix(target, ":generateAccessToken")
	s.mu.Lock()
	defer s.mu.Unlock()
	caller := s.cloud.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !right || !right2 || caller != robot || !strings.HasPrefix(target, "deputy@") {
		refuse(http.StatusForbidden, "s3cr3t")
		return
	}
	s.accounts[target] = true
	s.grants[target] = s.grants[robot]
	_ = json.NewEncoder(w).Encode(map[string]any{"accessToken": s.issue(target), "expireTime": time.Now().Add(time.Hour).Format(time.RFC3339)})
}

// keyFile writes the credentials file of a service account.
func (s *server) keyFile(t testing.TB, email string) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(newKey())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "my-project", "private_key_id": "k1", "client_email": email, "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   s.tokens.URL + "/token", "universe_domain": "googleapis.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key.json")
	writeFile(t, name, raw)
	return name
}

func writeFile(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// put adds a version as somebody else would, and moves an alias to it where one is named.
func (s *server) put(t testing.TB, name, alias string, content []byte) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.secret(name)
	s.append(k, content)
	if alias != "" {
		if k.secret.VersionAliases == nil {
			k.secret.VersionAliases = map[string]int64{}
		}
		k.secret.VersionAliases[alias] = int64(len(k.versions))
		k.secret.Etag = s.etag()
	}
}

// secret returns a secret, made where it is missing. The caller has the lock.
func (s *server) secret(name string) *kept {
	key := "my-project/" + s.location + "/" + name
	if s.secrets[key] == nil {
		s.make([]string{"", "my-project", s.location, name}, &pb.Secret{})
	}
	return s.secrets[key]
}

// read returns what consumers read.
func (s *server) read(name, alias string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if alias == "" {
		alias = "latest"
	}
	k, i, err := s.version([]string{"", "my-project", s.location, name, alias})
	if err != nil || k.versions[i].GetState() != pb.SecretVersion_ENABLED {
		return nil, false
	}
	return k.payloads[i], true
}
