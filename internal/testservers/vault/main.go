// Command vault is a Vault server for tests: Vault's own core and HTTP handler
// with the engine kv and the log-ins approle, jwt, aws and cert, everything in
// memory. It listens twice: without TLS, and with TLS and a certificate of its
// own, where it asks for a client's certificate.
//
// It starts unsealed, with KV version 2 at secret/, KV version 1 at kv/, each
// log-in at its usual mount and one root token; everything else (policies, roles,
// more mounts, sealing and unsealing) is set through Vault's API. When it is ready it
// prints one line of JSON to standard output, and it ends when its standard
// input is closed, so that none outlives a test.
//
// It never keeps anything and is no server for secrets. It is a module of its
// own, so that none of Vault's dependencies touch the product's; stub/ replaces
// the cloud SDKs, which more than halves what is built. To add an engine, add
// its factory to the maps in newCore and a mount in setUp.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	awsauth "github.com/hashicorp/vault/builtin/credential/aws"
	certauth "github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// ready is the line that says that the server answers.
type ready struct {
	Addr      string `json:"addr"`
	TLSAddr   string `json:"tls_addr"`
	CA        string `json:"ca"` // PEM, of the certificate at TLSAddr
	RootToken string `json:"root_token"`
	UnsealKey string `json:"unseal_key"` // hex
}

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "`host:port` to listen on; port 0 takes a free one")
	root := flag.String("root", "root", "the root `token`")
	flag.Parse()
	if err := run(context.Background(), *addr, *root); err != nil {
		log.Fatal(err)
	}
}

// run serves until standard input ends.
func run(ctx context.Context, addr, root string) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	core, err := newCore(url)
	if err != nil {
		return fmt.Errorf("make core: %w", err)
	}
	unsealKey, err := setUp(ctx, core, root)
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	tlsListener, ca, err := listenTLS(ctx)
	if err != nil {
		return fmt.Errorf("listen with TLS: %w", err)
	}
	server := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: "tcp", Address: listener.Addr().String()},
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // of handshakes that tests refuse
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	line := ready{
		Addr: url, TLSAddr: "https://" + tlsListener.Addr().String(), CA: ca, RootToken: root, UnsealKey: hex.EncodeToString(unsealKey),
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return err
	}
	ended := make(chan error, 2)
	for _, l := range []net.Listener{listener, tlsListener} {
		go func() { ended <- server.Serve(l) }()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenTLS listens with a certificate that it makes, and asks for one of the
// client as Vault's own listener does: any, which the log-in then judges.
func listenTLS(ctx context.Context) (net.Listener, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	settings := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{made}, PrivateKey: key}},
		ClientAuth:   tls.RequestClientCert,
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made})
	return tls.NewListener(listener, settings), string(ca), nil
}

func newCore(url string) (*vault.Core, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})
	storage, err := inmem.NewInmemHA(nil, logger)
	if err != nil {
		return nil, err
	}
	available, _ := storage.(physical.HABackend) // so that it can step down
	logins := map[string]logical.Factory{
		"approle": approle.Factory, "jwt": jwtauth.Factory, "aws": awsauth.Factory, "cert": certauth.Factory,
	}
	engines := map[string]logical.Factory{"kv": kv.Factory}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		HAPhysical:         available,
		StorageType:        "inmem",
		Logger:             logger,
		DisableMlock:       true,
		RedirectAddr:       url,
		CredentialBackends: logins,
		LogicalBackends:    engines,
		BuiltinRegistry:    registry{consts.PluginTypeCredential: logins, consts.PluginTypeSecrets: engines},
		DefaultLeaseTTL:    24 * time.Hour,
		MaxLeaseTTL:        72 * time.Hour,
	})
}

// setUp initialises and unseals the core and makes the mounts and the root
// token. It returns the key that unseals it again.
func setUp(ctx context.Context, core *vault.Core, root string) ([]byte, error) {
	oneKey := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: oneKey, RecoveryConfig: oneKey})
	if err != nil {
		return nil, err
	}
	// Unseal wipes the key that it is given.
	unsealKey := append([]byte(nil), made.SecretShares[0]...)
	if _, err := core.Unseal(made.SecretShares[0]); err != nil {
		return nil, err
	}
	if err := waitActive(core); err != nil {
		return nil, err
	}
	calls := []struct {
		path string
		data map[string]any
	}{
		{"sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}}},
		{"sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}}},
		{"sys/auth/approle", map[string]any{"type": "approle"}},
		{"sys/auth/jwt", map[string]any{"type": "jwt"}},
		{"sys/auth/aws", map[string]any{"type": "aws"}},
		{"sys/auth/cert", map[string]any{"type": "cert"}},
		{"auth/token/create", map[string]any{"id": root, "policies": []string{"root"}, "no_parent": true}},
	}
	for _, call := range calls {
		answer, err := core.HandleRequest(namespace.RootContext(ctx), &logical.Request{
			Operation: logical.UpdateOperation, ClientToken: made.RootToken, Path: call.path, Data: call.data,
		})
		if err == nil && answer != nil && answer.IsError() {
			err = answer.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", call.path, err)
		}
	}
	return unsealKey, waitUpgraded(ctx, core, made.RootToken)
}

// waitActive waits until the core, which takes its lock in the background, is active.
func waitActive(core *vault.Core) error {
	return poll("the core did not become active", func() bool {
		standby, err := core.Standby()
		return err == nil && !standby && !core.Sealed()
	})
}

// waitUpgraded waits until the mount of KV version 2, which is prepared in the
// background, takes calls.
func waitUpgraded(ctx context.Context, core *vault.Core, token string) error {
	return poll("the mount secret/ did not become ready", func() bool {
		answer, err := core.HandleRequest(namespace.RootContext(ctx), &logical.Request{
			Operation: logical.ReadOperation, ClientToken: token, Path: "secret/config",
		})
		return err == nil && answer != nil && !answer.IsError()
	})
}

func poll(complaint string, done func() bool) error {
	for range 500 {
		if done() {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New(complaint)
}
