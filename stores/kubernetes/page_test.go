package kubernetesstore

import (
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

const page = "../../docs/stores/kubernetes.md"

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// blocks returns the page's blocks of YAML: the example, then the roles.
func blocks(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	if len(found) != 3 {
		t.Fatalf("%s has %d blocks of YAML; want the example and two roles", page, len(found))
	}
	return found
}

func TestPageHasExample(t *testing.T) {
	if blocks(t)[0] != Example {
		t.Errorf("the first block of %s is not example.yaml", page)
	}
}

// allow gives the service account rotatord what a block of the page says.
func (k kube) allow(t testing.TB, block string) {
	t.Helper()
	documents := yaml.NewDecoder(strings.NewReader(block))
	for {
		var object map[string]any
		if err := documents.Decode(&object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		namespace := child(object, "metadata")["namespace"].(string)
		kind := strings.ToLower(object["kind"].(string)) + "s"
		if k.standIn == nil {
			k.must(t, http.MethodPost, "/apis/rbac.authorization.k8s.io/v1/namespaces/"+namespace+"/"+kind, "application/json", object)
			continue
		}
		rules, _ := object["rules"].([]any)
		k.standIn.mu.Lock()
		before := k.standIn.may
		k.standIn.may = func(user, verb, in, secret string) bool {
			return before(user, verb, in, secret) || user == "rotatord" && in == namespace && slices.ContainsFunc(rules, func(rule any) bool {
				allowed := rule.(map[string]any)
				verbs, _ := allowed["verbs"].([]any)
				names, limited := allowed["resourceNames"].([]any)
				return slices.Contains(verbs, any(verb)) && (!limited || slices.Contains(names, any(secret)))
			})
		}
		k.standIn.mu.Unlock()
	}
}

// account returns a token of the service account that the page's roles name.
func (k kube) account(t testing.TB) string {
	t.Helper()
	k.namespace(t, "rotatord")
	if k.standIn != nil {
		return k.user
	}
	accounts := "/api/v1/namespaces/rotatord/serviceaccounts"
	k.must(t, http.MethodPost, accounts, "application/json", map[string]any{"metadata": map[string]any{"name": "rotatord"}})
	token := k.must(t, http.MethodPost, accounts+"/rotatord/token", "application/json", map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{},
	})
	return child(token, "status")["token"].(string)
}

// The roles of the page are enough, and no right in them is too much.
func TestRoles(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		for _, namespace := range []string{"team", "other"} {
			k.namespace(t, namespace)
			k.make(t, namespace+"/crm#INSTASENT_TOKEN", "old", nil)
			k.make(t, namespace+"/billing#K", "theirs", nil)
		}
		token := k.account(t)
		store := k.opened(t, token)
		making := k.opened(t, token, func(c *Config) { c.Create = true })
		if err := store.Ping(t.Context()); err != nil {
			t.Errorf("Ping without any right = %v; want nil, for the log-in works", err)
		}
		_, err := store.Get(t.Context(), key)
		wantPermanent(t, "Get without a role", err, `the verb "get" on secrets "crm" in namespace "team"`)

		k.allow(t, blocks(t)[1])
		eventually(t, "the role is in force", func() bool { return store.CheckWrite(t.Context(), key) == nil })
		mustPut(t, store, key, "new")
		wantRead(t, k, key, "new")
		for _, forbidden := range []string{"team/billing#K", "other/crm#INSTASENT_TOKEN"} {
			_, err := store.Get(t.Context(), forbidden)
			wantPermanent(t, "Get of another's", err, `the verb "get"`)
			_, err = store.Put(t.Context(), forbidden, secretOf("s3cr3t", "x"))
			wantPermanent(t, "Put of another's", err, `the verb "get"`)
			wantPermanent(t, "CheckWrite of another's", store.CheckWrite(t.Context(), forbidden), `the verb "get"`)
		}

		k.remove(t, key)
		wantPermanent(t, "CheckWrite without the right to create", making.CheckWrite(t.Context(), key), `the verb "create" on secrets in namespace "team"`)
		_, err = making.Put(t.Context(), key, secretOf("s3cr3t", ""))
		wantPermanent(t, "Put without the right to create", err, `the verb "create"`)
		k.allow(t, blocks(t)[2])
		eventually(t, "the role to create is in force", func() bool { return making.CheckWrite(t.Context(), key) == nil })
		mustPut(t, making, key, "made")
		wantRead(t, k, key, "made")
	})
}

// A role that lets us read but not write is found by the check, before any write.
func TestReadOnlyRole(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "old", nil)
		store := k.opened(t, k.account(t))
		k.allow(t, strings.ReplaceAll(blocks(t)[1], "[get, patch]", "[get]"))
		eventually(t, "the role is in force", func() bool {
			_, err := store.Get(t.Context(), key)
			return err == nil
		})
		wantPermanent(t, "CheckWrite", store.CheckWrite(t.Context(), key), `the verb "patch" on secrets "crm" in namespace "team"`)
		_, err := put(t, store, key, "s3cr3t")
		wantPermanent(t, "Put", err, `the verb "patch"`)
		wantRead(t, k, key, "old")
	})
}

// The service account is deleted in the middle.
func TestAccountDeleted(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "old", nil)
		store := k.opened(t, k.account(t))
		k.allow(t, blocks(t)[1])
		eventually(t, "the role is in force", func() bool { return store.CheckWrite(t.Context(), key) == nil })
		now := mustPut(t, store, key, "new")
		if k.standIn == nil {
			k.must(t, http.MethodDelete, "/api/v1/namespaces/rotatord/serviceaccounts/rotatord", "", nil)
		} else {
			k.standIn.mu.Lock()
			delete(k.standIn.tokens, k.user)
			k.standIn.mu.Unlock()
		}
		eventually(t, "the token is refused", func() bool { return store.Ping(t.Context()) != nil }) // the server remembers log-ins for 10 s
		_, err := store.Put(t.Context(), key, secretOf("s3cr3t", now.ID))
		wantPermanent(t, "Put with the token of a deleted account", err, "refuses the log-in")
		if !rotator.HadNoEffect(err) {
			t.Errorf("Put = %v; want one that surely had no effect", err)
		}
		wantRead(t, k, key, "new")
	})
}

// eventually polls for what another process does in its own time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
