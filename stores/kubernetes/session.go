package kubernetesstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

const callTimeout = 30 * time.Second

// A session holds the log-in. client-go reads a service account's token and
// runs a log-in plug-in again by itself; what it does not see (a kubeconfig file
// with new contents) is read again when the cluster refuses the log-in.
type session struct {
	config Config
	turn   chan struct{} // of one: whoever put something in may use now
	now    *client
}

// A client speaks to the API of one cluster.
type client struct {
	http   *http.Client
	base   *url.URL
	plugin string        // the command of the kubeconfig that logs in; often empty
	calls  chan struct{} // that a plugin may hold up at once
}

// maxHeld bounds the calls that wait for a log-in command which does not end.
const maxHeld = 32

func newSession(c Config) *session { return &session{config: c, turn: make(chan struct{}, 1)} }

// do makes calls with a log-in that works. When the cluster refuses it with 401
// (before it did anything), they are made once more with a log-in read anew.
func (s *session) do(ctx context.Context, calls func(*client) error) error {
	now, err := s.ready(ctx, nil)
	if err != nil {
		return err
	}
	err = calls(now)
	if statusOf(err) != http.StatusUnauthorized {
		return err
	}
	again, err := s.ready(ctx, now)
	if err != nil {
		return err
	}
	return calls(again)
}

// ready returns a client that is not the refused one.
func (s *session) ready(ctx context.Context, refused *client) (*client, error) {
	if err := take(ctx, s.turn); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	if s.now != nil && s.now != refused {
		return s.now, nil
	}
	made, err := s.config.logIn()
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if refused != nil {
		refused.close()
	}
	s.now = made
	return made, nil
}

func (s *session) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.now != nil {
		s.now.close()
	}
}

// logIn reads how to reach the cluster and who we are there. It calls nobody. Its
// errors have nothing of the file's contents.
func (c Config) logIn() (*client, error) {
	var config *rest.Config
	var err error
	if c.Kubeconfig == "" {
		config, err = inCluster()
	} else {
		config, err = c.fromFile()
	}
	if err != nil {
		return nil, err
	}
	if config.Insecure {
		return nil, rotator.Permanent(errors.New("insecure-skip-tls-verify is not accepted, secrets would travel to whoever answers; give certificate-authority in the kubeconfig"))
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, rotator.Permanent(errors.New("the cluster's server is not a URL"))
	}
	if webclient.CheckTLS(base, false) != nil || base.User != nil {
		return nil, rotator.Permanent(errors.New("the cluster's server must be https, without a user"))
	}
	config.UserAgent = "rotatord"
	config.Timeout = callTimeout
	made := &client{base: base, calls: make(chan struct{}, maxHeld)}
	if config.ExecProvider != nil {
		made.plugin = config.ExecProvider.Command
		config.ExecProvider.StdinUnavailable = true
		config.ExecProvider.StdinUnavailableMessage = "rotatord has no terminal"
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, rotator.Permanent(errors.New("can't be used: a certificate, a key, the CA, proxy-url or auth-provider is wrong"))
	}
	// The log-in is added to every request, so a redirect would carry it elsewhere.
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	made.http = httpClient
	return made, nil
}

func inCluster() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, rotator.Permanent(errors.New("not in a pod of a cluster; set kubeconfig"))
	}
	if err != nil {
		return nil, rotator.Unsent(err) // the path of the service account's token
	}
	return config, nil
}

// fromFile reads the kubeconfig file; paths in it count from its folder.
func (c Config) fromFile() (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.Kubeconfig}
	file, err := rules.Load()
	var unread *fs.PathError
	switch {
	case errors.As(err, &unread):
		return nil, rotator.Unsent(fmt.Errorf("read kubeconfig: %w", unread))
	case err != nil:
		return nil, rotator.Permanent(fmt.Errorf("read kubeconfig: %q is no kubeconfig file", c.Kubeconfig))
	}
	name := c.Context
	if name == "" {
		name = file.CurrentContext
	}
	if name == "" {
		return nil, rotator.Permanent(fmt.Errorf("read kubeconfig: %q has no current-context; set context", c.Kubeconfig))
	}
	chosen := file.Contexts[name]
	if chosen == nil {
		return nil, rotator.Permanent(fmt.Errorf("read kubeconfig: %q has no context %q", c.Kubeconfig, name))
	}
	unusable := rotator.Permanent(fmt.Errorf("read kubeconfig: context %q can't be used: its cluster or user is missing or incomplete", name))
	if file.AuthInfos[chosen.AuthInfo] == nil { // client-go would go on as nobody
		return nil, unusable
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*file, name, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		return nil, unusable
	}
	return config, nil
}

// close closes the connections that wait for the next call. The client can still be used.
func (c *client) close() {
	if _, shared := c.http.Transport.(*http.Transport); !shared { // http.DefaultTransport is not ours
		utilnet.CloseIdleConnectionsFor(c.http.Transport)
	}
}

// do sends a request. client-go runs a log-in plug-in without a ctx: when ctx is
// over, nobody waits for it any more, and the request that it was for is not
// sent, for its ctx is over too.
func (c *client) do(request *http.Request) (webclient.Answer, error) {
	if c.plugin == "" {
		return webclient.Do(c.http, request)
	}
	select {
	case c.calls <- struct{}{}:
	default:
		return webclient.Answer{}, rotator.Unsent(errors.New("log in: the command of the kubeconfig does not end"))
	}
	ctx, cancel := context.WithTimeoutCause(request.Context(), callTimeout, os.ErrDeadlineExceeded)
	defer cancel()
	type result struct {
		answer webclient.Answer
		err    error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-c.calls }()
		answer, err := webclient.Do(c.http, request.WithContext(ctx))
		done <- result{answer, err}
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-ctx.Done():
		return webclient.Answer{}, context.Cause(ctx)
	}
}

// take waits for a turn, as long as ctx allows.
func take(ctx context.Context, turn chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return rotator.Unsent(ctx.Err())
	}
}
