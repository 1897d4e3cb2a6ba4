package issuers_test

import (
	"testing"

	"github.com/rotatord/rotatord/internal/registry/registrytest"
	"github.com/rotatord/rotatord/issuers"
)

func TestTypes(t *testing.T) {
	registrytest.Folders(t, issuers.Types().Types())
	registrytest.Entries(t, issuers.Types())
}
