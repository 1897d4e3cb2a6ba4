package kubernetesstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// errFields means that managedFields are not of the form that we know.
var errFields = errors.New("the Secret's managedFields can't be read")

// owned returns what our manager applied to the Secret before and still owns, as
// it is now: what an apply must state again for it to stay. Keys that somebody
// else has changed or removed since are not in it.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
func (r record) owned() (map[string]any, error) {
	for _, entry := range r.ManagedFields {
		if entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" {
			continue
		}
		fields, err := fieldsOf(entry)
		if err != nil {
			return nil, err
		}
		return pick(fields, r.raw)
	}
	return map[string]any{}, nil
}

// pick copies the fields of an object that a tree of managed fields names:
// {"f:data": {"f:TOKEN": {}}}. Items of lists, which we never apply, are refused.
func pick(fields, object map[string]any) (map[string]any, error) {
	picked := map[string]any{}
	for field, below := range fields {
		if field == "." {
			continue
		}
		name, ok := strings.CutPrefix(field, "f:")
		value, there := object[name]
		deeper, isTree := below.(map[string]any)
		if !ok || !isTree {
			return nil, errFields
		}
		if inner, nested := value.(map[string]any); nested {
			copied, err := pick(deeper, inner)
			if err != nil {
				return nil, err
			}
			picked[name] = copied
		} else if there {
			if len(deeper) > 0 {
				return nil, errFields
			}
			picked[name] = value
		}
	}
	return picked, nil
}

func fieldsOf(entry metav1.ManagedFieldsEntry) (map[string]any, error) {
	fields := map[string]any{}
	if entry.FieldsV1 == nil {
		return fields, nil
	}
	if entry.FieldsType != "FieldsV1" || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
		return nil, errFields
	}
	return fields, nil
}

// managersOf returns who owns a key's value, and since when it is there: the zero
// time unless one manager owns that key and no other, for a manager has one time
// for all that it owns.
func (r record) managersOf(key string) (managers []string, since time.Time) {
	for _, entry := range r.ManagedFields {
		fields, err := fieldsOf(entry)
		data, _ := fields["f:data"].(map[string]any)
		if _, owns := data["f:"+key]; err != nil || !owns {
			continue
		}
		managers = append(managers, entry.Manager)
		delete(data, ".")
		if since = (time.Time{}); len(managers) == 1 && len(data) == 1 && entry.Time != nil {
			since = entry.Time.Time
		}
	}
	return managers, since
}

// A source is a controller that writes Secrets from elsewhere, and what to do.
type source struct{ who, instead string }

var (
	externalSecrets = source{"External Secrets", "keep the token in the backend that it reads"}
	sealedSecrets   = source{"Sealed Secrets", "its sealed copy in git would come back; take the key out of the SealedSecret's Secret into one of its own"}
	vaultOperator   = source{"the Vault Secrets Operator", "use a store of type vault"}
	csiDriver       = source{"the Secrets Store CSI driver", "keep the token in the backend that it reads"}
	certManager     = source{"cert-manager", "use another Secret"}
	argoCD          = source{"Argo CD", "leave the key out of the manifest"}
	flux            = source{"Flux", "leave the key out of the manifest"}
)

// owners are the API groups of ownerReferences.
var owners = map[string]source{
	"external-secrets.io":         externalSecrets,
	"bitnami.com":                 sealedSecrets,
	"secrets.hashicorp.com":       vaultOperator,
	"secrets-store.csi.x-k8s.io":  csiDriver,
	"cert-manager.io":             certManager,
	"kustomize.toolkit.fluxcd.io": flux,
}

// marks are labels and annotations; an empty value stands for any.
var marks = []struct {
	name, value string
	source      source
}{
	{"reconcile.external-secrets.io/managed", "true", externalSecrets},
	{"reconcile.external-secrets.io/created-by", "", externalSecrets},
	{"reconcile.external-secrets.io/data-hash", "", externalSecrets},
	{"sealedsecrets.bitnami.com/managed", "true", sealedSecrets},
	{"sealedsecrets.bitnami.com/patch", "true", sealedSecrets},
	{"secrets.hashicorp.com/vso-ownerRefUID", "", vaultOperator},
	{"secrets-store.csi.k8s.io/managed", "true", csiDriver},
	{"cert-manager.io/certificate-name", "", certManager},
}

// A writer is a field manager that comes back to a key that it owns; a name that
// ends with a slash stands for all that begin so.
type writer struct {
	name   string
	source source
}

func (w writer) is(manager string) bool {
	return manager == w.name || strings.HasSuffix(w.name, "/") && strings.HasPrefix(manager, w.name)
}

var writers = []writer{
	{"externalsecrets.external-secrets.io/", externalSecrets},
	{"argocd-controller", argoCD},
	{"argocd-application-controller", argoCD},
	{"kustomize-controller", flux},
}

const accountToken = "kubernetes.io/service-account-token" //nolint:gosec // a type of Secrets

// writable tells why a key must not be written: the Secret can't be changed, or
// somebody else would write it again from another source. nil: it may.
func (r record) writable(key string) error {
	if r.Immutable != nil && *r.Immutable {
		return errors.New("the Secret is immutable; make a new one that is not, and let the workers use it")
	}
	if r.Type == accountToken {
		return errors.New("the Secret holds a service account's token, which the cluster makes itself; use another Secret")
	}
	for _, owner := range r.OwnerReferences {
		group, _, _ := strings.Cut(owner.APIVersion, "/")
		if known, ok := owners[group]; ok {
			return known.refusal()
		}
		if owner.Controller != nil && *owner.Controller {
			return fmt.Errorf("the Secret belongs to the %s %q, whose controller may write it again; use another Secret", owner.Kind, owner.Name)
		}
	}
	for _, mark := range marks {
		for _, set := range []map[string]string{r.Labels, r.Annotations} {
			if value, there := set[mark.name]; there && (mark.value == "" || mark.value == value) {
				return mark.source.refusal()
			}
		}
	}
	managers, _ := r.managersOf(key)
	for _, writer := range writers {
		if slices.ContainsFunc(managers, writer.is) {
			return writer.source.refusal()
		}
	}
	return nil
}

func (s source) refusal() error {
	return fmt.Errorf("%s writes it and would put the old value back; %s", s.who, s.instead)
}
