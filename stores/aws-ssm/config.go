// Package awsssmstore keeps credentials in the Parameter Store of AWS Systems
// Manager: a parameter of type SecureString each.
//
// The Parameter Store has no compare-and-set. The parameter is compared right
// before the write, and the version number that AWS answers right after it: when
// it is not the next one, somebody else wrote in that very instant. Their
// version is then below ours, and the write says so.
//
// With a label, consumers read name:label, and so does this store: a write makes
// a version and then moves the label to it.
//
// It never deletes a parameter or a version, never writes one of another type,
// and retries nothing by itself (the engine does).
package awsssmstore

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/rotator"
)

// Example is one entry of the configuration, and the documentation.
//
//go:embed example.yaml
var Example string

// Config is an entry of type aws-ssm.
type Config struct {
	awsclient.Config `yaml:",inline"`

	Create   bool              `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"description=Create a parameter that is missing; without it that is an error"`
	KMSKeyID string            `yaml:"kms_key_id,omitempty" json:"kms_key_id,omitempty" jsonschema:"description=ID\\, ARN or alias of the KMS key of every version that is written (default: AWS's own key aws/ssm)"`
	Tier     string            `yaml:"tier,omitempty" json:"tier,omitempty" jsonschema:"enum=standard,enum=advanced,enum=intelligent-tiering,description=standard (4 KiB)\\, advanced (8 KiB) or intelligent-tiering; default is the account's"`
	Label    string            `yaml:"label,omitempty" json:"label,omitempty" jsonschema:"description=Label that consumers read the parameter by; it is moved to each version that is written"`
	Tags     map[string]string `yaml:"tags,omitempty" json:"tags,omitempty" jsonschema:"description=With create: tags of new parameters"`
}

// Limits of the Parameter Store, from its API reference.
const (
	maxName     = 1011 // characters
	maxStandard = 4096 // bytes of a value
	maxAdvanced = 8192
	maxLevels   = 15
	maxTags     = 50
)

// tiers are the tiers as AWS writes them.
func tiers() map[string]string {
	return map[string]string{"standard": "Standard", "advanced": "Advanced", "intelligent-tiering": "Intelligent-Tiering"}
}

var labelName = regexp.MustCompile(`^[A-Za-z_.-][A-Za-z0-9_.-]{0,99}$`)

// Validate implements the contract of every plug-in's Config; it calls nobody.
func (c Config) Validate() error {
	mistakes := []error{c.Config.Validate()}
	if c.Tier != "" && tiers()[c.Tier] == "" {
		mistakes = append(mistakes, rotator.Field("tier", fmt.Errorf("%q is not one of %s", c.Tier, strings.Join(slices.Sorted(maps.Keys(tiers())), ", "))))
	}
	if c.Label != "" && (!labelName.MatchString(c.Label) || reserved(c.Label)) {
		mistakes = append(mistakes, rotator.Field("label", errors.New("has letters, digits and _.- only, at most 100, and begins neither with a digit nor with aws or ssm")))
	}
	if len(c.Tags) > 0 && !c.Create {
		mistakes = append(mistakes, rotator.Field("tags", errors.New("go with create only")))
	}
	if len(c.Tags) > maxTags {
		mistakes = append(mistakes, rotator.Field("tags", fmt.Errorf("a parameter has at most %d", maxTags)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tags)) {
		if name == "" || len(name) > 128 || len(c.Tags[name]) > 256 || strings.HasPrefix(strings.ToLower(name), "aws:") {
			mistakes = append(mistakes, rotator.Field("tags", fmt.Errorf("tag %q: a name has 1 to 128 characters and does not begin with aws:, a value has at most 256", name)))
		}
	}
	return errors.Join(mistakes...)
}

// reserved tells whether AWS keeps a name for itself.
func reserved(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "aws") || strings.HasPrefix(name, "ssm")
}

var parameterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// checkKey holds AWS's rules for a parameter's name. It also refuses what looks
// like a way out of a folder: policies and people would be misled.
func checkKey(key string) error {
	var err error
	parts := strings.Split(strings.TrimPrefix(key, "/"), "/")
	switch {
	case key == "":
		err = errors.New("names no parameter")
	case len(key) > maxName:
		err = fmt.Errorf("a parameter's name has at most %d characters", maxName)
	case len(parts) > maxLevels:
		err = fmt.Errorf("a parameter's name has at most %d levels", maxLevels)
	case len(parts) > 1 && !strings.HasPrefix(key, "/"):
		err = errors.New("a name with levels begins with /")
	case reserved(parts[0]):
		err = errors.New("names that begin with aws or ssm are AWS's own")
	}
	for _, part := range parts {
		if err == nil && (!parameterName.MatchString(part) || part == "." || part == "..") {
			err = errors.New("a parameter's name has levels of letters, digits and _.- between single slashes, and no version or label; none is `.` or `..`")
		}
	}
	if err != nil {
		return rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	return nil
}
