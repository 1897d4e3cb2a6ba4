package awssecretsmanagerstore

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

const page = "../../docs/stores/aws-secrets-manager.md"

type statement struct {
	Sid, Effect string
	Action      []string
	Resource    string
}

// policyOf reads statements of the policy on the page, without some actions.
// moto does not look at resources, and knows only "*".
func policyOf(t testing.TB, sids []string, without ...string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```json\n")
	block, _, _ = strings.Cut(block, "```")
	var policy struct {
		Version   string
		Statement []statement
	}
	if err := json.Unmarshal([]byte(block), &policy); err != nil {
		t.Fatalf("the policy of %s: %v", page, err)
	}
	policy.Statement = slices.DeleteFunc(policy.Statement, func(s statement) bool { return !slices.Contains(sids, s.Sid) })
	if len(policy.Statement) != len(sids) {
		t.Fatalf("the policy of %s lacks one of %q", page, sids)
	}
	for i, s := range policy.Statement {
		policy.Statement[i].Resource = "*"
		policy.Statement[i].Action = slices.DeleteFunc(s.Action, func(a string) bool { return slices.Contains(without, a) })
	}
	made, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	return string(made)
}

// The page's policy is enough, directly and for a role, and no action of it is too much.
func TestPolicyOfThePage(t *testing.T) {
	file := logIns(t)
	moto := testservers.Moto(t)
	client := motoClient(t, moto.Addr, accessKey, secretKey)
	profiles, checks := "", []func(){}
	rotate, create := []string{"Rotate"}, []string{"Rotate", "CreateMissing"}
	for name, test := range map[string]struct {
		sids    []string
		without string
		key     string
		fails   string // the call that does
	}{
		"all":                                   {rotate, "", "crm#TOKEN", ""},
		"all, a new secret":                     {create, "", "new#TOKEN", ""},
		"without DescribeSecret":                {rotate, "secretsmanager:DescribeSecret", "crm#TOKEN", "CheckWrite"},
		"without GetSecretValue":                {rotate, "secretsmanager:GetSecretValue", "crm#TOKEN", "CheckWrite"},
		"without UpdateSecretVersionStage":      {rotate, "secretsmanager:UpdateSecretVersionStage", "crm#TOKEN", "CheckWrite"},
		"without PutSecretValue":                {rotate, "secretsmanager:PutSecretValue", "crm#TOKEN", "Put"},
		"without CreateSecret":                  {create, "secretsmanager:CreateSecret", "new#TOKEN", "Put"},
		"without the statement for new secrets": {rotate, "", "new#TOKEN", "Put"},
	} {
		secret, _, _ := strings.Cut(test.key, "#")
		user := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
		exists := secret == "crm"
		secret += "-" + user
		if exists {
			if err := foreignWrite(t.Context(), client, secret, `{"TOKEN":"old"}`); err != nil {
				t.Fatal(err)
			}
		}
		role := moto.Role(t, user, policyOf(t, test.sids, test.without))
		access, key := moto.LogIn(t, user, `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}`)
		profiles += profileOf(user, access, key)
		store := opened(t, moto.Addr, func(c *Config) { c.Profile, c.RoleARN, c.STSEndpoint = user, role, moto.Addr })
		checks = append(checks, func() { policyAllows(t, name, store, secret+"#TOKEN", test.without, test.fails) })
	}
	writeFile(t, file, profiles)
	moto.Enforce(t)
	for _, check := range checks {
		check()
	}
}

// policyAllows makes the calls of a rotation; fails is the first that is refused.
func policyAllows(t *testing.T, name string, store *Store, key, without, fails string) {
	t.Helper()
	if err := store.Ping(t.Context()); err != nil && without != "secretsmanager:DescribeSecret" {
		t.Errorf("%s: Ping = %v; want nil", name, err)
	}
	prev := ""
	if now, err := store.Get(t.Context(), key); err == nil {
		prev = now.ID
	}
	_, put := store.Put(t.Context(), key, write("new", prev, "a"))
	check := store.CheckWrite(t.Context(), key)
	if fails == "" {
		if put != nil || check != nil {
			t.Errorf("%s: Put = %v, CheckWrite = %v; want nil", name, put, check)
		} else if now := get(t, store, key); now.Value.Reveal() != "new" {
			t.Errorf("%s: Get = %q; want new", name, now.Value.Reveal())
		}
		return
	}
	for call, err := range map[string]error{"Put": put, "CheckWrite": check} {
		// moto refuses in XML, where AWS does it in JSON with a code; see TestRefusals.
		refused := rotator.IsPermanent(err) && strings.Contains(err.Error(), "answered 403")
		if want := call == "Put" || fails == call; refused != want {
			t.Errorf("%s: %s = %v; want a permanent refusal: %v", name, call, err, want)
		}
	}
}

// Whichever action is not allowed, the error names it; a Ping needs none.
func TestRefusals(t *testing.T) {
	w, sim := simulated(t)
	sim.Write("crm", "old")
	now := get(t, opened(t, w.endpoint), "crm")
	refused := ""
	sim.Before = func(action string) (int, string) {
		if action == refused {
			return http.StatusBadRequest, "AccessDeniedException"
		}
		return 0, ""
	}
	store := opened(t, w.endpoint)
	for _, refused = range []string{"GetSecretValue", "DescribeSecret", "PutSecretValue", "UpdateSecretVersionStage", "CreateSecret"} {
		key, prev := "crm", now.ID
		if refused == "CreateSecret" {
			key, prev = "new", ""
		}
		_, err := store.Put(t.Context(), key, write("new", prev, "a"))
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "must allow secretsmanager:"+refused) {
			t.Errorf("Put = %v; want a permanent error that names %s", err, refused)
		}
		if err := store.Ping(t.Context()); err != nil {
			t.Errorf("Ping without %s = %v; want nil", refused, err)
		}
		if value, _ := sim.Read("crm", current); value != "old" {
			t.Errorf("without %s consumers read %q; want old", refused, value)
		}
	}
}

// What only a real client sees: the versions and labels after two writes.
func TestLabelsAtMoto(t *testing.T) {
	w := motos(t)
	client := motoClient(t, w.endpoint, accessKey, secretKey)
	w.write(t, "crm", "old")
	store := opened(t, w.endpoint)
	old := get(t, store, "crm")
	made, err := store.Put(t.Context(), "crm", write("new", old.ID, "a"))
	if err != nil {
		t.Fatal(err)
	}
	about, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("crm")})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(about.VersionIdsToStages[made.ID], current) || !slices.Contains(about.VersionIdsToStages[old.ID], "AWSPREVIOUS") || len(about.VersionIdsToStages) != 2 {
		t.Errorf("labels = %v; want AWSCURRENT on %q and AWSPREVIOUS on %q", about.VersionIdsToStages, made.ID, old.ID)
	}
}
