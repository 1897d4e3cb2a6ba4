package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/instasentsim"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

const (
	token   = "crm-sync"
	field   = "INSTASENT_TOKEN"
	envFile = "crm.env"
	// hookSecret signs notifications: 32 bytes in base64.
	hookSecret = "whsec_Y2FuYXJ5IG9mIHRoZSBzaWduaW5nIHNlY3JldCAwMQ=="
)

// world is one rotatord's surroundings, and the folder where it lives.
type world struct {
	scenario scenario
	dir      string
	place    instasentsim.Place
	sim      *instasentsim.Sim
	vault    *testservers.VaultServer
	path     string // of the secret in Vault
	login    string // rotatord's own at Vault
	api      string // where the workers call the service
	listen   string // address of the daemon

	first       instasentsim.Issued // what a person made long ago, and the workers use
	bystander   instasentsim.Issued // somebody else's, of the same datasource
	provided    instasentsim.Issued // what the person generates when asked
	deleted     bool                // the person deleted the old one when asked
	workers     []*worker
	deaf        atomic.Bool // no worker takes up a rollout
	resumes     bool        // the person lets a held rotation look again
	typed       string      // what the next processes read from standard input
	canaries    []string    // more secrets that must be in no file and no output
	outputs     int         // files that hold what processes printed
	lastRefusal error       // of what the person asked for last
	slow        func() (before, after time.Duration)
	through     func(link, url string) string // the way rotatord takes to a server; nil: the straight one
}

var worlds atomic.Int64

// newWorld sets everything up; nothing of rotatord runs yet. All of it ends with
// the test. slow, if not nil, says how long each call to the service and to Vault
// takes before its effect and after.
func newWorld(t *testing.T, vault *testservers.VaultServer, s scenario, slow func() (before, after time.Duration)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "rd") //nolint:usetesting // the path of a unix socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		} else {
			t.Logf("kept for a look: %s", dir)
		}
	})
	number := worlds.Add(1)
	w := &world{
		scenario: s, dir: dir, vault: vault, path: fmt.Sprintf("crash/%d/crm", number), slow: slow,
		// A loopback address of its own: a port that is free now may be taken before the restart.
		listen: fmt.Sprintf("127.%d.%d.%d:8790", os.Getpid()%250+1, number/250, number%250+1),
		place:  instasentsim.Place{Project: "proj_x", Datasource: "ds_y"},
	}
	w.sim = instasentsim.New(instasentsim.Options{Places: []instasentsim.Place{w.place}, Knobs: instasentsim.Knobs{RateLimit: -1}})
	for made, name := range map[*instasentsim.Issued]string{&w.bystander: "of another team", &w.first: "by hand"} {
		if *made, err = w.sim.Generate(w.place, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"secrets", "state", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.write(t, filepath.Join("secrets", envFile), "# of the CRM\nCRM_USER=ana\n"+field+"="+w.first.Value+"\n")
	vault.Must(t, http.MethodPost, "secret/data/"+w.path, map[string]any{"data": map[string]string{field: w.first.Value, "OWNER": "crm"}})
	vault.Must(t, http.MethodPut, "sys/policies/acl/crash", map[string]string{
		"policy": `path "secret/data/crash/*" { capabilities = ["create", "read", "update"] }`,
	})
	w.login, _ = vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"crash"}})["client_token"].(string)
	w.api = w.serve(t, w.sim.API())
	w.work(t, w.api)
	w.configure(t)
	return w
}

// serve starts an HTTP server on loopback, as slow as the world is.
func (w *world) serve(t *testing.T, handler http.Handler) string {
	if w.slow != nil {
		handler = slowly(handler, w.slow)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// slowly takes time before an effect and between the effect and its answer.
func slowly(next http.Handler, slow func() (before, after time.Duration)) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		before, after := slow()
		time.Sleep(before)
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		time.Sleep(after)
		maps.Copy(out.Header(), answer.Header())
		out.WriteHeader(answer.Code)
		_, _ = io.Copy(out, answer.Body)
	})
}

// configure writes rotatord.yaml. Log-ins come from the environment.
func (w *world) configure(t *testing.T) {
	address, err := url.Parse(w.vault.Addr)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(address)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // of callers that were killed
	template, err := os.ReadFile("testdata/rotatord.yaml")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := os.ReadFile("testdata/admin-" + w.scenario.admin() + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var probes strings.Builder
	for _, each := range w.workers {
		_, _ = fmt.Fprintf(&probes, "        - {name: %s, type: http, url: %q, fingerprint_header: X-Token-Fingerprint, unhealthy_status: [500]}\n", each.name, w.way("probe", each.health))
	}
	vars := map[string]string{
		"API": w.way("service", w.api) + "/v1", "DASHBOARD": w.way("admin", w.serve(t, w.sim.Admin())), "DIR": w.dir, "VAULT": w.way("vault", w.serve(t, proxy)),
		"$": "$", "ALREADY": w.scenario.already(), "PATH": w.path, "LISTEN": w.listen, "FIRST": w.first.ID, "PROBES": strings.TrimSuffix(probes.String(), "\n"), "MORE": w.scenario.config,
	}
	expand := func(text string) string { return os.Expand(text, func(name string) string { return vars[name] }) }
	vars["ADMIN"] = strings.TrimSuffix(expand(string(admin)), "\n")
	w.write(t, "rotatord.yaml", expand(string(template)))
}

// way is the address that rotatord is told of a server.
func (w *world) way(link, url string) string {
	if w.through == nil {
		return url
	}
	return w.through(link, url)
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inVault returns the fields of the secret in Vault, asked as root.
func (w *world) inVault() (map[string]string, error) {
	status, answer, err := w.vault.Call(context.Background(), http.MethodGet, "secret/data/"+w.path, nil)
	if err != nil || status != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("read secret in Vault: status %d", status), err)
	}
	outer, _ := answer["data"].(map[string]any)
	inner, _ := outer["data"].(map[string]any)
	fields := map[string]string{}
	for name, value := range inner {
		fields[name], _ = value.(string)
	}
	return fields, nil
}

// inFile returns the variables of the .env file.
func (w *world) inFile() (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(w.dir, "secrets", envFile))
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
			fields[name] = value
		}
	}
	return fields, nil
}

type liveToken = instasentsim.TokenStats

// live returns what the service accepts now, without the other team's.
func (w *world) live() []liveToken {
	var live []liveToken
	for _, each := range w.sim.Live(w.place) {
		if each.ID != w.bystander.ID {
			live = append(live, each)
		}
	}
	return live
}

// secrets are all values that must be in no file and no output.
func (w *world) secrets() []string {
	return slices.Concat(w.sim.Values(), []string{w.sim.AdminToken(), w.login, hookSecret}, w.canaries)
}

// socket is where the daemon is asked.
func (w *world) socket() string { return filepath.Join(w.dir, "state", "rotatord.db.sock") }

func (w *world) firstFingerprint() rotator.Fingerprint { return rotator.FingerprintOf(w.first.Value) }
