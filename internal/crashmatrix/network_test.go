package crashmatrix

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rotatord/rotatord/internal/server"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

var networkFlag = flag.String("network", "", "disturb the connections at each step of a rotation: sample or all; empty: skip")

// disturbance is what is done to a link's answers. It lasts for two seconds.
type disturbance struct {
	name, toxic string
	attributes  map[string]int
}

func disturbances() []disturbance {
	return []disturbance{
		{"latency of 1.5 s", "latency", map[string]int{"latency": 1500}},
		{"reset", "reset_peer", map[string]int{"timeout": 0}},
		{"half an answer", "limit_data", map[string]int{"bytes": 70}},
		{"slow close", "slow_close", map[string]int{"delay": 1500}},
		{"black hole", "timeout", map[string]int{"timeout": 0}},
		{"down", "down", nil},
	}
}

func links() []string { return []string{"admin", "service", "vault", "probe", "webhook"} }

func steps() []rotator.Step {
	return []rotator.Step{rotator.StepIssue, rotator.StepStore, rotator.StepDeploy, rotator.StepProbe, rotator.StepRevoke, rotator.StepConfirm}
}

// TestNetwork disturbs each link between rotatord and others in each way, from
// each step of a rotation on. The rotation must end by itself, or with a person
// who resumes what is held, and nothing may be found afterwards.
func TestNetwork(t *testing.T) {
	share := 1
	switch *networkFlag {
	case "":
		t.Skip("slow; see the package's comment, or `make network`")
	case "sample":
		share = 12 // every link with every second disturbance, at changing steps
	case "all":
	default:
		t.Fatalf("-network %s: sample or all", *networkFlag)
	}
	vault, proxies := testservers.Vault(t), testservers.Toxiproxy(t)
	var mu sync.Mutex
	table := map[string]string{}
	t.Run("links", func(t *testing.T) {
		number := 0
		for l, link := range links() {
			for d, disturb := range disturbances() {
				for i, step := range steps() {
					if share > 1 && (l+d)%2 == 0 || share > 1 && i != (l+d/2)%len(steps()) {
						continue
					}
					number++
					prefix := fmt.Sprintf("%d-", number)
					name := fmt.Sprintf("%s/%s/%s", link, disturb.name, step)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						ended := disturbed(t, vault, proxies, prefix, link, disturb, step)
						mu.Lock()
						defer mu.Unlock()
						table[name] = ended
					})
				}
			}
		}
	})
	t.Logf("%d rotations on a disturbed network: %s", len(table), summary(table))
}

// summary counts how rotations ended.
func summary(table map[string]string) string {
	counts := map[string]int{}
	for _, ended := range table {
		counts[ended]++
	}
	var texts []string
	for ended, n := range counts {
		texts = append(texts, fmt.Sprintf("%d %s", n, ended))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

// disturbed is one rotation; it returns how it ended, and whether its log tells
// of errors.
func disturbed(t *testing.T, vault *testservers.VaultServer, proxies *testservers.ToxiproxyServer, prefix, link string, d disturbance, step rotator.Step) string {
	s := scenario{name: "network", daemon: true, reason: rotator.Manual, asksRollout: true, ends: rotator.Done}
	slow := func() (before, after time.Duration) { return 30 * time.Millisecond, 30 * time.Millisecond }
	w := newWorld(t, vault, s, slow)
	w.resumes = true // what is held is a person's to resume
	ways := map[string][]*testservers.ToxiProxy{}
	w.through = func(link, url string) string {
		address := strings.TrimPrefix(url, "http://")
		host, path, _ := strings.Cut(address, "/")
		way := proxies.Proxy(t, fmt.Sprintf("%s%s%d", prefix, link, len(ways[link])), host)
		ways[link] = append(ways[link], way)
		return strings.TrimSuffix("http://"+way.Addr+"/"+path, "/")
	}
	people := &inbox{}
	receiver := httptest.NewServer(people)
	t.Cleanup(receiver.Close)
	w.scenario.config = fmt.Sprintf("    notify: [people]\nnotifiers:\n  people: {type: webhook, url: %q, signing_secret: {env: HOOK_SECRET}}\n", w.way("webhook", receiver.URL))
	w.configure(t)

	daemon := w.start(t, nil, "serve")
	client := server.NewClient(w.socket())
	defer client.Close()
	until(t, "step "+string(step), func() bool {
		w.act(t, client)
		return w.reached(t, client, step)
	})
	for _, way := range ways[link] {
		way.Disturb(t, d.toxic, d.attributes)
	}
	time.Sleep(2 * time.Second)
	for _, way := range ways[link] {
		way.Restore(t)
	}
	if !w.playPerson(t, daemon) {
		t.Fatalf("the daemon ended:\n%s", lastLines(daemon.text()))
	}
	last := w.last(t, client)
	switch last.Status {
	case rotator.RolledBack, rotator.Failed: // as good an end as done
		w.scenario.ends = last.Status
	default:
	}
	until(t, "the message of the end", func() bool { return people.has("rotation." + string(last.Status)) })
	var f found
	w.look(t, &f)
	for _, problem := range f.problems {
		t.Error(problem)
	}
	if strings.Contains(daemon.text(), `"err":`) {
		return string(last.Status) + " after errors"
	}
	return string(last.Status)
}

// reached tells whether the rotation is in a step or behind it.
func (w *world) reached(t *testing.T, client *server.Client, step rotator.Step) bool {
	found, err := client.Tokens(t.Context(), token)
	if err != nil || len(found) != 1 {
		return false
	}
	if found[0].Open == nil {
		return found[0].Last != nil
	}
	return slices.Index(steps(), found[0].Open.Step) >= slices.Index(steps(), step)
}

// last is the rotation that has ended.
func (w *world) last(t *testing.T, client *server.Client) server.Rotation {
	t.Helper()
	found, err := client.Tokens(t.Context(), token)
	if err != nil || len(found) != 1 || found[0].Last == nil {
		t.Fatalf("the ended rotation can't be read: %v", err)
	}
	return *found[0].Last
}

// inbox is where people read what the webhook brought.
type inbox struct {
	mu    sync.Mutex
	types []string
}

func (i *inbox) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	var event struct {
		Type string `json:"type"`
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil || r.Header.Get("Webhook-Signature") == "" {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.types = append(i.types, event.Type)
}

func (i *inbox) has(kind string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.types, kind)
}
