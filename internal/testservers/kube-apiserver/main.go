// Command kube-apiserver is a Kubernetes API server for tests: the real one,
// with an etcd in the same process, both on free ports of the loopback address.
//
// It starts with an administrator's token, and with a token of a user
// `rotatord` whom RBAC allows nothing yet; everything else (namespaces, roles,
// secrets) is set through its API. There are no controllers and no nodes. When
// it is ready it prints one line of JSON to standard output, and it ends when
// its standard input is closed, so that none outlives a test.
//
// It never keeps anything and is no server for secrets. It is a module of its
// own, so that none of its dependencies touch the product's. To add a user, add
// a line in writeFiles.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const (
	adminToken    = "token-of-the-administrator"
	rotatordToken = "token-of-the-user-rotatord"
)

// ready is the line that says that the server answers.
type ready struct {
	Addr          string `json:"addr"`
	CA            string `json:"ca"` // PEM
	AdminToken    string `json:"admin_token"`
	RotatordToken string `json:"rotatord_token"`
}

func main() {
	dir, err := os.MkdirTemp("", "kube-apiserver-")
	if err != nil {
		log.Fatal(err)
	}
	err = run(context.Background(), dir)
	_ = os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
}

// run serves until standard input ends. What it started ends with the process.
func run(ctx context.Context, dir string) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	store, err := startEtcd(dir)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	if err := writeFiles(dir); err != nil {
		return err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addr)
	failed := make(chan error, 1)
	go func() { failed <- serve(ctx, dir, port, "http://"+store.Clients[0].Addr().String()) }()
	if err := waitReady(ctx, "https://"+addr, failed, ended); err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	if err != nil {
		return err
	}
	line := ready{Addr: "https://" + addr, CA: string(ca), AdminToken: adminToken, RotatordToken: rotatordToken}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

func startEtcd(dir string) (*embed.Etcd, error) {
	anywhere := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config := embed.NewConfig()
	config.Dir = filepath.Join(dir, "etcd")
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{anywhere}, []url.URL{anywhere}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{anywhere}, []url.URL{anywhere}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = true
	config.LogLevel = "error"
	store, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case err := <-store.Err():
		return nil, err
	case <-time.After(30 * time.Second):
		store.Close()
		return nil, errors.New("not ready in time")
	}
}

// writeFiles writes the users' tokens and the key that signs service accounts' tokens.
func writeFiles(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	signing := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	users := adminToken + ",admin,1,system:masters\n" + rotatordToken + ",rotatord,2\n"
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "signing.key"), signing, 0o600),
		os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(users), 0o600),
	)
}

func freeAddr(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func serve(ctx context.Context, dir, port, etcd string) error {
	command := app.NewAPIServerCommand()
	command.SetArgs([]string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--secure-port=" + port,
		"--cert-dir=" + dir,
		"--authorization-mode=RBAC",
		"--token-auth-file=" + filepath.Join(dir, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + filepath.Join(dir, "signing.key"),
		"--service-account-key-file=" + filepath.Join(dir, "signing.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		"--endpoint-reconciler-type=none",
		"--disable-admission-plugins=ServiceAccount", // nobody makes the accounts' tokens
	})
	command.SilenceUsage = true
	if err := command.ExecuteContext(ctx); err != nil {
		return err
	}
	return errors.New("the API server ended")
}

// waitReady polls /readyz.
func waitReady(ctx context.Context, base string, failed <-chan error, ended <-chan struct{}) error {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // on loopback, and nothing but "ready?" is asked
	}}
	last := "no answer"
	for range 600 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			last = "status " + strconv.Itoa(answer.StatusCode)
		}
		select {
		case err := <-failed:
			return err
		case <-ended:
			return errors.New("stopped while it started")
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("the API server did not become ready: " + last)
}
