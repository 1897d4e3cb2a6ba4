// Package azurekeyvault stands in for a cloud seal that the test Vault never uses, so
// that no cloud SDK is built. Only the names that Vault refers to are here.
package azurekeyvault

import (
	"context"
	"errors"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// Names of environment variables and settings; here they are just distinct.
const (
	EnvAzureKeyVaultWrapperKeyName   = "stub_azurekeyvault_EnvAzureKeyVaultWrapperKeyName"
	EnvAzureKeyVaultWrapperVaultName = "stub_azurekeyvault_EnvAzureKeyVaultWrapperVaultName"
	EnvVaultAzureKeyVaultKeyName     = "stub_azurekeyvault_EnvVaultAzureKeyVaultKeyName"
	EnvVaultAzureKeyVaultVaultName   = "stub_azurekeyvault_EnvVaultAzureKeyVaultVaultName"
)

// Wrapper can't be configured.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper returns a Wrapper that can't be configured.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig always fails.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("azurekeyvault: not in this build")
}

// WithDisallowEnvVars changes nothing.
func WithDisallowEnvVars(bool) wrapping.Option { return func() any { return nil } }
