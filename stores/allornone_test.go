package stores_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/awssim"
	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
	awssecretsmanagerstore "github.com/rotatord/rotatord/stores/aws-secrets-manager"
	filestore "github.com/rotatord/rotatord/stores/file"
	vaultstore "github.com/rotatord/rotatord/stores/vault"
)

// A moment says when the call to a store goes wrong.
type moment string

const (
	before  moment = "before"      // refused, for good
	away    moment = "away"        // the store can't be reached
	during  moment = "during"      // no answer, and no effect
	after   moment = "after"       // the effect, and an error
	lost    moment = "lost answer" // the effect, and no answer at all
	putBack moment = "put back"    // the first write works, all others are refused
)

// faulty breaks the writes of the store behind it, the first n of them.
type faulty struct {
	rotator.Store
	moment moment
	n      int

	mu   sync.Mutex
	puts int
}

func (f *faulty) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	f.mu.Lock()
	f.puts++
	broken := f.puts <= f.n
	if f.moment == putBack {
		broken = f.puts > 1
	}
	f.mu.Unlock()
	if !broken {
		return f.Store.Put(ctx, key, w)
	}
	var none rotator.Version
	switch f.moment {
	case away:
		return none, rotator.Unsent(errors.New("connection refused"))
	case during:
		return none, errors.New("connection reset")
	case after:
		_, err := f.Store.Put(ctx, key, w)
		return none, errors.Join(errors.New("connection reset"), err)
	case lost:
		_, err := f.Store.Put(ctx, key, w)
		<-ctx.Done()
		return none, errors.Join(ctx.Err(), err)
	default:
		return none, rotator.Permanent(errors.New("permission denied"))
	}
}

// mint is an issuer that keeps its credentials in memory.
type mint struct {
	mu   sync.Mutex
	live map[string]string // by value: the ID
}

func (m *mint) Issue(_ context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := fmt.Sprintf("id-%d", len(m.live)+1)
	value := "value-of-" + id
	m.live[value] = id
	return rotator.Credential{ID: id, Name: r.Marker, Value: rotator.NewSecret(value)}, nil
}

func (m *mint) Revoke(_ context.Context, r rotator.RevokeRequest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for value, id := range m.live {
		if id == r.Credential.ID {
			m.live[value] = ""
		}
	}
	return nil
}

func (m *mint) Check(_ context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live[r.Value.Reveal()] == "" {
		return rotator.Dead, nil
	}
	return rotator.Live, nil
}

// A place is one store of a token as consumers see it.
type place struct {
	name string
	rotator.StoreTarget
	read func() string
}

const firstValue = "value-of-first"

// places are stores of different kinds, each with the first value in it.
func places(t *testing.T, vault *testservers.VaultServer, n int) []place {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
	dir := t.TempDir()
	path := filepath.Join(dir, "crm.env")
	if err := os.WriteFile(path, []byte("OTHER=1\nTOKEN="+firstValue+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := filestore.New(t.Context(), filestore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(vault.RootToken), 0o600); err != nil {
		t.Fatal(err)
	}
	kv, err := vaultstore.New(t.Context(), vaultstore.Config{Address: vault.Addr, Auth: vaultstore.Auth{Method: "token_file", TokenFile: tokenFile}})
	if err != nil {
		t.Fatal(err)
	}
	secret := fmt.Sprintf("all-or-none-%d", n)
	vault.Must(t, http.MethodPost, "secret/data/"+secret, map[string]any{"data": map[string]any{"token": firstValue, "other": "1"}})
	sim := awssim.New("AKIDEXAMPLE", "s3cr3t")
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	sim.Write("crm", `{"other": 1, "token": "`+firstValue+`"}`)
	aws, err := awssecretsmanagerstore.New(t.Context(), awssecretsmanagerstore.Config{Config: awsclient.Config{Region: "eu-west-1", Endpoint: server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	return []place{
		{"file", rotator.StoreTarget{Name: "file", Key: "crm.env#TOKEN", Store: file}, func() string {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err.Error()
			}
			_, value, _ := strings.Cut(string(raw), "TOKEN=")
			return strings.TrimSpace(value)
		}},
		{"vault", rotator.StoreTarget{Name: "vault", Key: secret + "#token", Store: kv}, func() string {
			data, _ := vault.Must(t, http.MethodGet, "secret/data/"+secret, nil)["data"].(map[string]any)
			return fmt.Sprint(data["token"])
		}},
		{"aws", rotator.StoreTarget{Name: "aws", Key: "crm#token", Store: aws}, func() string {
			text, _ := sim.Read("crm", "AWSCURRENT")
			var fields map[string]any
			if err := json.Unmarshal([]byte(text), &fields); err != nil {
				return err.Error()
			}
			return fmt.Sprint(fields["token"])
		}},
	}
}

// TestAllOrNone breaks the writes of one store of three of different kinds, at
// each place and moment: either all have the new value or all have the old one.
// One that can't be put back holds the rotation, and is named.
func TestAllOrNone(t *testing.T) {
	vault := testservers.Vault(t)
	n := 0
	var group sync.WaitGroup // they wait much and work little: all at once
	for broken := range 3 {
		for _, m := range []moment{before, away, during, after, lost, putBack} {
			for _, times := range []int{1, 1000} {
				if m == putBack && (times > 1 || broken == 2) { // the last store has nothing behind it that could fail
					continue
				}
				n++
				all := places(t, vault, n)
				group.Go(func() {
					t.Run(fmt.Sprintf("%s/%s/%d", all[broken].name, m, times), func(t *testing.T) {
						checkAllOrNone(t, all, broken, m, times)
					})
				})
			}
		}
	}
	group.Wait()
}

func checkAllOrNone(t *testing.T, all []place, broken int, m moment, times int) {
	t.Helper()
	issuer := &mint{live: map[string]string{firstValue: "first"}}
	token := rotator.Token{
		Name: "crm", IssuerName: "mint", Issuer: issuer, Current: rotator.CurrentHint{ID: "first"}, Policies: rotator.DefaultPolicies(),
		Rollout: rotator.Rollout{Interval: 10 * time.Millisecond, Timeout: time.Second, ConsecutiveSuccessLimit: 1, ConsecutiveErrorLimit: 4, Deadline: time.Minute},
	}
	for i, p := range all {
		target := p.StoreTarget
		if i == broken {
			target.Store = &faulty{Store: target.Store, moment: m, n: times}
		}
		if m == putBack && i == broken+1 {
			target.Store = &faulty{Store: target.Store, moment: before, n: 1000}
		}
		token.Stores = append(token.Stores, target)
	}
	e := rotator.NewEngine(rotator.Options{
		Journal: memory.New(), Dispatcher: dispatch.New(), Tokens: []rotator.Token{token}, NewID: func() string { return "R1" }, ActTimeout: time.Second,
	})
	if err := e.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	id, err := e.Rotate(ctx, rotator.RotateRequest{Token: "crm", Reason: rotator.Manual, By: "ana"})
	if err != nil {
		t.Fatal(err)
	}
	status, err := e.Wait(ctx, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m == putBack {
		if status.Hold == nil || status.Hold.Kind != rotator.HoldStore || status.Hold.Awaited[0].Target != all[broken].Ref().String() {
			t.Fatalf("status = %s (%s), hold %+v; want held, with the store that can't be put back", status.Status, status.Detail, status.Hold)
		}
		if live := issuer.live; live[firstValue] == "" || live["value-of-id-2"] == "" {
			t.Errorf("while it is held not both credentials live: %v", live)
		}
		return
	}
	want := firstValue
	if status.Status == rotator.Done {
		want = "value-of-id-2"
	}
	if final := status.Status == rotator.Done || status.Status == rotator.RolledBack; !final {
		t.Errorf("status = %s (%s); want done or rolled_back", status.Status, status.Detail)
	}
	if hopeless := times > 1 && m != after && m != lost || m == before; hopeless != (status.Status == rotator.RolledBack) {
		t.Errorf("status = %s (%s); want rolled_back only where the store never takes the value", status.Status, status.Detail)
	}
	for _, p := range all {
		if got := p.read(); got != want {
			t.Errorf("after a rotation that ended %s, %s holds %q; want %q", status.Status, p.name, got, want)
		}
	}
	issuer.mu.Lock()
	defer issuer.mu.Unlock()
	for value, id := range issuer.live {
		if (id != "") != (value == want) {
			t.Errorf("after a rotation that ended %s, %s is live: %t", status.Status, value, id != "")
		}
	}
}
