package httpissuer

import (
	"testing"

	"github.com/rotatord/rotatord/issuers/issuertest"
	"github.com/rotatord/rotatord/rotator"
)

func TestConformance(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"example": func(*Config) {},
		"everything": func(c *Config) {
			c.Check.Scopes = "body.scopes"
			c.Ping = &Ping{Path: "/datasources/ds%2Fy%20z/tokens?cursor=", OK: "size(body.data) >= 0"}
			c.MaxCredentials, c.RateLimit = 100, 1e6
		},
		"without list": func(c *Config) { c.List = nil },
	} {
		t.Run(name, func(t *testing.T) {
			issuertest.Run(t, func(t *testing.T) issuertest.Harness { return harness(t, change) })
		})
	}
}

func harness(t *testing.T, change func(*Config)) issuertest.Harness {
	api := newStandIn(t)
	accepted := example(t, api.URL)
	change(&accepted)
	refused := accepted
	refused.BaseURL = nobody(t)
	denied := accepted
	denied.Secrets = map[string]rotator.SecretSource{"admin": secretFile(t, "canary-wrong-log-in")}
	size := pageSize
	if accepted.List == nil {
		size = 0
	}
	return issuertest.Harness{
		Issuer: open1(t, accepted), Refused: open1(t, refused), Denied: open1(t, denied),
		Token: "crm-sync", Params: rotator.Params{"datasource": datasource},
		Canaries: api.canaries, Live: api.liveIDs, PageSize: size,
		LoseAnswer: func() { api.set(func() { api.lose = true }) },
		Unclear:    func(on bool) { api.set(func() { api.out = on }) },
	}
}
