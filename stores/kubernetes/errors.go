package kubernetesstore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rotatord/rotatord/internal/webclient"
	"github.com/rotatord/rotatord/rotator"
)

// A call is one request, as an error names it.
type call struct {
	verb  string
	needs string // the verb that a role must allow
	at    place
}

func (asked call) String() string {
	if asked.at.secret == "" {
		return asked.verb + " Secrets"
	}
	return fmt.Sprintf("%s %q", asked.verb, asked.at)
}

// answered is what the cluster said no with. Its own words are not in it: they
// may quote what was sent.
type answered struct {
	status int
	text   string
}

func (e *answered) Error() string { return e.text }

// statusOf returns the status with which the cluster refused, or 0.
func statusOf(err error) int {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.status
	}
	return 0
}

// refusal says which right is missing.
func (asked call) refusal() error {
	if asked.needs == "" {
		return &answered{http.StatusForbidden, asked.String() + ": not allowed; the log-in must be that of a user or a service account"}
	}
	on := fmt.Sprintf("secrets %q", asked.at.secret)
	if asked.needs == "create" {
		on = "secrets"
	}
	return &answered{http.StatusForbidden, fmt.Sprintf(
		"%s: not allowed; a role must give the verb %q on %s in namespace %q", asked, asked.needs, on, asked.at.namespace)}
}

// explain turns an error or an answer that is not 2xx into an error that is
// classified, says what would help, and shows no URL, body or secret.
func (asked call) explain(c *client, answer webclient.Answer, err error) error {
	if err != nil {
		return asked.network(c, err)
	}
	say := func(text string) error {
		return &answered{answer.Status, fmt.Sprintf("%s: %s", asked, text)}
	}
	switch answer.Status {
	case http.StatusUnauthorized:
		return rotator.Permanent(say("the cluster refuses the log-in (401): it is wrong, expired or revoked"))
	case http.StatusForbidden:
		if asked.needs == "patch" || asked.needs == "create" {
			return rotator.Permanent(&answered{answer.Status, asked.refusal().Error() + "; or an admission rule or a quota says no"})
		}
		return rotator.Permanent(asked.refusal())
	case http.StatusNotFound:
		return rotator.Permanent(say("answered 404: no such namespace, or the server is not a Kubernetes API"))
	case http.StatusUnprocessableEntity:
		return rotator.Permanent(say("the cluster calls it invalid (422): the value does not go with the Secret's type, or the Secret is too large or immutable"))
	case http.StatusRequestEntityTooLarge:
		return rotator.Permanent(say("the Secret would be too large"))
	}
	status := webclient.StatusError(answer, time.Now())
	if status == nil {
		return nil
	}
	said := say(status.Error())
	switch {
	case rotator.IsPermanent(status):
		said = rotator.Permanent(said)
	case rotator.HadNoEffect(status):
		said = rotator.Unsent(said)
	}
	if at := rotator.RetryTime(status); !at.IsZero() {
		said = rotator.RetryAfter(said, at)
	}
	return said
}

// network names what the connection failed at.
func (asked call) network(c *client, err error) error {
	unknown, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	wrongHost, isWrongHost := errors.AsType[x509.HostnameError](err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case isUnknown:
		err = rotator.Unsent(fmt.Errorf("verify the cluster's certificate, see certificate-authority of the kubeconfig: %w", unknown))
	case isWrongHost:
		err = rotator.Unsent(fmt.Errorf("verify the cluster's certificate, see server and tls-server-name of the kubeconfig: %w", wrongHost))
	case c.plugin != "" && strings.Contains(err.Error(), "getting credentials: "): // client-go has no type for it
		err = rotator.Unsent(fmt.Errorf("the kubeconfig's log-in command %q gave no credentials; run it by hand to see why", c.plugin))
	}
	return fmt.Errorf("%s: %w", asked, err)
}

// beforeWrite marks an error of a call that only read.
func beforeWrite(err error) error {
	if err == nil || rotator.HadNoEffect(err) {
		return err
	}
	return rotator.Unsent(err)
}
