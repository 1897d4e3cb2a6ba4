package stores_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/dispatch"
	"github.com/rotatord/rotatord/internal/journal/memory"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
	vaultstore "github.com/rotatord/rotatord/stores/vault"
)

// rotating starts a rotation over some places and returns when all stores are
// written and consumers are waited for.
func rotating(t *testing.T, all []place) (*rotator.Engine, *mint, string) {
	t.Helper()
	issuer := &mint{live: map[string]string{firstValue: "first"}}
	token := rotator.Token{
		Name: "crm", IssuerName: "mint", Issuer: issuer, Current: rotator.CurrentHint{ID: "first"}, Policies: rotator.DefaultPolicies(),
		Rollout: rotator.Rollout{InitialDelay: 2 * time.Second, Interval: 10 * time.Millisecond, Timeout: time.Second, ConsecutiveSuccessLimit: 1, Deadline: time.Minute},
	}
	for _, p := range all {
		token.Stores = append(token.Stores, p.StoreTarget)
	}
	e := rotator.NewEngine(rotator.Options{Journal: memory.New(), Dispatcher: dispatch.New(), Tokens: []rotator.Token{token}, NewID: func() string { return "R1" }})
	if err := e.Start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	id, err := e.Rotate(t.Context(), rotator.RotateRequest{Token: "crm", Reason: rotator.Manual, By: "ana"})
	if err != nil {
		t.Fatal(err)
	}
	for {
		status, err := e.Rotation(t.Context(), id)
		if err != nil || status.Status.Final() || status.Hold != nil {
			t.Fatalf("status = %+v, %v; want one that waits for consumers", status, err)
		}
		if status.Step == rotator.StepProbe {
			return e, issuer, id
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func held(t *testing.T, e *rotator.Engine, id string, kind rotator.HoldKind) rotator.Hold {
	t.Helper()
	status, err := e.Wait(t.Context(), id, nil)
	if err != nil || status.Hold == nil || status.Hold.Kind != kind {
		t.Fatalf("status = %s (%s), hold %+v, %v; want held as %s", status.Status, status.Detail, status.Hold, err, kind)
	}
	return *status.Hold
}

func goOn(t *testing.T, e *rotator.Engine, id string, d rotator.Decision) {
	t.Helper()
	if err := e.Decide(t.Context(), id, d, "ana", ""); err != nil {
		t.Fatal(err)
	}
	if status, err := e.Wait(t.Context(), id, nil); err != nil || status.Status != rotator.Done {
		t.Errorf("after %s: status = %s (%s), %v; want done", d, status.Status, status.Detail, err)
	}
}

// GitOps puts the old value back before the revoke: the rotation holds, names
// the store, and both credentials live on.
func TestRevertIsSeen(t *testing.T) {
	vault := testservers.Vault(t)
	all := places(t, vault, 100)
	e, issuer, id := rotating(t, all)
	vault.Must(t, http.MethodPost, "secret/data/all-or-none-100", map[string]any{"data": map[string]any{"token": firstValue, "other": "1"}})
	hold := held(t, e, id, rotator.HoldReverted)
	if len(hold.Awaited) != 1 || hold.Awaited[0].Target != "vault all-or-none-100#token" || !strings.Contains(hold.Awaited[0].Detail, string(rotator.FingerprintOf(firstValue))) {
		t.Errorf("the hold names %+v; want the store, and the fingerprint of the old value", hold.Awaited)
	}
	issuer.mu.Lock()
	if issuer.live[firstValue] == "" || issuer.live["value-of-id-2"] == "" {
		t.Errorf("P1: while it is held not both credentials live: %v", issuer.live)
	}
	issuer.mu.Unlock()
	goOn(t, e, id, rotator.Retry)
	for _, p := range all {
		if got := p.read(); got != "value-of-id-2" {
			t.Errorf("%s holds %q; want the new value", p.name, got)
		}
	}
}

// Our own log-in at a store is revoked in the middle: the rotation holds, says
// so, and goes on when there is another one.
func TestLogInEndsInTheMiddle(t *testing.T) {
	vault := testservers.Vault(t)
	all := places(t, vault, 101)
	tokenFile := filepath.Join(t.TempDir(), "token")
	logIn := func() string {
		token, _ := vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"root"}})["client_token"].(string)
		if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return token
	}
	ours := logIn()
	store, err := vaultstore.New(t.Context(), vaultstore.Config{Address: vault.Addr, Auth: vaultstore.Auth{Method: "token_file", TokenFile: tokenFile}})
	if err != nil {
		t.Fatal(err)
	}
	all[1].Store = store
	e, issuer, id := rotating(t, all)
	vault.Must(t, http.MethodPost, "auth/token/revoke", map[string]any{"token": ours})
	hold := held(t, e, id, rotator.HoldStore)
	if !strings.Contains(hold.Text, "store vault: read again: ") || !strings.Contains(hold.Text, "mend it, then resume") || strings.Contains(hold.Text, ours) {
		t.Errorf("the hold says %q; want the store, what to do, and no log-in", hold.Text)
	}
	issuer.mu.Lock()
	if issuer.live[firstValue] == "" || issuer.live["value-of-id-2"] == "" {
		t.Errorf("P1: while it is held not both credentials live: %v", issuer.live)
	}
	issuer.mu.Unlock()
	logIn()
	goOn(t, e, id, rotator.Resume)
}
