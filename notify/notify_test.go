package notify_test

import (
	"testing"

	"github.com/rotatord/rotatord/internal/registry/registrytest"
	"github.com/rotatord/rotatord/notify"
)

func TestTypes(t *testing.T) {
	registrytest.Folders(t, notify.Types().Types())
	registrytest.Entries(t, notify.Types())
}
