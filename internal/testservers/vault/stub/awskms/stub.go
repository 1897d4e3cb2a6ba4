// Package awskms stands in for a cloud seal that the test Vault never uses, so
// that no cloud SDK is built. Only the names that Vault refers to are here.
package awskms

import (
	"context"
	"errors"

	hclog "github.com/hashicorp/go-hclog"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Names of environment variables and settings; here they are just distinct.
const (
	EnvAwsKmsWrapperKeyId   = "stub_awskms_EnvAwsKmsWrapperKeyId"
	EnvVaultAwsKmsSealKeyId = "stub_awskms_EnvVaultAwsKmsSealKeyId"
)

// Wrapper can't be configured.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper returns a Wrapper that can't be configured.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig always fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("awskms: not in this build")
}

// WithDisallowEnvVars changes nothing.
func WithDisallowEnvVars(bool) wrapping.Option { return func() any { return nil } }

// WithLogger changes nothing.
func WithLogger(hclog.Logger) wrapping.Option { return func() any { return nil } }
