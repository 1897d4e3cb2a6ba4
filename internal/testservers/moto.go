package testservers

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// The version of moto, and the release of Debian that has it.
const (
	motoVersion = "5.1.1"
	motoRelease = "trixie"
)

//go:embed moto/install.sh
var motoInstall string

//go:embed moto/serve.py
var motoServe string

// errNotHere means that moto can't be had on this machine: it is no Debian.
var errNotHere = errors.New("moto can't be had here")

// A MotoServer is a running moto: a stand-in of others for AWS, for one account
// and every region, which keeps everything in memory. Where it is not like AWS
// is said in the tests that meet it.
type MotoServer struct {
	Addr string // http://127.0.0.1:port

	*process
}

// motoVariable asks for tests against moto: of some hundred calls it loses the
// answer of one, now and then, which no test can tell from a mistake of ours.
const motoVariable = "ROTATORD_TEST_MOTO"

// Moto starts a moto for a test and stops it at the test's end. Where nobody
// asked for it, or where it can't be had (it is a Debian package), the test is
// skipped, in CI too.
func Moto(t testing.TB) *MotoServer {
	t.Helper()
	if os.Getenv(motoVariable) == "" {
		t.Skipf("SKIPPED, not passed: set %s=1 to test against moto", motoVariable)
	}
	server, err := StartMoto(t.Context())
	switch {
	case errors.Is(err, errNotHere):
		t.Skipf("SKIPPED, not passed: no moto to test against: %v", err)
	case err != nil:
		t.Fatalf("start moto: %v", err)
	}
	t.Cleanup(server.Stop)
	return server
}

// StartMoto unpacks moto into the cache if need be, starts it and waits until it
// answers. It runs until Stop, or until this process ends; ctx is only for the start.
func StartMoto(ctx context.Context) (*MotoServer, error) {
	packages, err := unpackMoto(ctx)
	if err != nil {
		return nil, err
	}
	command := exec.Command("/usr/bin/python3", "-c", motoServe) //nolint:gosec,noctx // our own script; it outlives ctx and ends with its standard input
	// Its own settings and log-in would be those of whoever runs the tests.
	command.Env = []string{"PYTHONPATH=" + packages, "PYTHONDONTWRITEBYTECODE=1", "PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	var complaints bytes.Buffer
	command.Stderr = &complaints
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	giveUp := context.AfterFunc(ctx, func() { _ = input.Close() })
	var line struct {
		Addr string `json:"addr"`
	}
	err = json.NewDecoder(output).Decode(&line)
	giveUp()
	p := &process{input: input, ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("wait for moto: %w\n%s", errors.Join(err, ctx.Err()), complaints.String())
	}
	return &MotoServer{Addr: line.Addr, process: p}, nil
}

// unpackMoto returns the folder of moto's Python packages in the cache.
func unpackMoto(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "rotatord-test")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	recipe := sha256.Sum256([]byte(motoInstall))
	folder := filepath.Join(cache, "moto-"+motoVersion+"-"+hex.EncodeToString(recipe[:])[:12])
	packages := filepath.Join(folder, "root", "usr", "lib", "python3", "dist-packages")
	unlock, err := lockedfile.MutexAt(filepath.Join(cache, "moto.lock")).Lock()
	if err != nil {
		return "", fmt.Errorf("lock cache: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return packages, err
	}
	_, _ = fmt.Fprintf(os.Stderr, "unpacking the test server moto %s with apt into %s: once, about 20 seconds and 15 MB of packages\n", motoVersion, cache)
	unfinished := folder + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	install := exec.CommandContext(ctx, "sh", "-s", unfinished, motoRelease) //nolint:gosec // our own paths
	install.Stdin = strings.NewReader(motoInstall)
	output, err := install.CombinedOutput()
	const cannot = 77
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case errors.Is(err, exec.ErrNotFound), ok && exit.ExitCode() == cannot:
		return "", fmt.Errorf("%w: %s", errNotHere, bytes.TrimSpace(output))
	case err != nil:
		return "", fmt.Errorf("unpack moto: %w\n%s", err, output)
	}
	return packages, os.Rename(unfinished, folder)
}

// LogIn makes a user with a policy and returns an access key of it. moto does
// not look at the resources of a policy: they should be "*".
func (m *MotoServer) LogIn(t testing.TB, user, policy string) (accessKey, secretKey string) {
	t.Helper()
	m.iam(t, url.Values{"Action": {"CreateUser"}, "UserName": {user}})
	m.iam(t, url.Values{"Action": {"PutUserPolicy"}, "UserName": {user}, "PolicyName": {"p"}, "PolicyDocument": {policy}})
	made := m.iam(t, url.Values{"Action": {"CreateAccessKey"}, "UserName": {user}})
	return element(made, "AccessKeyId"), element(made, "SecretAccessKey")
}

// Role makes a role with a policy, that everybody may assume, and returns its ARN.
func (m *MotoServer) Role(t testing.TB, role, policy string) string {
	t.Helper()
	const trust = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}`
	made := m.iam(t, url.Values{"Action": {"CreateRole"}, "RoleName": {role}, "AssumeRolePolicyDocument": {trust}})
	m.iam(t, url.Values{"Action": {"PutRolePolicy"}, "RoleName": {role}, "PolicyName": {"p"}, "PolicyDocument": {policy}})
	return element(made, "Arn")
}

// iam makes a call to IAM, before Enforce, and returns the answer's XML.
func (m *MotoServer) iam(t testing.TB, form url.Values) string {
	t.Helper()
	form.Set("Version", "2010-05-08")
	return m.post(t, "/", "application/x-www-form-urlencoded", form.Encode())
}

func element(xml, name string) string {
	_, rest, _ := strings.Cut(xml, "<"+name+">")
	text, _, _ := strings.Cut(rest, "<")
	return text
}

func (m *MotoServer) post(t testing.TB, path, kind, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.Addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	// moto reads from it which service is meant.
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=b")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("moto: POST %s: status %d, %v", path, answer.StatusCode, err)
	}
	return string(text)
}

// Enforce makes moto check signatures and policies from now on.
func (m *MotoServer) Enforce(t testing.TB) {
	t.Helper()
	m.post(t, "/moto-api/reset-auth", "text/plain", "0")
}
