// Package ocikms stands in for a cloud seal that the test Vault never uses, so
// that no cloud SDK is built. Only the names that Vault refers to are here.
package ocikms

import (
	"context"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Names of environment variables and settings; here they are just distinct.
const (
	EnvOciKmsWrapperCryptoEndpoint       = "stub_ocikms_EnvOciKmsWrapperCryptoEndpoint"
	EnvOciKmsWrapperKeyId                = "stub_ocikms_EnvOciKmsWrapperKeyId"
	EnvOciKmsWrapperManagementEndpoint   = "stub_ocikms_EnvOciKmsWrapperManagementEndpoint"
	EnvVaultOciKmsSealCryptoEndpoint     = "stub_ocikms_EnvVaultOciKmsSealCryptoEndpoint"
	EnvVaultOciKmsSealKeyId              = "stub_ocikms_EnvVaultOciKmsSealKeyId"
	EnvVaultOciKmsSealManagementEndpoint = "stub_ocikms_EnvVaultOciKmsSealManagementEndpoint"
	KmsConfigKeyId                       = "stub_ocikms_KmsConfigKeyId"
	KmsConfigCryptoEndpoint              = "stub_ocikms_KmsConfigCryptoEndpoint"
	KmsConfigManagementEndpoint          = "stub_ocikms_KmsConfigManagementEndpoint"
)

// Wrapper can't be configured.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper returns a Wrapper that can't be configured.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig always fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("ocikms: not in this build")
}

// WithDisallowEnvVars changes nothing.
func WithDisallowEnvVars(bool) wrapping.Option { return func() any { return nil } }
