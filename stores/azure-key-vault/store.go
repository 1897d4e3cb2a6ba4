package azurekeyvaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/rotatord/rotatord/internal/jsonfield"
	"github.com/rotatord/rotatord/rotator"
)

// maxValue is the most that a secret holds, in bytes:
// https://learn.microsoft.com/azure/key-vault/secrets/about-secrets.
const maxValue = 25 << 10

// Store keeps credentials in one vault.
type Store struct {
	config  Config
	session *session
	turn    chan struct{} // of one: our own writers take turns
}

var (
	_ rotator.Store        = (*Store)(nil)
	_ rotator.KeyChecker   = (*Store)(nil)
	_ rotator.WriteChecker = (*Store)(nil)
	_ rotator.Pinger       = (*Store)(nil)
)

// New makes a store. It reads ca_file, and calls nobody: the first call logs in.
func New(_ context.Context, c Config) (rotator.Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	session, err := newSession(c)
	if err != nil {
		return nil, err
	}
	return &Store{config: c, session: session, turn: make(chan struct{}, 1)}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error {
	s.session.transport.CloseIdleConnections()
	return nil
}

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error {
	_, err := parse(key)
	return err
}

// Ping implements rotator.Pinger: the vault answers, its firewall lets us in, and
// it takes our token. It asks for a secret that need not exist; that a role
// which is given on single secrets does not reach that one is fine.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.get(ctx, "rotatord-ping", "")
	switch refusalOf(err).code {
	case "ForbiddenByRbac", "AccessDenied", "ForbiddenByPolicy", "SecretDisabled":
		return nil
	}
	return err
}

// CheckWrite implements rotator.WriteChecker. Key Vault can't be asked whether a
// write would be allowed: this says whether there is something in its way.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	p, err := parse(key)
	if err != nil {
		return err
	}
	if _, err := s.versions(ctx, p.secret); err != nil {
		return err
	}
	now, err := s.get(ctx, p.secret, "")
	if err != nil {
		return err
	}
	if now == nil && !s.config.Create {
		return missing(p)
	}
	_, err = next(now, p, "x")
	return err
}

// Get implements rotator.Store. A deleted secret is not there; one that is
// disabled is an error.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	p, err := parse(key)
	if err != nil {
		return rotator.Version{}, err
	}
	now, err := s.get(ctx, p.secret, "")
	if err != nil {
		return rotator.Version{}, err
	}
	value, found, err := valueOf(now, p.field)
	if err == nil && !found {
		err = fmt.Errorf("read %q: %w", key, rotator.ErrNotFound)
	}
	if err != nil {
		return rotator.Version{}, err
	}
	return as(now, value), nil
}

// get returns a version of a secret, the current one without its ID; nil: there is none.
func (s *Store) get(ctx context.Context, secret, version string) (*azsecrets.Secret, error) {
	this := call{"read", secret, "Microsoft.KeyVault/vaults/secrets/getSecret/action", "get"}
	answer, err := ask(ctx, s.session, this, func(c *azsecrets.Client) (azsecrets.GetSecretResponse, error) {
		return c.GetSecret(ctx, secret, version, nil)
	})
	if refusalOf(err).code == "SecretNotFound" {
		return nil, nil //nolint:nilnil // documented: nil means that there is none
	}
	if err == nil && (answer.ID == nil || answer.Value == nil || answer.ID.Version() == "") {
		err = fmt.Errorf("read secret %q: the answer has no value or no version", secret)
	}
	if err != nil {
		return nil, beforeWrite(err)
	}
	return &answer.Secret, nil
}

// set makes a new version, which is current from then on.
func (s *Store) set(ctx context.Context, secret string, to azsecrets.SetSecretParameters) (*azsecrets.Secret, error) {
	this := call{"write", secret, "Microsoft.KeyVault/vaults/secrets/setSecret/action", "set"}
	answer, err := ask(ctx, s.session, this, func(c *azsecrets.Client) (azsecrets.SetSecretResponse, error) {
		return c.SetSecret(ctx, secret, to, nil)
	})
	if err == nil && (answer.ID == nil || answer.ID.Version() == "") {
		err = fmt.Errorf("write secret %q: the answer has no version", secret)
	}
	if err != nil {
		return nil, err
	}
	return &answer.Secret, nil
}

// versions returns the IDs of all versions of a secret. Key Vault lists them in no order.
func (s *Store) versions(ctx context.Context, secret string) (map[string]bool, error) {
	this := call{"list versions of", secret, "Microsoft.KeyVault/vaults/secrets/readMetadata/action", "list"}
	all, err := ask(ctx, s.session, this, func(c *azsecrets.Client) (map[string]bool, error) {
		all := map[string]bool{}
		pager := c.NewListSecretPropertiesVersionsPager(secret, nil)
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, v := range page.Value {
				if v == nil || v.ID == nil || v.ID.Version() == "" {
					return nil, errors.New("a version without ID")
				}
				all[v.ID.Version()] = true
			}
		}
		return all, nil
	})
	if refusalOf(err).status == http.StatusNotFound {
		return nil, nil
	}
	return all, beforeWrite(err)
}

func created(a *azsecrets.SecretAttributes) time.Time {
	if a == nil || a.Created == nil {
		return time.Time{}
	}
	return *a.Created
}

// valueOf returns the value of the whole secret or of a field.
func valueOf(secret *azsecrets.Secret, field string) (value string, found bool, err error) {
	switch {
	case secret == nil:
		return "", false, nil
	case field == "":
		return *secret.Value, true, nil
	}
	return jsonfield.Get([]byte(*secret.Value), field)
}

// as is what the engine is told of a version.
func as(secret *azsecrets.Secret, value string) rotator.Version {
	return rotator.Version{ID: secret.ID.Version(), Value: rotator.NewSecret(value), At: created(secret.Attributes)}
}

func missing(p place) error {
	return rotator.Permanent(fmt.Errorf("write %q: there is no such secret; create it, or set create: true", p.key))
}

// next is what the version after now holds: the value, and all else as it is.
func next(now *azsecrets.Secret, p place, value string) (azsecrets.SetSecretParameters, error) {
	refuse := func(text string) (azsecrets.SetSecretParameters, error) {
		return azsecrets.SetSecretParameters{}, rotator.Permanent(fmt.Errorf("write secret %q: %s", p.secret, text))
	}
	content := value
	if p.field != "" {
		before := "{}"
		if now != nil {
			before = *now.Value
		}
		changed, err := jsonfield.Set([]byte(before), p.field, value)
		if err != nil {
			return azsecrets.SetSecretParameters{}, err
		}
		content = string(changed)
	}
	switch {
	case content == "": // whether Key Vault takes it is not documented
		return refuse("an empty value is no secret")
	case len(content) > maxValue:
		return refuse(fmt.Sprintf("longer than %d bytes", maxValue))
	case !utf8.ValidString(content):
		return refuse("Key Vault holds text, and the value is not UTF-8")
	}
	if now != nil && now.Managed != nil && *now.Managed {
		return refuse("it belongs to a certificate of the vault, which alone writes it")
	}
	to := copied(now)
	if to.SecretAttributes != nil && to.SecretAttributes.Expires != nil && !to.SecretAttributes.Expires.After(time.Now()) {
		return refuse(fmt.Sprintf("its expiry passed on %s, and a new version would have the same; move or remove it", to.SecretAttributes.Expires.UTC().Format(time.RFC3339)))
	}
	to.Value = &content
	if now == nil && p.field != "" {
		text := "application/json"
		to.ContentType = &text
	}
	return to, nil
}

// copied is a version as it was set, for the next one.
func copied(from *azsecrets.Secret) azsecrets.SetSecretParameters {
	if from == nil {
		return azsecrets.SetSecretParameters{}
	}
	to := azsecrets.SetSecretParameters{Value: from.Value, ContentType: from.ContentType, Tags: from.Tags}
	if a := from.Attributes; a != nil {
		to.SecretAttributes = &azsecrets.SecretAttributes{Enabled: a.Enabled, Expires: a.Expires, NotBefore: a.NotBefore}
	}
	return to
}
