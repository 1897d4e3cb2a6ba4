package stores_test

import (
	"testing"

	"github.com/rotatord/rotatord/internal/registry/registrytest"
	"github.com/rotatord/rotatord/stores"
)

func TestTypes(t *testing.T) {
	registrytest.Folders(t, stores.Types().Types())
	registrytest.Entries(t, stores.Types())
}
