package gitlabcistore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A variable is one of a project or of a group; both have the same attributes.
type variable = gitlab.ProjectVariable

// A client makes calls; the token is read for each of them.
type client struct {
	http  *http.Client
	api   *gitlab.Client
	token rotator.SecretSource
}

func newClient(c Config) (*client, error) {
	httpClient, err := webclient.New(webclient.Options{CAFile: c.CAFile})
	if err != nil {
		return nil, rotator.Field("ca_file", err)
	}
	httpClient.Transport = bounded{httpClient.Transport}
	// GitLab redirects the old path of a project. To follow would read a place that
	// the configuration does not name, and some writes would become reads.
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error {
		return rotator.Permanent(errors.New("GitLab says that it has moved: it was renamed or transferred; use its new path"))
	}
	api, err := gitlab.NewAuthSourceClient(gitlab.Unauthenticated{}, gitlab.WithBaseURL(c.BaseURL), gitlab.WithHTTPClient(httpClient),
		gitlab.WithoutRetries(), gitlab.WithCustomLimiter(unlimited{}), gitlab.WithUserAgent("rotatord"))
	if err != nil {
		return nil, rotator.Field("base_url", errors.New("is not a URL"))
	}
	return &client{http: httpClient, api: api, token: c.Token}, nil
}

// send makes one call. A refused token is read again, once: an operator may have
// replaced it meanwhile.
func send[T any](ctx context.Context, c *client, this call, do func(...gitlab.RequestOptionFunc) (T, *gitlab.Response, error)) (T, error) {
	var none T
	var tried string
	for {
		if ctx.Err() != nil {
			return none, rotator.Unsent(fmt.Errorf("%s: %w", this.what, context.Cause(ctx)))
		}
		secret, err := c.token.Get(ctx)
		if err != nil {
			return none, rotator.Unsent(fmt.Errorf("log in: %w", err))
		}
		token := strings.TrimSpace(secret.Reveal())
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return none, rotator.Permanent(errors.New("log in: what should be the token has characters that no token has"))
		}
		answer, response, err := do(gitlab.WithContext(ctx), gitlab.WithToken(gitlab.PrivateToken, token))
		err = this.explain(ctx, response, err)
		if statusOf(err) != http.StatusUnauthorized || tried != "" || !c.replaced(ctx, token) {
			return answer, err
		}
		tried = token
	}
}

// replaced tells whether the token is another one by now.
func (c *client) replaced(ctx context.Context, token string) bool {
	again, err := c.token.Get(ctx)
	return err == nil && strings.TrimSpace(again.Reveal()) != token
}

// read returns a variable; nil: there is none. GitLab answers 404 for a variable
// that does not exist and for a project or group that the token may not see, so
// that a list tells one from the other.
func (c *client) read(ctx context.Context, p place) (*variable, error) {
	this := call{"read " + p.String(), fmt.Sprintf("the scope api and the role %s", p.role())}
	found, err := send(ctx, c, this, func(o ...gitlab.RequestOptionFunc) (*variable, *gitlab.Response, error) {
		if p.project != "" {
			return c.api.ProjectVariables.GetVariable(p.project, p.name, &gitlab.GetProjectVariableOptions{Filter: p.filter()}, o...)
		}
		v, response, err := c.api.GroupVariables.GetVariable(p.group, p.name, &gitlab.GetGroupVariableOptions{Filter: p.filter()}, o...)
		return (*variable)(v), response, err
	})
	if statusOf(err) == http.StatusNotFound {
		return nil, c.list(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return found, p.check(this, found)
}

// list asks for one variable, whichever, and forgets it: an answer means that
// the place is there and its variables may be read.
func (c *client) list(ctx context.Context, p place) error {
	this := call{"list variables of " + p.within(), fmt.Sprintf("the scope api and the role %s", p.role())}
	page := gitlab.ListOptions{PerPage: 1}
	_, err := send(ctx, c, this, func(o ...gitlab.RequestOptionFunc) (bool, *gitlab.Response, error) {
		if p.project != "" {
			_, response, err := c.api.ProjectVariables.ListVariables(p.project, &gitlab.ListProjectVariablesOptions{ListOptions: page}, o...)
			return true, response, err
		}
		_, response, err := c.api.GroupVariables.ListVariables(p.group, &gitlab.ListGroupVariablesOptions{ListOptions: page}, o...)
		return true, response, err
	})
	return err
}

// update changes the value and nothing else: what a request leaves out, GitLab keeps.
func (c *client) update(ctx context.Context, p place, value string) (*variable, error) {
	this := call{"write " + p.String(), fmt.Sprintf("the scope api and the role %s", p.role())}
	options := gitlab.UpdateProjectVariableOptions{Value: &value, Filter: p.filter()}
	made, err := send(ctx, c, this, func(o ...gitlab.RequestOptionFunc) (*variable, *gitlab.Response, error) {
		if p.project != "" {
			return c.api.ProjectVariables.UpdateVariable(p.project, p.name, &options, o...)
		}
		forGroup := gitlab.UpdateGroupVariableOptions(options)
		v, response, err := c.api.GroupVariables.UpdateVariable(p.group, p.name, &forGroup, o...)
		return (*variable)(v), response, err
	})
	if err != nil {
		return nil, err
	}
	return made, p.check(this, made)
}

// create makes a variable. It is raw: jobs get the value letter by letter.
func (c *client) create(ctx context.Context, p place, value string, config Config) (*variable, error) {
	this := call{"make " + p.String(), fmt.Sprintf("the scope api and the role %s", p.role())}
	options := gitlab.CreateProjectVariableOptions{
		Key: &p.name, Value: &value, EnvironmentScope: &p.scope, Protected: &config.Protected, Raw: new(true),
	}
	if config.Hidden {
		options.MaskedAndHidden = new(true)
	} else {
		options.Masked = &config.Masked
	}
	made, err := send(ctx, c, this, func(o ...gitlab.RequestOptionFunc) (*variable, *gitlab.Response, error) {
		if p.project != "" {
			return c.api.ProjectVariables.CreateVariable(p.project, &options, o...)
		}
		forGroup := gitlab.CreateGroupVariableOptions(options)
		v, response, err := c.api.GroupVariables.CreateVariable(p.group, &forGroup, o...)
		return (*variable)(v), response, err
	})
	if err != nil {
		return nil, err
	}
	return made, p.check(this, made)
}

func (p place) filter() *gitlab.VariableFilter {
	return &gitlab.VariableFilter{EnvironmentScope: p.scope}
}

// check refuses an answer about another variable. A GitLab without scopes for
// groups (Free) answers none, which means all environments.
func (p place) check(this call, v *variable) error {
	switch {
	case v == nil || v.Key != p.name:
		return fmt.Errorf("%s: the answer is not one of GitLab", this.what)
	case v.EnvironmentScope != p.scope && (v.EnvironmentScope != "" || p.scope != everywhere):
		return fmt.Errorf("%s: GitLab answers for another environment scope; scopes of groups need GitLab Premium", this.what)
	}
	return nil
}

// version names what a variable holds by a hash of value and attributes, which
// does not reveal them. Of a hidden one the value is not in it.
func version(v *variable) rotator.Version {
	if v == nil {
		return rotator.Version{}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return rotator.Version{} // of strings and booleans: can't be
	}
	sum := sha256.Sum256(append([]byte("rotatord gitlab-ci\x00"), raw...))
	named := rotator.Version{ID: hex.EncodeToString(sum[:16])}
	if !v.Hidden {
		named.Value = rotator.NewSecret(v.Value)
	}
	return named
}

// unlimited is no limiter: the engine waits, not the client.
type unlimited struct{}

// Wait implements gitlab.RateLimiter.
func (unlimited) Wait(ctx context.Context) error { return ctx.Err() }

// bounded limits the length of every answer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(request)
	if answer != nil && answer.Body != nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, webclient.MaxBody)
	}
	return answer, err
}

// CloseIdleConnections makes http.Client.CloseIdleConnections reach the transport.
func (b bounded) CloseIdleConnections() {
	if closer, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
