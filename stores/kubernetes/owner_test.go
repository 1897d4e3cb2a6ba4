package kubernetesstore

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Secrets that others write from elsewhere are refused, and say whose they are.
func TestForeignOwners(t *testing.T) {
	owner := func(group, kind string, controller bool) map[string]any {
		return map[string]any{"metadata": map[string]any{"ownerReferences": []any{map[string]any{
			"apiVersion": group, "kind": kind, "name": "o", "uid": "1b5e8c1e-0000-4000-8000-000000000000", "controller": controller,
		}}}}
	}
	mark := func(where, name, value string) map[string]any {
		return map[string]any{"metadata": map[string]any{where: map[string]any{name: value}}}
	}
	for name, test := range map[string]struct {
		more    map[string]any
		manager string
		want    string // "": it may be written
	}{
		"External Secrets owns it":        {owner("external-secrets.io/v1", "ExternalSecret", true), "", "External Secrets"},
		"External Secrets, older API":     {owner("external-secrets.io/v1beta1", "ExternalSecret", false), "", "External Secrets"},
		"External Secrets merges into it": {mark("labels", "reconcile.external-secrets.io/managed", "true"), "", "External Secrets"},
		"External Secrets wrote the key":  {nil, "externalsecrets.external-secrets.io/crm", "External Secrets"},
		"Sealed Secrets owns it":          {owner("bitnami.com/v1alpha1", "SealedSecret", true), "", "Sealed Secrets"},
		"Sealed Secrets may take it":      {mark("annotations", "sealedsecrets.bitnami.com/managed", "true"), "", "Sealed Secrets"},
		"Sealed Secrets patches it":       {mark("annotations", "sealedsecrets.bitnami.com/patch", "true"), "", "Sealed Secrets"},
		"Sealed Secrets may not take it":  {mark("annotations", "sealedsecrets.bitnami.com/managed", "false"), "", ""},
		"the Vault operator owns it":      {owner("secrets.hashicorp.com/v1beta1", "VaultStaticSecret", false), "", "Vault Secrets Operator"},
		"the CSI driver owns it":          {mark("labels", "secrets-store.csi.k8s.io/managed", "true"), "", "CSI driver"},
		"cert-manager owns it":            {mark("annotations", "cert-manager.io/certificate-name", "crm"), "", "cert-manager"},
		"Argo CD wrote the key":           {nil, "argocd-controller", "Argo CD"},
		"Flux wrote the key":              {nil, "kustomize-controller", "Flux"},
		"some operator controls it":       {owner("example.com/v1", "Database", true), "", `Database "o"`},
		"some object owns it":             {owner("example.com/v1", "Database", false), "", ""},
		"a person wrote it with kubectl":  {mark("labels", "app", "crm"), "kubectl-client-side-apply", ""},
		"it holds a service account's token": {map[string]any{
			"type": accountToken, "metadata": map[string]any{"annotations": map[string]any{"kubernetes.io/service-account.name": "default"}},
		}, "", "service account's token"},
		"it is immutable": {map[string]any{"immutable": true}, "", "immutable"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newStandIn(t)
			k.namespace(t, "team")
			manager := test.manager
			if manager == "" {
				manager = "kubectl-create"
			}
			secret := merged(map[string]any{"metadata": map[string]any{"name": "crm"}, "data": map[string]any{"INSTASENT_TOKEN": encoded("old")}}, test.more)
			k.must(t, http.MethodPost, "/api/v1/namespaces/team/secrets?fieldManager="+manager, "application/json", secret)
			store := k.opened(t, k.admin)
			_, err := put(t, store, key, "s3cr3t")
			check := store.CheckWrite(t.Context(), key)
			if test.want == "" {
				if err != nil {
					t.Errorf("Put = %v; want nil", err)
				}
				return
			}
			wantPermanent(t, "Put", err, `write "team/crm#INSTASENT_TOKEN"`, test.want)
			wantPermanent(t, "CheckWrite", check, test.want)
			wantRead(t, k, key, "old")
			if test.manager != "" { // another key of the same Secret is nobody's
				if _, err := put(t, store, "team/crm#OTHER", "v"); err != nil {
					t.Errorf("Put of another key = %v; want nil", err)
				}
			}
		})
	}
}

// The real server says no in its own words, which are not repeated.
func TestRefusedByRules(t *testing.T) {
	each(t, func(t *testing.T, k kube) {
		k.namespace(t, "team")
		k.make(t, key, "old", map[string]any{"immutable": true})
		store := k.opened(t, k.admin)
		wantPermanent(t, "CheckWrite of an immutable Secret", store.CheckWrite(t.Context(), key), "immutable")
		_, err := put(t, store, key, "s3cr3t")
		wantPermanent(t, "Put into an immutable Secret", err, "immutable")
		// Past our own check, for the server has the last word.
		err = store.session.do(t.Context(), func(c *client) error {
			_, p := pathOf(t, key)
			now, err := c.get(t.Context(), p)
			if err != nil {
				return err
			}
			_, err = c.apply(t.Context(), p, now, "s3cr3t")
			return err
		})
		wantPermanent(t, "apply to an immutable Secret", err, "422")
		wantRead(t, k, key, "old")
	})
}

func TestUnknownManagedFields(t *testing.T) {
	for _, fields := range []string{`{"f:data":{"k:{\"name\":\"x\"}":{}}}`, `{"f:data":[]}`, `[]`, `{"f:type":{"f:x":{}}}`} {
		r := record{raw: map[string]any{"data": map[string]any{"A": "eA=="}, "type": "Opaque"}}
		r.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: manager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}}
		if got, err := r.owned(); err == nil {
			t.Errorf("owned of %s = %v; want an error", fields, got)
		}
	}
}
