package rollout_test

import (
	"testing"

	"github.com/rotatord/rotatord/internal/registry/registrytest"
	"github.com/rotatord/rotatord/rollout"
)

func TestTypes(t *testing.T) {
	registrytest.Folders(t, rollout.Deployers().Types(), rollout.Probes().Types())
}

func TestDeployers(t *testing.T) { registrytest.Entries(t, rollout.Deployers(), "name") }

func TestProbes(t *testing.T) { registrytest.Entries(t, rollout.Probes(), "name") }
