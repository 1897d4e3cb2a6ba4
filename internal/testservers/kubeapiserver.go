package testservers

import (
	"os"
	"testing"
)

// kubeAPIServerVariable asks for a real Kubernetes API server: it takes too long to build for every run of the tests.
const kubeAPIServerVariable = "ROTATORD_TEST_KUBE"

func kubeAPIServer() Server {
	return Server{Name: "kube-apiserver", Version: "1.37.2", Cost: "once, about 10 minutes on two cores and 600 MB of modules"}
}

// Asked lists the servers that are built only when the environment asks for them.
func Asked() []Server {
	if os.Getenv(kubeAPIServerVariable) != "1" {
		return nil
	}
	return []Server{kubeAPIServer()}
}

// A KubeAPIServer is a running Kubernetes API server with RBAC and without
// controllers. It keeps nothing after its end.
type KubeAPIServer struct {
	Addr          string // https://127.0.0.1:port
	CA            string // PEM
	AdminToken    string // of a user who may do everything
	RotatordToken string // of the user rotatord, whom no role allows anything yet

	*process
}

// KubeAPI starts a Kubernetes API server for a test and stops it at the
// test's end. Without ROTATORD_TEST_KUBE=1 the test is skipped.
func KubeAPI(t testing.TB) *KubeAPIServer {
	t.Helper()
	if len(Asked()) == 0 {
		t.Skipf("set %s=1 to test against a real API server (%s)", kubeAPIServerVariable, kubeAPIServer().Cost)
	}
	var line struct {
		Addr          string `json:"addr"`
		CA            string `json:"ca"`
		AdminToken    string `json:"admin_token"`
		RotatordToken string `json:"rotatord_token"`
	}
	process, err := start(t.Context(), kubeAPIServer(), &line)
	needed(t, kubeAPIServer(), err)
	t.Cleanup(process.Stop)
	return &KubeAPIServer{Addr: line.Addr, CA: line.CA, AdminToken: line.AdminToken, RotatordToken: line.RotatordToken, process: process}
}
