package gcpsecretmanagerstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/rotatord/rotatord/rotator"
)

// A version is what the service tells of one without its payload. Number 0:
// there is none.
type version struct {
	number int64
	state  pb.SecretVersion_State
	at     time.Time
	etag   string
}

// numbered reads a version; its name ends in /versions/NUMBER.
func numbered(v *pb.SecretVersion) (version, error) {
	name := v.GetName()
	number, err := strconv.ParseInt(name[strings.LastIndexByte(name, '/')+1:], 10, 64)
	if err != nil || number < 1 {
		return version{}, errors.New("the answer has no version")
	}
	return version{number: number, state: v.GetState(), at: v.GetCreateTime().AsTime(), etag: v.GetEtag()}, nil
}

// metadata returns a version by its number or by "latest"; none is no error.
func (s *Store) metadata(ctx context.Context, p place, id string) (version, error) {
	name := p.name() + "/versions/" + id
	this := call{"read version of secret", p.secret, "secretmanager.versions.get"}
	found, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.SecretVersion, error) {
		return c.GetSecretVersion(ctx, &pb.GetSecretVersionRequest{Name: name}, o...)
	})
	if codeOf(err) == codes.NotFound {
		return version{}, nil
	}
	if err != nil {
		return version{}, err
	}
	return numbered(found)
}

// newest returns the version with the highest number. Only what is asked for by
// its number is surely up to date after a write; `latest` and lists may lag for
// minutes: https://cloud.google.com/secret-manager/docs/reference/consistency.
// So the numbers after it are tried.
func (s *Store) newest(ctx context.Context, p place) (version, error) {
	now, err := s.metadata(ctx, p, "latest")
	for err == nil {
		next, err := s.metadata(ctx, p, strconv.FormatInt(now.number+1, 10))
		if err != nil {
			return version{}, err
		}
		if next.number == 0 {
			return now, nil
		}
		now = next
	}
	return version{}, err
}

// access returns the payload of an enabled version.
func (s *Store) access(ctx context.Context, p place, number int64) ([]byte, error) {
	this := call{"read secret", p.secret, "secretmanager.versions.access"}
	name := p.name() + "/versions/" + strconv.FormatInt(number, 10)
	answer, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.AccessSecretVersionResponse, error) {
		return c.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: name}, o...)
	})
	if err != nil {
		return nil, err
	}
	payload := answer.GetPayload()
	if payload.DataCrc32C != nil && payload.GetDataCrc32C() != checksum(payload.GetData()) {
		return nil, fmt.Errorf("read secret %q: the value arrived damaged: its checksum is another one", p.secret)
	}
	return payload.GetData(), nil
}

// checksum is the CRC32C that Secret Manager keeps with a payload.
func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// add adds a version; from then on it is the latest.
func (s *Store) add(ctx context.Context, p place, content []byte) (version, error) {
	this := call{"add version to secret", p.secret, "secretmanager.versions.add"}
	sum := checksum(content)
	request := &pb.AddSecretVersionRequest{Parent: p.name(), Payload: &pb.SecretPayload{Data: content, DataCrc32C: &sum}}
	made, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.SecretVersion, error) {
		return c.AddSecretVersion(ctx, request, o...)
	})
	if err != nil {
		return version{}, err
	}
	if !made.GetClientSpecifiedPayloadChecksum() {
		return version{}, fmt.Errorf("add version to secret %q: the service did not check the checksum", p.secret)
	}
	v, err := numbered(made)
	if err != nil {
		return version{}, fmt.Errorf("add version to secret %q: %w", p.secret, err)
	}
	return v, nil
}

// meta returns the secret itself, with its aliases and etag; nil: there is none.
// An answer that is older than what our own update returned gives way to that.
func (s *Store) meta(ctx context.Context, p place) (*pb.Secret, error) {
	this := call{"read secret", p.secret, "secretmanager.secrets.get"}
	found, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.Secret, error) {
		return c.GetSecret(ctx, &pb.GetSecretRequest{Name: p.name()}, o...)
	})
	if codeOf(err) == codes.NotFound {
		return nil, nil //nolint:nilnil // documented: nil means that there is none
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.updated[p.name()]; err == nil && slices.Contains(known.before, found.GetEtag()) {
		found = known.now
	}
	return found, err
}

// moveAlias points the alias to a version, if the secret is still as it was
// read; else errRaced.
func (s *Store) moveAlias(ctx context.Context, p place, was *pb.Secret, to int64) error {
	this := call{"move alias of secret", p.secret, "secretmanager.secrets.update"}
	aliases := map[string]int64{}
	maps.Copy(aliases, was.GetVersionAliases())
	aliases[s.config.Alias] = to
	request := &pb.UpdateSecretRequest{
		Secret:     &pb.Secret{Name: p.name(), Etag: was.GetEtag(), VersionAliases: aliases},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"version_aliases"}},
	}
	now, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.Secret, error) {
		return c.UpdateSecret(ctx, request, o...)
	})
	if codeOf(err) == codes.FailedPrecondition { // https://cloud.google.com/secret-manager/docs/etags
		return errRaced
	}
	if err == nil && now.GetEtag() != was.GetEtag() {
		s.mu.Lock()
		defer s.mu.Unlock()
		known := s.updated[p.name()]
		before := append(slices.Clone(known.before), was.GetEtag())
		s.updated[p.name()] = updates{now: now, before: before[max(0, len(before)-maxUpdates):]}
	}
	return err
}

// create makes an empty secret; one that is there already is fine.
func (s *Store) create(ctx context.Context, p place) error {
	this := call{"create secret", p.secret, "secretmanager.secrets.create"}
	secret := &pb.Secret{}
	if s.config.Location == "" { // a regional secret has no replication
		secret.Replication = &pb.Replication{Replication: &pb.Replication_Automatic_{Automatic: &pb.Replication_Automatic{}}}
	}
	request := &pb.CreateSecretRequest{Parent: p.parent, SecretId: p.secret, Secret: secret}
	_, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.Secret, error) {
		return c.CreateSecret(ctx, request, o...)
	})
	if codeOf(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

// disable switches a version off, reversibly, if nobody changed it since it was read.
func (s *Store) disable(ctx context.Context, p place, v version) error {
	this := call{"disable version of secret", p.secret, "secretmanager.versions.disable"}
	request := &pb.DisableSecretVersionRequest{Name: p.name() + "/versions/" + strconv.FormatInt(v.number, 10), Etag: v.etag}
	_, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*pb.SecretVersion, error) {
		return c.DisableSecretVersion(ctx, request, o...)
	})
	return err
}

// versions lists all versions of a secret.
func (s *Store) versions(ctx context.Context, p place) ([]version, error) {
	this := call{"list versions of secret", p.secret, "secretmanager.versions.list"}
	return ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) ([]version, error) {
		var all []version
		list := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: p.name()}, o...)
		for {
			next, err := list.Next()
			if errors.Is(err, iterator.Done) {
				return all, nil
			}
			if err != nil {
				return nil, err
			}
			v, err := numbered(next)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
	})
}

// allowed returns which of the permissions the log-in has on a secret. On one
// that does not exist nobody has any, and that is no error.
func (s *Store) allowed(ctx context.Context, name string, permissions []string) ([]string, error) {
	this := call{"ask for permissions on", name[strings.LastIndexByte(name, '/')+1:], "a log-in"}
	request := &iampb.TestIamPermissionsRequest{Resource: name, Permissions: permissions}
	answer, err := ask(ctx, s.session, this, func(ctx context.Context, c *secretmanager.Client, o ...gax.CallOption) (*iampb.TestIamPermissionsResponse, error) {
		return c.TestIamPermissions(ctx, request, o...)
	})
	if err != nil {
		return nil, err
	}
	return answer.GetPermissions(), nil
}

// as is what the engine is told of a version.
func (v version) as(value string) rotator.Version {
	return rotator.Version{ID: strconv.FormatInt(v.number, 10), Value: rotator.NewSecret(value), At: v.at}
}
