package azurekeyvaultstore

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/stores/storetest"
)

// actionLine is a line of the role in the page.
var actionLine = regexp.MustCompile(`(?m)^ +"(Microsoft\.KeyVault/vaults/secrets/[a-zA-Z/]+)"`)

// pageActions reads the data actions of the custom role in the page.
func pageActions(t testing.TB) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/stores/azure-key-vault.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, match := range actionLine.FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, match[1])
	}
	if len(listed) != 3 {
		t.Fatalf("the role in the page has the data actions %q; want three", listed)
	}
	return listed
}

func TestWhole(t *testing.T) {
	conformance(t, "crm-token", storetest.Lacks{Fields: true, Empty: true, CompareAndSet: true})
}

func TestField(t *testing.T) {
	conformance(t, "crm-token#INSTASENT_TOKEN", storetest.Lacks{CompareAndSet: true})
}

func conformance(t *testing.T, key string, lacks storetest.Lacks) {
	t.Helper()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		s := newServer(t, pageActions(t)...)
		field := func(key string) string { _, field, _ := strings.Cut(key, "#"); return field }
		h := storetest.Harness{
			Store: s.opened(t, creating),
			Key:   key,
			Bad: []string{
				"", "#x", "crm#", "../crm", "..", "a/b", "crm/..", "a_b", "a b", "a.b", "crm#a\nb", strings.Repeat("x", 128), "/crm", "crm/", "https://evil/crm", "crm?x", "crm%2f..",
			},
			Write: func(t testing.TB, key, value string) {
				if field(key) != "" {
					fields := map[string]string{}
					if before, ok := s.read("crm-token"); ok {
						mustUnmarshal(t, before, &fields)
					}
					fields[field(key)] = value
					content, _ := json.Marshal(fields)
					value = string(content)
				}
				s.put("crm-token", value)
			},
			Read: func(t testing.TB, key string) (string, bool) {
				content, ok := s.read("crm-token")
				if !ok || field(key) == "" {
					return content, ok
				}
				fields := map[string]string{}
				mustUnmarshal(t, content, &fields)
				value, ok := fields[field(key)]
				return value, ok
			},
			Breaking:    s.opened(t, creating, at(cutting)),
			Unreachable: s.opened(t, creating, at("closed.vault.azure.net")),
			Refused:     s.opened(t, creating, func(c *Config) { c.Auth.ClientID = stranger }),
			Secrets:     []string{"s3cr3t", "eyJ", "AADSTS", "invalid_client"},
			Lacks:       lacks,
		}
		if !lacks.Fields {
			h.Sibling = func(i int) string { return fmt.Sprintf("crm-token#OTHER.%d", i) }
		}
		return h
	})
}

func mustUnmarshal(t testing.TB, content string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(content), to); err != nil {
		t.Fatalf("consumers read what is not JSON: %v", err)
	}
}
