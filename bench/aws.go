package bench

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"time"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/awssim"
	"github.com/rotatord/rotatord/rotator"
	awssecretsmanagerstore "github.com/rotatord/rotatord/stores/aws-secrets-manager"
)

// AWSQuota is how many writes a second AWS Secrets Manager takes.
const AWSQuota = 50

// AWS rotates p.Rotations tokens that are also kept in AWS Secrets Manager,
// p.Concurrent at once. The real store writes them to a stand-in that throttles
// what is above AWS's quota; a token takes two writes. In Times: "floor" is what
// the quota alone takes, "throttled" is how many writes were refused.
func AWS(ctx context.Context, p Params) (Sample, error) {
	const accessKey, secretKey = "AKIAROTATORDBENCH001", "not-a-secret" //nolint:gosec // the stand-in's
	sim := awssim.New(accessKey, secretKey)
	sim.Quota = AWSQuota
	server := httptest.NewServer(sim)
	defer server.Close()
	// The log-in is that of the environment, as in production.
	err := errors.Join(os.Setenv("AWS_ACCESS_KEY_ID", accessKey), os.Setenv("AWS_SECRET_ACCESS_KEY", secretKey), os.Unsetenv("AWS_SESSION_TOKEN"))
	if err != nil {
		return Sample{}, err
	}
	store, err := awssecretsmanagerstore.New(ctx, awssecretsmanagerstore.Config{Config: awsclient.Config{Region: awssim.Region, Endpoint: server.URL}})
	if err != nil {
		return Sample{}, err
	}
	s := NewService(p.Delay, p.Rotations)
	s.also = func(token string) []rotator.StoreTarget {
		return []rotator.StoreTarget{{Name: "aws", Key: token, Store: store}}
	}
	for name, place := range s.state.Places {
		sim.Write(name, place.Value)
	}
	sample, err := rotate(ctx, p, s)
	const writesOfToken = 2
	sample.Times = map[string]float64{
		"floor":     (time.Duration(writesOfToken*p.Rotations) * time.Second / AWSQuota).Seconds(),
		"throttled": float64(sim.Calls("PutSecretValue ThrottlingException") + sim.Calls("UpdateSecretVersionStage ThrottlingException")),
	}
	return sample, err
}
