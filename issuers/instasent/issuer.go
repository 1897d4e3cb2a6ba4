package instasent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	httpissuer "github.com/rotatord/rotatord/issuers/http"
	"github.com/rotatord/rotatord/rotator"
)

// checker is what every configuration can do; see check.go.
type checker struct {
	apiURL string
	client *http.Client
}

// manual asks a person for everything else.
type manual struct {
	*checker
	lastPinged atomic.Int64 // Unix seconds of the last good Ping
}

// automatic lets an admin API issue and revoke.
type automatic struct {
	*checker
	admin    rotator.Issuer
	settings httpissuer.Admin
}

var (
	_ rotator.Issuer        = (*manual)(nil)
	_ rotator.Scoper        = (*manual)(nil)
	_ rotator.Pinger        = (*manual)(nil)
	_ rotator.ParamsChecker = (*manual)(nil)
	_ rotator.ByHand        = (*manual)(nil)
	_ rotator.Issuer        = (*automatic)(nil)
	_ rotator.Scoper        = (*automatic)(nil)
	_ rotator.Limiter       = (*automatic)(nil)
	_ rotator.ParamsChecker = (*automatic)(nil)
)

// New makes the issuer, a Scoper and ParamsChecker. A manual one is a Pinger;
// with an admin API it is a Limiter, and a Lister and a Pinger where that API
// can list and tell whether our log-in works.
func New(ctx context.Context, c Config) (rotator.Issuer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	client, err := webclient.New(webclient.Options{CAFile: c.CAFile, Timeout: c.Timeout.Std()})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	check := &checker{apiURL: strings.TrimRight(c.APIURL, "/"), client: client}
	if c.Admin.Type == adminManual {
		return &manual{checker: check}, nil
	}
	admin, err := httpissuer.NewAdmin(ctx, c.Admin.HTTP)
	if err != nil {
		return nil, rotator.Field("admin", err)
	}
	return withAbilities(&automatic{checker: check, admin: admin, settings: c.Admin.HTTP}), nil
}

// withAbilities adds what the admin API can do, and nothing that it can't: who
// asks by assertion must get "no" then.
func withAbilities(a *automatic) rotator.Issuer {
	lister, lists := a.admin.(rotator.Lister)
	pinger, pings := a.admin.(rotator.Pinger)
	switch {
	case lists && pings:
		return struct {
			*automatic
			rotator.Lister
			rotator.Pinger
		}{a, lister, pinger}
	case lists:
		return struct {
			*automatic
			rotator.Lister
		}{a, lister}
	case pings:
		return struct {
			*automatic
			rotator.Pinger
		}{a, pinger}
	}
	return a
}

// CloseIdleConnections gives up the connections that no call is using.
func (c *checker) CloseIdleConnections() { c.client.CloseIdleConnections() }

// CloseIdleConnections gives up the connections that no call is using.
func (a *automatic) CloseIdleConnections() {
	a.checker.CloseIdleConnections()
	if admin, ok := a.admin.(interface{ CloseIdleConnections() }); ok {
		admin.CloseIdleConnections()
	}
}

// CheckParams implements rotator.ParamsChecker.
func (*manual) CheckParams(p rotator.Params) error { return checkParams(p, false) }

// Issue implements rotator.Issuer: only the dashboard generates tokens, and
// shows each value once [D]. It never expires [D].
func (*manual) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	if err := ctx.Err(); err != nil {
		return rotator.Credential{}, err
	}
	what := "Generate token"
	if kindOf(r.Params) == kindProduct {
		// The scopes of a Product token can't be changed afterwards [D].
		what = "generate a token and tick the same scopes as the old one has (they can't be changed later)"
	}
	return rotator.Credential{}, &rotator.PersonNeeded{Ask: fmt.Sprintf(
		"In https://dashboard.instasent.com open %s, %s; if it asks for a name, use %s. "+
			"The value is shown only once: hand it over with `rotatord provide %s`, and leave the old token alone for now.",
		where(r.Params), what, r.Marker, r.Token)}
}

// ByHand implements rotator.ByHand: a question to a person that got lost is asked again.
func (*manual) ByHand() {}

// Revoke implements rotator.Issuer: only the dashboard deletes tokens [D].
func (*manual) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return askToDelete(r)
}

func askToDelete(r rotator.RevokeRequest) error {
	return &rotator.PersonNeeded{Ask: fmt.Sprintf(
		"In https://dashboard.instasent.com open %s and delete the token %s. "+
			"rotatord sees by itself when it is dead.", where(r.Params), describe(r.Credential))}
}

// where is the way through the dashboard [D].
func where(p rotator.Params) string {
	if kindOf(p) == kindProduct {
		return fmt.Sprintf("project %s → Project settings → API tokens", p[paramProject])
	}
	return fmt.Sprintf("project %s → Datasources → %s → Credentials", p[paramProject], p[paramDatasource])
}

// describe names a credential by all that a person could find it by.
func describe(c rotator.Credential) string {
	var known []string
	if c.Name != "" {
		known = append(known, "named "+c.Name)
	}
	if c.ID != "" {
		known = append(known, "with the ID "+c.ID)
	}
	if !c.IssuedAt.IsZero() {
		known = append(known, "issued on "+c.IssuedAt.UTC().Format("2006-01-02 15:04 MST"))
	}
	if c.Fingerprint != "" {
		known = append(known, "whose value has the fingerprint "+string(c.Fingerprint))
	}
	if len(known) == 0 {
		return "that was in use before"
	}
	return strings.Join(known, ", ")
}

// pingEvery spaces the calls of Ping: many rotations at once ask for one each,
// and services ban addresses whose calls fail often.
const pingEvery = time.Minute

// Ping implements rotator.Pinger with a call that sends no credential: the API
// must be there to refuse it. The API may have answered up to a minute ago.
func (m *manual) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if time.Since(time.Unix(m.lastPinged.Load(), 0)) < pingEvery {
		return nil
	}
	answer, err := m.get(ctx, "/project/rotatord", "")
	if err != nil {
		return fmt.Errorf("reach the API: %w", err)
	}
	switch answer.Status {
	case http.StatusUnauthorized, http.StatusForbidden: // [D], [T]
		m.lastPinged.Store(time.Now().Unix())
		return nil
	}
	if err := webclient.StatusError(answer, time.Now()); err != nil {
		return fmt.Errorf("reach the API: a call without a token must be refused with 401: %w", err)
	}
	return rotator.Permanent(fmt.Errorf("reach the API: a call without a token must be refused with 401, not answered %d: is api_url right?", answer.Status))
}

// CheckParams implements rotator.ParamsChecker, for the templates too.
func (a *automatic) CheckParams(p rotator.Params) error {
	return errors.Join(checkParams(p, true), a.settings.CheckParams(p))
}

// Issue implements rotator.Issuer through the admin API.
func (a *automatic) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	return a.admin.Issue(ctx, r)
}

// Revoke implements rotator.Issuer through the admin API. A credential whose ID
// nobody knows is for a person.
func (a *automatic) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	if r.Credential.ID == "" {
		if err := ctx.Err(); err != nil {
			return err
		}
		return askToDelete(r)
	}
	return a.admin.Revoke(ctx, r)
}

// MaxCredentials implements rotator.Limiter. The service's own maximum is not
// documented; 0 unless the admin API's settings tell one.
func (a *automatic) MaxCredentials() int {
	if limiter, ok := a.admin.(rotator.Limiter); ok {
		return limiter.MaxCredentials()
	}
	return 0
}
