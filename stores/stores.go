// Package stores lists the types of stores by name.
//
// It registers nothing on import and has no logic. To add a store, write its
// package in a folder of the type's name, and add a line to Types.
package stores

import (
	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/rotator"
	awssecretsmanagerstore "github.com/rotatord/rotatord/stores/aws-secrets-manager"
	awsssmstore "github.com/rotatord/rotatord/stores/aws-ssm"
	azurekeyvaultstore "github.com/rotatord/rotatord/stores/azure-key-vault"
	execstore "github.com/rotatord/rotatord/stores/exec"
	filestore "github.com/rotatord/rotatord/stores/file"
	gcpsecretmanagerstore "github.com/rotatord/rotatord/stores/gcp-secret-manager"
	githubactionsstore "github.com/rotatord/rotatord/stores/github-actions"
	gitlabcistore "github.com/rotatord/rotatord/stores/gitlab-ci"
	kubernetesstore "github.com/rotatord/rotatord/stores/kubernetes"
	vaultstore "github.com/rotatord/rotatord/stores/vault"
)

// Types returns the types of stores.
func Types() registry.Kind[rotator.Store] {
	return registry.Kind[rotator.Store]{
		"aws-secrets-manager": registry.Of(awssecretsmanagerstore.New, awssecretsmanagerstore.Example),
		"aws-ssm":             registry.Of(awsssmstore.New, awsssmstore.Example),
		"azure-key-vault":     registry.Of(azurekeyvaultstore.New, azurekeyvaultstore.Example),
		"exec":                registry.Of(execstore.New, execstore.Example),
		"file":                registry.Of(filestore.New, filestore.Example),
		"gcp-secret-manager":  registry.Of(gcpsecretmanagerstore.New, gcpsecretmanagerstore.Example),
		"github-actions":      registry.Of(githubactionsstore.New, githubactionsstore.Example),
		"gitlab-ci":           registry.Of(gitlabcistore.New, gitlabcistore.Example),
		"kubernetes":          registry.Of(kubernetesstore.New, kubernetesstore.Example),
		"vault":               registry.Of(vaultstore.New, vaultstore.Example),
	}
}
