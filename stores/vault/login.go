package vaultstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/rotatord/rotatord/rotator"
)

// logIn replaces the log-in. The caller has the turn.
func (s *session) logIn(ctx context.Context) (*login, error) {
	base, err := s.showing()
	if err != nil {
		return nil, beforeWrite(fmt.Errorf("log in: %w", err))
	}
	client, err := base.CloneWithHeaders()
	if err != nil {
		return nil, errors.New("log in: the Vault client can't be copied")
	}
	client.ClearToken() // the copy has taken one from the environment
	method, token, err := s.method(ctx)
	if err != nil {
		return nil, beforeWrite(fmt.Errorf("log in: %w", err))
	}
	now := &login{client: client}
	if method == nil {
		err = s.take(ctx, now, token)
	} else {
		err = s.ask(ctx, now, method)
	}
	if err != nil {
		return nil, beforeWrite(err)
	}
	now.ends(now.life)
	s.now = now
	return now, nil
}

// take logs in with a token that is there already.
func (s *session) take(ctx context.Context, now *login, token string) error {
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return rotator.Permanent(errors.New("log in: what should be the token has characters that no token has"))
	}
	now.client.SetToken(token)
	// A token that may not look at itself can still do its work.
	info, err := s.lookUp(ctx, now.client)
	if err != nil && statusOf(err) != http.StatusForbidden {
		return err
	}
	if info != nil {
		now.life, _ = info.TokenTTL()
		now.renewable, _ = info.TokenIsRenewable()
	}
	return nil
}

// ask logs in for a new token.
func (s *session) ask(ctx context.Context, now *login, method api.AuthMethod) error {
	this := call{"log in at", "auth/" + s.auth.Mount, "update"}
	secret, err := now.client.Auth().Login(ctx, method)
	switch {
	case secret != nil && secret.Auth != nil && secret.Auth.MFARequirement != nil:
		return rotator.Permanent(fmt.Errorf("%s %q: Vault asks for a second factor, which a daemon can't give", this.verb, this.path))
	case err != nil:
		mend := methods()[s.auth.Method].mend
		if s.config.Namespace != "" {
			mend += "; check namespace too"
		}
		return this.explainLogIn(ctx, err, mend)
	}
	now.life, now.renewable = lifeOf(secret.Auth), secret.Auth.Renewable
	return nil
}

// showing returns the client to log in with: for cert, one of its own with the
// certificate as the files have it now. Vault compares the certificate of the
// connection again when the log-in is renewed.
func (s *session) showing() (*api.Client, error) {
	if s.auth.Method != "cert" {
		return s.base, nil
	}
	certificate, err := tls.LoadX509KeyPair(s.auth.CertFile, s.auth.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the client certificate: %w", err)
	}
	own, base, err := s.config.client(&certificate)
	if err != nil {
		return nil, err
	}
	if before := s.own.Swap(own); before != nil {
		before.CloseIdleConnections()
	}
	return base, nil
}

// method returns how to log in or, where nothing is to be asked, the token.
// The files and sources are read anew each time.
func (s *session) method(ctx context.Context) (api.AuthMethod, string, error) {
	switch s.auth.Method {
	case "token":
		token, err := s.auth.Token.Get(ctx)
		return nil, token.Reveal(), err
	case "token_file":
		token, err := rotator.SecretSource{File: s.auth.TokenFile}.Get(ctx)
		return nil, strings.TrimSpace(token.Reveal()), err
	case "approle":
		secretID, err := s.auth.SecretID.Get(ctx)
		if err != nil {
			return nil, "", err
		}
		method, err := approle.NewAppRoleAuth(s.auth.RoleID, &approle.SecretID{FromString: secretID.Reveal()}, approle.WithMountPath(s.auth.Mount))
		return method, "", err
	case "kubernetes":
		jwt, err := os.ReadFile(s.auth.JWTFile)
		if err != nil {
			return nil, "", err
		}
		method, err := kubernetes.NewKubernetesAuth(s.auth.Role,
			kubernetes.WithServiceAccountToken(strings.TrimSpace(string(jwt))), kubernetes.WithMountPath(s.auth.Mount))
		return method, "", err
	case "jwt":
		source := s.auth.JWT
		if s.auth.JWTFile != "" {
			source = rotator.SecretSource{File: s.auth.JWTFile}
		}
		jwt, err := source.Get(ctx)
		return s.posting(map[string]any{"role": s.auth.Role, "jwt": strings.TrimSpace(jwt.Reveal())}), "", err
	case "aws":
		identity, err := s.auth.awsIdentity(ctx)
		return s.posting(identity), "", err
	case "cert":
		body := map[string]any{}
		if s.auth.Role != "" {
			body["name"] = s.auth.Role
		}
		return s.posting(body), "", nil
	}
	return nil, "", rotator.Permanent(fmt.Errorf("method %q is not known", s.auth.Method))
}

// posting is a log-in that is one call.
func (s *session) posting(body map[string]any) api.AuthMethod {
	return post{"auth/" + s.auth.Mount + "/login", body}
}

type post struct {
	path string
	body map[string]any
}

// Login implements api.AuthMethod.
func (p post) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, p.path, p.body)
}

// explainLogIn is explain for a log-in, whose refusals are 400 or 403.
func (c call) explainLogIn(ctx context.Context, err error, mend string) error {
	response, ok := errors.AsType[*api.ResponseError](err)
	if ctx.Err() != nil || !ok || (response.StatusCode != http.StatusBadRequest && response.StatusCode != http.StatusForbidden) {
		return c.explain(ctx, err)
	}
	if _, ok := known(response); ok {
		return c.explain(ctx, err)
	}
	// Vault could not ask AWS, or AWS said no: both are 400, and only one goes by itself.
	if says(response, "error making upstream request: error making request") {
		return &answered{response.StatusCode, fmt.Sprintf("%s %q: Vault does not reach its sts_endpoint", c.verb, c.path)}
	}
	return rotator.Permanent(&answered{response.StatusCode, fmt.Sprintf("%s %q: refused; %s", c.verb, c.path, mend)})
}

func (s *session) lookUp(ctx context.Context, client *api.Client) (*api.Secret, error) {
	secret, err := client.Auth().Token().LookupSelfWithContext(ctx)
	return secret, call{"look up", "auth/token/lookup-self", "read"}.explain(ctx, err)
}
