package vaultstore

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rotatord/rotatord/rotator"
)

// policyLine is one line of a policy of the page.
type policyLine struct {
	path string
	can  []string
}

func (p policyLine) String() string {
	return `path "` + p.path + `" { capabilities = ["` + strings.Join(p.can, `", "`) + `"] }`
}

func linesOf(t *testing.T, policy string) []policyLine {
	t.Helper()
	var lines []policyLine
	for line := range strings.Lines(policy) {
		parts := strings.Split(line, `"`)
		p := policyLine{path: parts[1]}
		for i := 3; i < len(parts); i += 2 {
			p.can = append(p.can, parts[i])
		}
		if p.String() != strings.TrimSpace(line) {
			t.Fatalf("the line %q is read as %q", line, p)
		}
		lines = append(lines, p)
	}
	return lines
}

// The policies of the page are enough for every call, and nothing in them can
// be left out.
func TestPoliciesAreMinimal(t *testing.T) {
	vault := server(t)
	for at, path := range map[string]string{"secret": "secret/data/crm", "kv": "kv/crm"} {
		lines := linesOf(t, policyOf(t, path))
		work := func(without int, capability string) string {
			t.Helper()
			var policy strings.Builder
			for i, line := range lines {
				if i == without {
					line.can = slices.DeleteFunc(slices.Clone(line.can), func(c string) bool { return c == capability })
				}
				if len(line.can) > 0 {
					policy.WriteString(line.String() + "\n")
				}
			}
			vault.Must(t, http.MethodPut, "sys/policy/page", map[string]string{"policy": policy.String()})
			vault.Must(t, http.MethodDelete, strings.Replace(path, "data", "metadata", 1), nil)
			token, _ := vault.Must(t, http.MethodPost, "auth/token/create", map[string]any{
				"policies": []string{"page"}, "no_default_policy": true, "ttl": "1h",
			})["client_token"].(string)
			return firstThatFails(t, opened(t, vault.Addr, token, mount(at)))
		}
		if failed := work(-1, ""); failed != "" {
			t.Errorf("with the policy for %s: %s", path, failed)
		}
		for i, line := range lines {
			for _, capability := range line.can {
				failed := work(i, capability)
				if failed == "" {
					t.Errorf("without %q on %s every call works; it needn't be in the policy", capability, line.path)
				}
				t.Logf("without %q on %s: %s", capability, line.path, failed)
			}
		}
	}
}

// firstThatFails makes every kind of call, and returns what fails first.
func firstThatFails(t *testing.T, store *Store) string {
	t.Helper()
	var now rotator.Version
	put := func(value string) func() error {
		return func() (err error) {
			now, err = store.Put(t.Context(), key, rotator.Write{Value: rotator.NewSecret(value), Prev: now.ID})
			return err
		}
	}
	for _, call := range []struct {
		name string
		make func() error
	}{
		{"Ping", func() error { return store.Ping(t.Context()) }},
		{"the first Put", put("1")},
		{"Get", func() (err error) { now, err = store.Get(t.Context(), key); return err }},
		{"the second Put", put("2")},
		{"CheckWrite", func() error { return store.CheckWrite(t.Context(), key) }},
		{"renewing", func() error {
			before := store.session.now
			before.renewAt = time.Now()
			err := store.Ping(t.Context())
			if err == nil && store.session.now != before {
				return errors.New("it was not renewed")
			}
			return err
		}},
	} {
		if err := call.make(); err != nil {
			return call.name + ": " + err.Error()
		}
	}
	return ""
}
