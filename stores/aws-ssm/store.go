package awsssmstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/rotator"
)

// Error codes of the service.
const (
	codeExists          = "ParameterAlreadyExists"
	codeInvalidKey      = "InvalidKeyId"
	codeNotFound        = "ParameterNotFound"
	codeVersionLimit    = "ParameterMaxVersionLimitExceeded"
	codeVersionNotFound = "ParameterVersionNotFound"
	codeValidation      = "ValidationException"
)

// Store keeps credentials in the parameters of one region.
type Store struct {
	config  Config
	session *awsclient.Session[*ssm.Client]

	mu    sync.Mutex
	turns map[string]chan struct{} // of one, by parameter: our own writers take turns
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
	session, err := awsclient.New(c.Config, func(loaded aws.Config) *ssm.Client { return ssm.NewFromConfig(loaded) })
	if err != nil {
		return nil, err
	}
	return &Store{config: c, session: session, turns: map[string]chan struct{}{}}, nil
}

// Close closes the connections that wait for the next call. The store can still be used.
func (s *Store) Close() error { return s.session.Close() }

// CheckKey implements rotator.KeyChecker.
func (s *Store) CheckKey(key string) error { return checkKey(key) }

// A record is a version of a parameter as it was read; without a number there is none.
type record struct {
	number int64
	value  string
	at     time.Time
}

func (r record) id() string { return strconv.FormatInt(r.number, 10) }

func (r record) as() rotator.Version {
	return rotator.Version{ID: r.id(), Value: rotator.NewSecret(r.value), At: r.at}
}

// read returns the latest version of a parameter, or the one with a label. None
// is an empty record and no error.
func (s *Store) read(ctx context.Context, name, label string) (record, error) {
	selector := name
	if label != "" {
		selector += ":" + label
	}
	var answer *ssm.GetParameterOutput
	err := s.session.Do(ctx, awsclient.Call{Verb: "read", Object: name, Action: "ssm:GetParameter"}, func(ctx context.Context, c *ssm.Client) (err error) {
		answer, err = c.GetParameter(ctx, &ssm.GetParameterInput{Name: &selector, WithDecryption: aws.Bool(true)})
		return err
	})
	switch code := awsclient.CodeOf(err); {
	case code == codeNotFound, label != "" && code == codeVersionNotFound:
		return record{}, nil
	case code == codeInvalidKey:
		return record{}, rotator.Permanent(fmt.Errorf("read %q: its KMS key is disabled, deleted, or not for us", name))
	case err != nil:
		return record{}, err
	case answer.Parameter == nil || answer.Parameter.Value == nil:
		return record{}, fmt.Errorf("read %q: the answer has no parameter", name)
	case answer.Parameter.Type != types.ParameterTypeSecureString:
		return record{}, rotator.Permanent(fmt.Errorf("read %q: the parameter is a %s; credentials belong in a SecureString only", name, answer.Parameter.Type))
	}
	found := answer.Parameter
	return record{number: found.Version, value: *found.Value, at: aws.ToTime(found.LastModifiedDate)}, nil
}

// Ping implements rotator.Pinger: a question about a parameter that nobody has
// shows that the log-in works, whether or not the policy lets us ask.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.read(ctx, "/rotatord/ping", "")
	if awsclient.CodeOf(err) == "AccessDeniedException" {
		return nil
	}
	return err
}

// CheckWrite implements rotator.WriteChecker as far as reading can tell: AWS has
// no question for "may I write", and no write that surely has no effect.
func (s *Store) CheckWrite(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	latest, err := s.read(ctx, key, "")
	if err != nil {
		return err
	}
	if latest.number == 0 && !s.config.Create {
		return missing(key)
	}
	return nil
}

func missing(key string) error {
	return rotator.Permanent(fmt.Errorf("write %q: the parameter does not exist; create it, or set create: true", key))
}

// Get implements rotator.Store. With a label it is the version that has it.
func (s *Store) Get(ctx context.Context, key string) (rotator.Version, error) {
	if err := checkKey(key); err != nil {
		return rotator.Version{}, err
	}
	now, err := s.read(ctx, key, s.config.Label)
	if err == nil && now.number == 0 {
		err = fmt.Errorf("read %q: %w", key, rotator.ErrNotFound)
	}
	if err != nil {
		return rotator.Version{}, err
	}
	return now.as(), nil
}

// Put implements rotator.Store. When somebody else wrote between our look and
// our write, our value is current and theirs is not: that is an error without
// ErrConflict, because it had its effect.
func (s *Store) Put(ctx context.Context, key string, w rotator.Write) (rotator.Version, error) {
	if err := checkKey(key); err != nil {
		return rotator.Version{}, err
	}
	turn := s.turnOf(key)
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return rotator.Version{}, rotator.Unsent(ctx.Err())
	}
	now, err := s.read(ctx, key, s.config.Label)
	if err != nil {
		return rotator.Version{}, awsclient.BeforeWrite(err)
	}
	latest := now
	if s.config.Label != "" {
		if latest, err = s.read(ctx, key, ""); err != nil {
			return rotator.Version{}, awsclient.BeforeWrite(err)
		}
	}
	value := w.Value.Reveal()
	switch {
	case now.number != 0 && now.value == value:
		return now.as(), nil
	case now.number == 0 && w.Prev != "", now.number != 0 && w.Prev != now.id():
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("write %q: %w", key, rotator.ErrConflict))
	case latest.number == 0 && !s.config.Create:
		return rotator.Version{}, missing(key)
	}
	if err := s.fits(key, value); err != nil {
		return rotator.Version{}, err
	}
	// A version with our value that lacks the label only is from the same attempt.
	if latest.number == 0 || latest.value != value {
		if latest, err = s.write(ctx, key, latest, value); err != nil {
			return rotator.Version{}, err
		}
	}
	if s.config.Label != "" {
		if err := s.label(ctx, key, latest.number); err != nil {
			return rotator.Version{}, err
		}
	}
	return latest.as(), nil
}

// fits refuses offline what AWS would refuse.
func (s *Store) fits(key, value string) error {
	limit := maxAdvanced
	if s.config.Tier == "standard" {
		limit = maxStandard
	}
	switch {
	case value == "":
		return rotator.Permanent(fmt.Errorf("write %q: AWS takes no empty parameter", key))
	case !utf8.ValidString(value):
		return rotator.Permanent(fmt.Errorf("write %q: the value is not UTF-8, which is all that AWS takes", key))
	case len(value) > limit:
		return rotator.Permanent(fmt.Errorf("write %q: the value has %d bytes; a parameter of this tier holds %d", key, len(value), limit))
	}
	return nil
}

// write makes the version after latest.
func (s *Store) write(ctx context.Context, key string, latest record, value string) (record, error) {
	input := &ssm.PutParameterInput{
		Name: &key, Value: &value, Type: types.ParameterTypeSecureString,
		Overwrite: aws.Bool(latest.number != 0), Tier: types.ParameterTier(tiers()[s.config.Tier]),
	}
	if s.config.KMSKeyID != "" {
		input.KeyId = &s.config.KMSKeyID
	}
	if latest.number == 0 { // AWS takes tags for a new one only
		for _, name := range slices.Sorted(maps.Keys(s.config.Tags)) {
			input.Tags = append(input.Tags, types.Tag{Key: aws.String(name), Value: aws.String(s.config.Tags[name])})
		}
	}
	var made *ssm.PutParameterOutput
	err := s.session.Do(ctx, awsclient.Call{Verb: "write", Object: key, Action: "ssm:PutParameter"}, func(ctx context.Context, c *ssm.Client) (err error) {
		made, err = c.PutParameter(ctx, input)
		return err
	})
	switch code := awsclient.CodeOf(err); {
	case code == codeExists:
		return record{}, rotator.Permanent(fmt.Errorf("write %q: %w", key, rotator.ErrConflict))
	case code == codeInvalidKey:
		return record{}, rotator.Permanent(fmt.Errorf("write %q: the KMS key does not exist, is disabled, or not for us; see kms_key_id", key))
	case code == codeVersionLimit:
		return record{}, rotator.Permanent(fmt.Errorf("write %q: it has 100 versions and the oldest has a label; move that label", key))
	case code == codeValidation && len(value) > maxStandard:
		return record{}, rotator.Permanent(fmt.Errorf("write %q: the value has %d bytes, and a standard parameter holds %d; set tier: advanced or intelligent-tiering", key, len(value), maxStandard))
	case code == codeValidation:
		return record{}, rotator.Permanent(fmt.Errorf("write %q: AWS refuses the value or the name; a value can't have {{ }} in it", key))
	case err != nil:
		return record{}, err
	case made.Version != latest.number+1:
		return record{}, fmt.Errorf("write %q: somebody else wrote at the same time: our version is %d and not %d; ours is current, look at theirs below it", key, made.Version, latest.number+1)
	}
	return record{number: made.Version, value: value}, nil
}

// label moves the label to a version. AWS answers a label that it does not take
// in a list, and not as an error.
func (s *Store) label(ctx context.Context, key string, number int64) error {
	var answer *ssm.LabelParameterVersionOutput
	err := s.session.Do(ctx, awsclient.Call{Verb: "label", Object: key, Action: "ssm:LabelParameterVersion"}, func(ctx context.Context, c *ssm.Client) (err error) {
		answer, err = c.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: &key, ParameterVersion: &number, Labels: []string{s.config.Label}})
		return err
	})
	if err == nil && len(answer.InvalidLabels) > 0 {
		return rotator.Permanent(fmt.Errorf("label %q: AWS does not take the label %q", key, s.config.Label))
	}
	return err
}

func (s *Store) turnOf(key string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns[key] == nil {
		s.turns[key] = make(chan struct{}, 1)
	}
	return s.turns[key]
}
