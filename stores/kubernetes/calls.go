package kubernetesstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// manager is our name in managedFields.
const manager = "rotatord"

// The media type of a server-side apply; JSON is YAML too.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#serialization
const applyType = "application/apply-patch+yaml"

// errRaced means that nothing was written, because the Secret is no longer as it was read.
var errRaced = errors.New("the Secret is changed all the time")

// A record is a Secret as it was read.
type record struct {
	corev1.Secret

	found bool
	raw   map[string]any // the Secret as the cluster wrote it
}

// get reads a Secret. None is an empty record and no error.
func (c *client) get(ctx context.Context, p place) (record, error) {
	this := call{verb: "read", needs: "get", at: p}
	answer, err := c.send(ctx, http.MethodGet, p.path(true), nil, "", nil)
	if err == nil && answer.Status == http.StatusNotFound && reasonOf(answer) == metav1.StatusReasonNotFound {
		return record{}, nil
	}
	if err = this.explain(c, answer, err); err != nil {
		return record{}, err
	}
	return this.parse(answer)
}

// apply sets one key of a Secret that was read as old. errRaced means that
// nothing was written, because old is no longer what the cluster has. The UID is
// for a Secret that is gone: with a resourceVersion alone an apply makes it anew
// (seen with Kubernetes 1.37), with nothing but our keys.
func (c *client) apply(ctx context.Context, p place, old record, value string) (record, error) {
	this := call{verb: "write", needs: "patch", at: p}
	wanted, err := old.owned()
	if err != nil {
		return record{}, rotator.Permanent(fmt.Errorf("write %q: %w", p, err))
	}
	child(wanted, "data")[p.key] = []byte(value) // JSON makes it base64
	metadata := child(wanted, "metadata")
	metadata["uid"], metadata["resourceVersion"] = old.UID, old.ResourceVersion
	query := url.Values{"fieldManager": {manager}, "force": {"true"}}
	return c.write(ctx, this, http.MethodPatch, p.path(true), query, applyType, wanted)
}

// create makes a Secret with one key. errRaced means that there is one already.
// An apply could not tell: two of one manager at once would remove each other's key.
func (c *client) create(ctx context.Context, p place, value string) (record, error) {
	this := call{verb: "write", needs: "create", at: p}
	wanted := map[string]any{"data": map[string]any{p.key: []byte(value)}}
	return c.write(ctx, this, http.MethodPost, p.path(false), url.Values{"fieldManager": {manager}}, "application/json", wanted)
}

func (c *client) write(ctx context.Context, this call, method, path string, query url.Values, contentType string, wanted map[string]any) (record, error) {
	wanted["apiVersion"], wanted["kind"] = "v1", "Secret"
	metadata := child(wanted, "metadata")
	metadata["namespace"], metadata["name"] = this.at.namespace, this.at.secret
	answer, err := c.send(ctx, method, path, query, contentType, wanted)
	gone := answer.Status == http.StatusNotFound && method == http.MethodPatch
	if err == nil && (answer.Status == http.StatusConflict || gone) {
		return record{}, errRaced
	}
	if err = this.explain(c, answer, err); err != nil {
		return record{}, err
	}
	return this.parse(answer)
}

// denied is the cluster's answer that our log-in may not do something.
type denied struct{ error }

func (d *denied) Unwrap() error { return d.error }

// may asks the cluster whether our log-in is allowed to do something with a
// Secret. Every log-in may ask that about itself, unless somebody forbade it.
// https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
func (c *client) may(ctx context.Context, this call) error {
	review := authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: this.at.namespace, Verb: this.needs, Version: "v1", Resource: "secrets", Name: this.at.secret,
		}},
	}
	if this.needs == "create" {
		review.Spec.ResourceAttributes.Name = "" // the name is in the body, where no role looks
	}
	answer, err := c.send(ctx, http.MethodPost, "apis/authorization.k8s.io/v1/selfsubjectaccessreviews", nil, "application/json", review)
	asking := call{verb: "ask what is allowed for", at: this.at}
	if err = asking.explain(c, answer, err); err != nil {
		return beforeWrite(err)
	}
	var said authorizationv1.SelfSubjectAccessReview
	if json.Unmarshal(answer.Body, &said) != nil || said.Kind != "SelfSubjectAccessReview" {
		return rotator.Unsent(fmt.Errorf("%s: the answer is not that of a Kubernetes API", asking))
	}
	switch {
	case said.Status.Allowed:
		return nil
	case said.Status.EvaluationError != "" && !said.Status.Denied:
		return rotator.Unsent(fmt.Errorf("%s: the cluster could not look at all its rules", asking))
	}
	return rotator.Permanent(&denied{this.refusal()})
}

// send makes one request; body is sent as JSON unless it is nil.
func (c *client) send(ctx context.Context, method, path string, query url.Values, contentType string, body any) (webclient.Answer, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return webclient.Answer{}, rotator.Permanent(errors.New("the Secret can't be written as JSON"))
		}
	}
	target := c.base.JoinPath(path)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(content))
	if err != nil {
		return webclient.Answer{}, rotator.Permanent(errors.New("the cluster's server is not a URL"))
	}
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	return c.do(request)
}

// path of the Secret in the API, or of the namespace's Secrets.
func (p place) path(whole bool) string {
	path := "api/v1/namespaces/" + p.namespace + "/secrets"
	if whole {
		path += "/" + p.secret
	}
	return path
}

// parse reads a Secret from an answer.
func (asked call) parse(answer webclient.Answer) (record, error) {
	read := record{found: true}
	if json.Unmarshal(answer.Body, &read.Secret) != nil || json.Unmarshal(answer.Body, &read.raw) != nil ||
		read.Kind != "Secret" || read.Name != asked.at.secret || read.Namespace != asked.at.namespace || read.ResourceVersion == "" {
		return record{}, fmt.Errorf("%s: the answer is not that Secret", asked)
	}
	return read, nil
}

// child returns the object below a key, made when it is missing.
func child(object map[string]any, key string) map[string]any {
	below, ok := object[key].(map[string]any)
	if !ok {
		below = map[string]any{}
		object[key] = below
	}
	return below
}

// reasonOf reads why the API said no; an answer of something else has none.
func reasonOf(answer webclient.Answer) metav1.StatusReason {
	var status metav1.Status
	if json.Unmarshal(answer.Body, &status) != nil || !strings.EqualFold(status.Kind, "Status") {
		return metav1.StatusReasonUnknown
	}
	return status.Reason
}
