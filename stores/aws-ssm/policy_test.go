package awsssmstore

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

const page = "../../docs/stores/aws-ssm.md"

// policyOf reads statements of the policy on the page. moto does not look at
// resources, and knows only "*".
func policyOf(t testing.TB, sids ...string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```json\n")
	block, _, _ = strings.Cut(block, "```")
	var policy struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal([]byte(block), &policy); err != nil {
		t.Fatalf("the policy of %s: %v", page, err)
	}
	policy.Statement = slices.DeleteFunc(policy.Statement, func(s map[string]any) bool {
		sid, _ := s["Sid"].(string)
		return !slices.Contains(sids, sid)
	})
	if len(policy.Statement) != len(sids) {
		t.Fatalf("the policy of %s lacks one of %q", page, sids)
	}
	for _, s := range policy.Statement {
		s["Resource"] = "*"
	}
	made, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	return string(made)
}

// The page's policy is enough, and no statement of it is too much.
func TestPolicyOfThePage(t *testing.T) {
	file := logIns(t)
	moto := testservers.Moto(t)
	client := clientOf(t, moto.Addr, accessKey, secretKey)
	profiles, checks := "", []func(){}
	for name, test := range map[string]struct {
		sids   []string
		label  string
		checks bool // CheckWrite says yes
		allows bool
	}{
		"all":                   {[]string{"Rotate", "Label"}, "live", true, true},
		"without a label":       {[]string{"Rotate"}, "", true, true},
		"without the statement": {[]string{"Rotate"}, "live", true, false},
		"nothing that matters":  {[]string{"Label"}, "live", false, false},
	} {
		user := strings.ReplaceAll(name, " ", "-")
		parameter := "/prod/" + user
		foreign(t, client, parameter, "old", test.label)
		access, secret := moto.LogIn(t, user, policyOf(t, test.sids...))
		profiles += profileOf(user, access, secret)
		store := opened(t, moto.Addr, func(c *Config) { c.Profile, c.Label = user, test.label })
		checks = append(checks, func() {
			if err := store.CheckWrite(t.Context(), parameter); (err == nil) != test.checks {
				t.Errorf("%s: CheckWrite = %v; want it to say yes: %v", name, err, test.checks)
			}
			_, err := store.Put(t.Context(), parameter, write("new", "1"))
			if (err == nil) != test.allows || err != nil && !rotator.IsPermanent(err) {
				t.Errorf("%s: Put = %v; want it allowed: %v", name, err, test.allows)
			}
			if now, err := store.Get(t.Context(), parameter); test.allows && (err != nil || now.Value.Reveal() != "new") {
				t.Errorf("%s: Get = %q, %v; want new", name, now.Value.Reveal(), err)
			}
		})
	}
	if err := os.WriteFile(file, []byte(profiles), 0o600); err != nil {
		t.Fatal(err)
	}
	moto.Enforce(t)
	for _, check := range checks {
		check()
	}
}
