// Package kubernetesstore keeps credentials in Secrets of a Kubernetes cluster,
// one key of a Secret's data each.
//
// A write is a server-side apply by the field manager `rotatord`. An apply
// states everything that its manager wants: what the manager applied before and
// leaves out now is removed. So each write reads the Secret, states again what
// `rotatord` owns in it (the keys of other tokens, as they are), and adds its own
// key. The Secret's UID and resourceVersion go with it: when anything changed
// since the read, the cluster refuses the write, and the store looks again. With
// that guard force takes over nothing but the one key, whose value the caller
// knows. A manager for each key would need no such care, but GitOps tools are
// told by name whose fields to leave alone, and one name is what people can write
// down.
//
// A version is named by a hash of the value, so it outlives changes of other keys.
//
// It never deletes anything, never touches other keys, labels or the type, and
// never writes to a Secret that is immutable or that a controller writes from
// another source. client-go finds the cluster and logs in; requests are plain
// HTTP, so that none of its limits, retries and logs are in the way.
//
// To refuse the Secrets of one more controller, add it to the lists in owner.go.
package kubernetesstore

import (
	_ "embed"
	"errors"
	"regexp"

	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

// Config is an entry of type kubernetes: one cluster.
type Config struct {
	Kubeconfig string `yaml:"kubeconfig,omitempty" json:"kubeconfig,omitempty" jsonschema:"description=Path of a kubeconfig file; without it the pod's own service account is used"`
	Context    string `yaml:"context,omitempty" json:"context,omitempty" jsonschema:"description=Context of the kubeconfig file (default: its current-context)"`
	Namespace  string `yaml:"namespace,omitempty" json:"namespace,omitempty" jsonschema:"description=Namespace of keys that name none"`
	Create     bool   `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Make a Secret that does not exist; without it a missing Secret is an error"`
}

// Validate implements the contract of every plug-in's Config; it calls nobody
// and reads no file.
func (c Config) Validate() error {
	var mistakes []error
	if c.Context != "" && c.Kubeconfig == "" {
		mistakes = append(mistakes, rotator.Field("context", errors.New("goes with kubeconfig only")))
	}
	if c.Namespace != "" {
		mistakes = append(mistakes, rotator.Field("namespace", checkNamespace(c.Namespace)))
	}
	return errors.Join(mistakes...)
}

// What names are made of:
// https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
// https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data
var (
	label   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	name    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	dataKey = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)
)

const maxName = 253

func checkNamespace(text string) error {
	if !label.MatchString(text) {
		return errors.New("a namespace has at most 63 lower-case letters, digits and dashes")
	}
	return nil
}
