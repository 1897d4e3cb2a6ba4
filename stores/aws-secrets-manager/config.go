// Package awssecretsmanagerstore keeps credentials in AWS Secrets Manager: a
// whole secret each, or one field of a secret that is a JSON object.
//
// A write follows AWS's own protocol of a rotation: the new version is staged
// as AWSPENDING, under an ID that is made from the attempt, and AWSCURRENT is
// then moved to it from the version that was read before. That move is the
// guard: AWS refuses it when AWSCURRENT stands on another version. AWSPREVIOUS
// follows by itself.
//
// It never deletes a secret or a version, never writes binary values, never
// starts or stops a rotation of AWS's own, and retries nothing by itself (the
// engine does).
package awssecretsmanagerstore

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

// Config is an entry of type aws-secrets-manager.
type Config struct {
	awsclient.Config `yaml:",inline"`

	Create   bool              `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Create a secret that is missing; without it that is an error"`
	KMSKeyID string            `yaml:"kms_key_id,omitempty" json:"kms_key_id,omitempty" jsonschema:"description=With create: ID\\, ARN or alias of the KMS key of new secrets (default: AWS's own key aws/secretsmanager)"`
	Tags     map[string]string `yaml:"tags,omitempty" json:"tags,omitempty" jsonschema:"description=With create: tags of new secrets"`
}

// Limits of Secrets Manager, from its quotas and API reference.
const (
	maxName  = 512       // characters
	maxValue = 64 * 1024 // bytes
	maxTags  = 50
)

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	mistakes := []error{c.Config.Validate()}
	if c.KMSKeyID != "" && !c.Create {
		mistakes = append(mistakes, rotator.Field("kms_key_id", errors.New("goes with create only; a secret that exists keeps its key")))
	}
	if len(c.Tags) > 0 && !c.Create {
		mistakes = append(mistakes, rotator.Field("tags", errors.New("go with create only")))
	}
	if len(c.Tags) > maxTags {
		mistakes = append(mistakes, rotator.Field("tags", fmt.Errorf("a secret has at most %d", maxTags)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tags)) {
		if name == "" || len(name) > 128 || len(c.Tags[name]) > 256 || strings.HasPrefix(strings.ToLower(name), "aws:") {
			mistakes = append(mistakes, rotator.Field("tags", fmt.Errorf("tag %q: a name has 1 to 128 characters and does not begin with aws:, a value has at most 256", name)))
		}
	}
	return errors.Join(mistakes...)
}

var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]+$`)

// parseKey reads name, name#json_field, or the same with the secret's ARN.
func parseKey(key string) (secret, field string, err error) {
	secret, field, hasField := strings.Cut(key, "#")
	switch {
	case hasField && (field == "" || strings.ContainsFunc(field, unicode.IsControl)):
		err = errors.New("must be name or name#json_field")
	case strings.HasPrefix(secret, "arn:"):
		parsed, bad := arn.Parse(secret)
		name, ok := strings.CutPrefix(parsed.Resource, "secret:")
		if bad != nil || parsed.Service != "secretsmanager" || !ok {
			err = errors.New("must be the ARN of a secret")
		} else {
			err = checkName(name)
		}
	default:
		err = checkName(secret)
	}
	if err != nil {
		return "", "", rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	return secret, field, nil
}

// checkName also refuses what looks like a way out of a folder: AWS takes it as
// a name like any other, but policies and people would be misled.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("names no secret")
	case len(name) > maxName:
		return fmt.Errorf("a secret's name has at most %d characters", maxName)
	case !secretName.MatchString(name):
		return errors.New("a secret's name has letters, digits and /_+=.@- only")
	case slices.Contains(strings.Split(name, "/"), ".."):
		return errors.New("a secret's name must not have `..` between slashes")
	}
	return nil
}
