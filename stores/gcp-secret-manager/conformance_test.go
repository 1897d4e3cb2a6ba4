package gcpsecretmanagerstore

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/stores/storetest"
)

// permissionRow is a row of the table of permissions in the page.
var permissionRow = regexp.MustCompile("(?m)^\\| `(secretmanager\\.[a-zA-Z.]+)` \\| ([^|]*) \\|")

// pagePermissions reads the permissions that the page lists: with the settings
// that a row names, or always.
func pagePermissions(t testing.TB, settings ...string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/stores/gcp-secret-manager.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range permissionRow.FindAllStringSubmatch(string(page), -1) {
		for _, setting := range append(settings, "always") {
			if strings.Contains(row[2], setting) && !slices.Contains(listed, row[1]) {
				listed = append(listed, row[1])
			}
		}
	}
	if len(listed) < 3 {
		t.Fatalf("the page lists %q; want at least three permissions", listed)
	}
	return listed
}

// opened returns a store over a server.
func (s *server) opened(t testing.TB, email string, change ...func(*Config)) *Store {
	t.Helper()
	c := Config{Project: "my-project", Endpoint: s.api, CAFile: s.caFile, CredentialsFile: s.keyFile(t, email)}
	for _, f := range change {
		f(&c)
	}
	store, err := New(t.Context(), c)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(func() { _ = store.(*Store).Close() })
	return store.(*Store)
}

func at(endpoint string) func(*Config) { return func(c *Config) { c.Endpoint = endpoint } }

func alias(name string) func(*Config) { return func(c *Config) { c.Alias = name } }

func creating(c *Config) { c.Create = true }

func TestLatest(t *testing.T) {
	conformance(t, "crm", "", storetest.Lacks{Fields: true, Empty: true, CompareAndSet: true})
}

func TestLatestField(t *testing.T) {
	conformance(t, "crm#INSTASENT_TOKEN", "", storetest.Lacks{CompareAndSet: true})
}

func TestAlias(t *testing.T) {
	conformance(t, "projects/my-project/secrets/crm", "current", storetest.Lacks{Fields: true, Empty: true})
}

func TestAliasField(t *testing.T) {
	conformance(t, "projects/my-project/secrets/crm#INSTASENT.TOKEN", "current", storetest.Lacks{})
}

func TestRegional(t *testing.T) {
	conformance(t, "projects/my-project/locations/europe-west1/secrets/crm#INSTASENT_TOKEN", "current", storetest.Lacks{})
}

func conformance(t *testing.T, key, current string, lacks storetest.Lacks) {
	t.Helper()
	settings := []string{"create"}
	if current != "" {
		settings = append(settings, "alias")
	}
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		s := newServer(t, pagePermissions(t, settings...)...)
		location := func(*Config) {}
		if strings.Contains(key, "/locations/") {
			s.location = "europe-west1"
			location = func(c *Config) { c.Location = s.location }
		}
		field := func(key string) string { _, field, _ := strings.Cut(key, "#"); return field }
		open := func(email, endpoint string) *Store {
			return s.opened(t, email, creating, alias(current), at(endpoint), location)
		}
		h := storetest.Harness{
			Store: open(robot, s.api),
			Key:   key,
			Bad: []string{
				"", "#x", "crm#", "../crm", "..", "crm/..", "a/b", "projects/my-project/secrets/..", "projects/../secrets/crm", "projects/my-project/secrets/crm/versions/1",
				"projects/my-project/locations/us-east1/secrets/crm", "cr m", "crm#a\nb", strings.Repeat("x", 256), "/crm", "https://evil/crm",
			},
			Write: func(t testing.TB, key, value string) {
				content := []byte(value)
				if field(key) != "" {
					fields := map[string]string{}
					if before, ok := s.read("crm", current); ok {
						mustUnmarshal(t, before, &fields)
					}
					fields[field(key)] = value
					content, _ = json.Marshal(fields)
				}
				s.put(t, "crm", current, content)
			},
			Read: func(t testing.TB, key string) (string, bool) {
				content, ok := s.read("crm", current)
				if !ok || field(key) == "" {
					return string(content), ok
				}
				fields := map[string]string{}
				mustUnmarshal(t, content, &fields)
				value, ok := fields[field(key)]
				return value, ok
			},
			Breaking:    open(robot, s.cut),
			Unreachable: open(robot, closedPort(t)),
			Refused:     open(stranger, s.api),
			Secrets:     []string{"s3cr3t", "ya29.", "PRIVATE KEY", "invalid_grant"},
			Lacks:       lacks,
		}
		if !lacks.Fields {
			h.Sibling = func(i int) string { return fmt.Sprintf("%s.%d", key, i) }
		}
		return h
	})
}

func mustUnmarshal(t testing.TB, content []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(content, to); err != nil {
		t.Fatalf("consumers read what is not JSON: %v", err)
	}
}

func closedPort(t testing.TB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
