package awssecretsmanagerstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/jsonfield"
	"github.com/rotatord/rotatord/rotator"
)

// Staging labels of AWS.
const (
	current = "AWSCURRENT"
	pending = "AWSPENDING"
)

// Error codes of the service.
const (
	codeExists           = "ResourceExistsException"
	codeInvalidParameter = "InvalidParameterException"
	codeInvalidRequest   = "InvalidRequestException"
	codeNotFound         = "ResourceNotFoundException"
	codeValidation       = "ValidationException"
)

// ours begins the ID of every version that a rotatord made: IDs of others are UUIDs.
const ours = "rotatord-"

// errRaced means that AWSCURRENT moved after it was read.
var errRaced = errors.New("the secret is changed all the time")

// A record is a secret as it was read.
type record struct {
	exists   bool
	version  string // that has AWSCURRENT; "": none has, there was never a value
	text     string
	at       time.Time
	stages   map[string][]string // of each version
	replicas []types.ReplicationStatusType
}

// call makes one call to Secrets Manager.
func (s *Store) call(ctx context.Context, verb, secret, action string, f func(context.Context, *secretsmanager.Client) error) error {
	return s.session.Do(ctx, awsclient.Call{Verb: verb, Object: secret, Action: "secretsmanager:" + action}, f)
}

// read returns the current version of a secret and what is known of the others.
// No secret is an empty record and no error.
func (s *Store) read(ctx context.Context, secret string) (record, error) {
	value, valueErr := s.value(ctx, secret, &secretsmanager.GetSecretValueInput{VersionStage: aws.String(current)})
	code := awsclient.CodeOf(valueErr)
	if valueErr != nil && code != codeNotFound && code != codeInvalidRequest {
		return record{}, valueErr
	}
	// After the value, so that what it says of replicas is not older.
	about, err := s.describe(ctx, secret)
	switch {
	case awsclient.CodeOf(err) == codeNotFound:
		return record{}, nil
	case err != nil:
		return record{}, err
	case about.DeletedDate != nil:
		return record{}, rotator.Permanent(fmt.Errorf("read %q: the secret is scheduled for deletion since %s; restore it, or use another one",
			secret, about.DeletedDate.UTC().Format(time.RFC3339)))
	}
	now := record{exists: true, stages: about.VersionIdsToStages, replicas: about.ReplicationStatus}
	switch {
	case code == codeNotFound:
		return now, nil
	case valueErr != nil:
		return record{}, valueErr
	case value.SecretString == nil:
		return record{}, rotator.Permanent(fmt.Errorf("read %q: the secret is binary; rotatord keeps text only", secret))
	}
	now.version, now.text, now.at = aws.ToString(value.VersionId), *value.SecretString, aws.ToTime(value.CreatedDate)
	return now, nil
}

func (s *Store) value(ctx context.Context, secret string, input *secretsmanager.GetSecretValueInput) (value *secretsmanager.GetSecretValueOutput, err error) {
	input.SecretId = &secret
	err = s.call(ctx, "read", secret, "GetSecretValue", func(ctx context.Context, c *secretsmanager.Client) (err error) {
		value, err = c.GetSecretValue(ctx, input)
		return err
	})
	return value, err
}

func (s *Store) describe(ctx context.Context, secret string) (about *secretsmanager.DescribeSecretOutput, err error) {
	err = s.call(ctx, "describe", secret, "DescribeSecret", func(ctx context.Context, c *secretsmanager.Client) (err error) {
		about, err = c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &secret})
		return err
	})
	return about, err
}

// create makes a secret that was missing. errRaced: somebody else was faster.
func (s *Store) create(ctx context.Context, secret, token, text string) (rotator.Version, error) {
	if strings.HasPrefix(secret, "arn:") {
		return rotator.Version{}, rotator.Permanent(fmt.Errorf("create %q: the secret does not exist, and AWS gives new ones their ARN; use a name as key", secret))
	}
	done, err := s.budget.spend(ctx, secret) // it has a quota of its own, of the same size
	if err != nil {
		return rotator.Version{}, err
	}
	defer done()
	input := &secretsmanager.CreateSecretInput{Name: &secret, ClientRequestToken: &token, SecretString: &text}
	if s.config.KMSKeyID != "" {
		input.KmsKeyId = &s.config.KMSKeyID
	}
	for _, name := range slices.Sorted(maps.Keys(s.config.Tags)) {
		input.Tags = append(input.Tags, types.Tag{Key: aws.String(name), Value: aws.String(s.config.Tags[name])})
	}
	var made *secretsmanager.CreateSecretOutput
	err = s.call(ctx, "create", secret, "CreateSecret and TagResource", func(ctx context.Context, c *secretsmanager.Client) (err error) {
		made, err = c.CreateSecret(ctx, input)
		return err
	})
	switch {
	case awsclient.CodeOf(err) == codeExists:
		return rotator.Version{}, errRaced
	case err != nil:
		return rotator.Version{}, err
	}
	return rotator.Version{ID: cmp.Or(aws.ToString(made.VersionId), token)}, nil
}

// stage makes the version token, as AWSPENDING, and tells whether it is current
// already, as the first version of a secret is. A repeat changes nothing.
func (s *Store) stage(ctx context.Context, secret, token, text string) (isCurrent bool, err error) {
	var made *secretsmanager.PutSecretValueOutput
	err = s.call(ctx, "write", secret, "PutSecretValue", func(ctx context.Context, c *secretsmanager.Client) (err error) {
		made, err = c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &secret, ClientRequestToken: &token, SecretString: &text, VersionStages: []string{pending},
		})
		return err
	})
	switch {
	case awsclient.CodeOf(err) == codeExists:
		return false, rotator.Permanent(fmt.Errorf("write %q: the same attempt has made a version with another value", secret))
	case err != nil:
		return false, err
	}
	return slices.Contains(made.VersionStages, current), nil
}

// move moves a label; to or from may be "". AWS refuses it when from does not
// have the label, or to does not exist.
func (s *Store) move(ctx context.Context, secret, label, from, to string) error {
	input := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &secret, VersionStage: &label}
	if from != "" {
		input.RemoveFromVersionId = &from
	}
	if to != "" {
		input.MoveToVersionId = &to
	}
	return s.call(ctx, "promote", secret, "UpdateSecretVersionStage", func(ctx context.Context, c *secretsmanager.Client) error {
		_, err := c.UpdateSecretVersionStage(ctx, input)
		return err
	})
}

// get returns the value of the secret, or of a field of it.
func (r record) get(secret, field string) (value string, found bool, err error) {
	if field == "" || r.version == "" {
		return r.text, r.version != "", nil
	}
	value, found, err = jsonfield.Get([]byte(r.text), field)
	if err != nil {
		return "", false, fmt.Errorf("read %q: %w", secret, err)
	}
	return value, found, nil
}

// with returns the text of the secret with a new value in it.
func (r record) with(secret, field, value string) (text string, err error) {
	text = value
	if field != "" {
		var changed []byte
		changed, err = jsonfield.Set([]byte(cmp.Or(r.text, "{}")), field, value)
		text = string(changed)
	}
	switch {
	case err != nil:
	case !utf8.ValidString(value):
		err = errors.New("the value is not UTF-8, which is all that AWS takes")
	case text == "":
		err = errors.New("AWS takes no empty secret; use name#json_field")
	case len(text) > maxValue:
		err = fmt.Errorf("the secret would have %d bytes; AWS takes %d", len(text), maxValue)
	}
	if err != nil {
		return "", rotator.Permanent(fmt.Errorf("write %q: %w", secret, err))
	}
	return text, nil
}

func (r record) as(value string) rotator.Version {
	return rotator.Version{ID: r.version, Value: rotator.NewSecret(value), At: r.at}
}

// underway says when somebody else is in the middle of a change: a version that
// is staged as AWSPENDING, is not current, and was not made by a rotatord.
func (r record) underway() error {
	for version, labels := range r.stages {
		if slices.Contains(labels, pending) && !slices.Contains(labels, current) && !strings.HasPrefix(version, ours) {
			return rotator.Unsent(fmt.Errorf("another rotation is under way: its version %q is AWSPENDING; it must end, or its label must be removed", version))
		}
	}
	return nil
}

// replicaPause is between looks at a replica that is not in sync: five of them
// must be enough.
const replicaPause = 30 * time.Second

// behind says which replica does not have the current version. AWS answers
// InSync, InProgress or Failed for each of them.
func (r record) behind() error {
	for _, replica := range r.replicas {
		region := aws.ToString(replica.Region)
		switch replica.Status {
		case types.StatusTypeInSync:
		case types.StatusTypeFailed:
			return fmt.Errorf("the replica in %q failed to replicate; consumers there would keep an older value", region)
		default:
			return rotator.RetryAfter(rotator.Unsent(fmt.Errorf("the replica in %q is not in sync yet", region)), time.Now().Add(replicaPause))
		}
	}
	return nil
}

// tokenOf names the version of an attempt. The version it is based on belongs to
// it: when other fields changed meanwhile, the same attempt writes another text.
func tokenOf(attempt, key, base string) string {
	sum := sha256.Sum256([]byte("rotatord aws-secrets-manager\x00" + attempt + "\x00" + key + "\x00" + base))
	return ours + hex.EncodeToString(sum[:16])
}
