package gcpsecretmanagerstore

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// cloud is a stand-in of Secret Manager behind the official interface: names,
// permissions, states, etags, checksums, aliases and pages as the API documents
// them. What it refuses it words as the service does, values included where the
// service would: none of that may reach an error of ours.
type cloud struct {
	pb.UnimplementedSecretManagerServiceServer
	location string // of a regional endpoint

	mu       sync.Mutex
	secrets  map[string]*kept // by project/location/ID
	tokens   map[string]string
	grants   map[string][]string // account → permissions, on every secret
	changes  int                 // makes etags
	lag      int                 // how many versions `latest` is behind
	stale    bool                // secrets are read as they were before their last update
	calls    []string
	accounts map[string]bool // that may log in; false: revoked

	// before runs ahead of a call, without the lock; an error is the answer.
	before func(method string) error
	// after runs behind a call that worked; an error takes the place of its answer.
	after func(method string) error
}

type kept struct {
	secret   *pb.Secret
	versions []*pb.SecretVersion // number-1 is the index
	payloads [][]byte
	before   *pb.Secret // the last update
	damaged  bool       // payloads arrive with a bit turned
}

var resource = regexp.MustCompile(`^projects/([a-z0-9-]+)(?:/locations/([a-z0-9-]+))?/secrets/([A-Za-z0-9_-]{1,255})(?:/versions/([A-Za-z0-9_-]+))?$`)

const projectNumber = "projects/424242"

// intercept is what happens to every call before its handler.
func (c *cloud) intercept(ctx context.Context, method string, handle func(context.Context) (any, error)) (any, error) {
	c.mu.Lock()
	c.calls = append(c.calls, method)
	before, after := c.before, c.after
	headers, _ := metadata.FromIncomingContext(ctx)
	token := strings.TrimPrefix(strings.Join(headers.Get("authorization"), ","), "Bearer ")
	account := c.tokens[token]
	live := c.accounts[account]
	c.mu.Unlock()
	if account == "" || !live {
		return nil, status.Error(codes.Unauthenticated, "Request had invalid authentication credentials: "+token)
	}
	if params := headers.Get("x-goog-request-params"); len(params) != 1 || !strings.Contains(params[0], "=projects") {
		return nil, status.Errorf(codes.InvalidArgument, "no routing header: %q", params)
	}
	if before != nil {
		if err := before(method); err != nil {
			return nil, err
		}
	}
	answer, err := handle(context.WithValue(ctx, accountKey{}, account))
	if err == nil && after != nil {
		err = after(method)
	}
	return answer, err
}

type accountKey struct{}

// allow checks a permission, and the form of the name, first of all.
func (c *cloud) allow(ctx context.Context, name, permission string) ([]string, error) {
	parts := resource.FindStringSubmatch(name)
	if parts == nil || parts[2] != c.location {
		return nil, status.Errorf(codes.InvalidArgument, "Resource ID [%s] is not in a valid format.", name)
	}
	account, _ := ctx.Value(accountKey{}).(string)
	if !slices.Contains(c.grants[account], permission) {
		return nil, status.Errorf(codes.PermissionDenied, "Permission '%s' denied for resource '%s' (or it may not exist).", permission, name)
	}
	return parts, nil
}

func (c *cloud) etag() string {
	c.changes++
	return fmt.Sprintf("%q", strconv.FormatInt(int64(0x16211daf5f29c5)+int64(c.changes), 16))
}

// find returns a secret that was not deleted and has not expired.
func (c *cloud) find(parts []string) (*kept, error) {
	k := c.secrets[parts[1]+"/"+parts[2]+"/"+parts[3]]
	if k == nil || (k.secret.GetExpireTime() != nil && k.secret.GetExpireTime().AsTime().Before(time.Now())) {
		return nil, status.Errorf(codes.NotFound, "Secret [%s/secrets/%s] not found.", projectNumber, parts[3])
	}
	return k, nil
}

// version returns the index of a version by number, latest or alias.
func (c *cloud) version(parts []string) (*kept, int, error) {
	k, err := c.find(parts)
	if err != nil {
		return nil, 0, err
	}
	number := len(k.versions) - c.lag
	if parts[4] != "latest" {
		if alias, ok := k.secret.GetVersionAliases()[parts[4]]; ok {
			number = int(alias)
		} else if number, err = strconv.Atoi(parts[4]); err != nil {
			number = 0
		}
	}
	if number < 1 || number > len(k.versions) {
		return nil, 0, status.Errorf(codes.NotFound, "Secret Version [%s] not found.", strings.Join(parts[3:], "/"))
	}
	return k, number - 1, nil
}

func (c *cloud) CreateSecret(ctx context.Context, r *pb.CreateSecretRequest) (*pb.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetParent()+"/secrets/"+r.GetSecretId(), "secretmanager.secrets.create")
	if err != nil {
		return nil, err
	}
	key := parts[1] + "/" + parts[2] + "/" + parts[3]
	replicated := r.GetSecret().GetReplication().GetAutomatic() != nil
	switch {
	case c.secrets[key] != nil:
		return nil, status.Errorf(codes.AlreadyExists, "Secret [%s] already exists.", key)
	case replicated == (c.location != ""):
		return nil, status.Error(codes.InvalidArgument, "Field [secret.replication] is required for global, and not allowed for regional secrets.")
	}
	return c.make(parts, r.GetSecret()), nil
}

func (c *cloud) make(parts []string, from *pb.Secret) *pb.Secret {
	made := proto.CloneOf(from)
	made.Name = projectNumber + "/secrets/" + parts[3]
	made.Etag, made.CreateTime = c.etag(), timestamppb.Now()
	c.secrets[parts[1]+"/"+parts[2]+"/"+parts[3]] = &kept{secret: made}
	return proto.CloneOf(made)
}

func (c *cloud) GetSecret(ctx context.Context, r *pb.GetSecretRequest) (*pb.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetName(), "secretmanager.secrets.get")
	if err != nil {
		return nil, err
	}
	k, err := c.find(parts)
	if err != nil {
		return nil, err
	}
	if c.stale && k.before != nil {
		return proto.CloneOf(k.before), nil
	}
	return proto.CloneOf(k.secret), nil
}

func (c *cloud) UpdateSecret(ctx context.Context, r *pb.UpdateSecretRequest) (*pb.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetSecret().GetName(), "secretmanager.secrets.update")
	if err != nil {
		return nil, err
	}
	k, err := c.find(parts)
	switch {
	case err != nil:
		return nil, err
	case r.GetSecret().GetEtag() == "":
		return nil, status.Error(codes.Internal, "this stand-in wants every update guarded")
	case r.GetSecret().GetEtag() != k.secret.GetEtag():
		return nil, status.Errorf(codes.FailedPrecondition, "The etag provided in the request does not match the resource's current etag %s.", k.secret.GetEtag())
	case !slices.Equal(r.GetUpdateMask().GetPaths(), []string{"version_aliases"}):
		return nil, status.Errorf(codes.InvalidArgument, "update_mask %v", r.GetUpdateMask().GetPaths())
	case len(r.GetSecret().GetVersionAliases()) > 50:
		return nil, status.Error(codes.InvalidArgument, "too many aliases")
	}
	for alias, number := range r.GetSecret().GetVersionAliases() {
		if !aliasName.MatchString(alias) || alias == "latest" || number < 1 || int(number) > len(k.versions) {
			return nil, status.Errorf(codes.InvalidArgument, "alias %s=%d", alias, number)
		}
	}
	k.before = proto.CloneOf(k.secret)
	k.secret.VersionAliases = maps.Clone(r.GetSecret().GetVersionAliases())
	k.secret.Etag = c.etag()
	return proto.CloneOf(k.secret), nil
}

func (c *cloud) AddSecretVersion(ctx context.Context, r *pb.AddSecretVersionRequest) (*pb.SecretVersion, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetParent(), "secretmanager.versions.add")
	if err != nil {
		return nil, err
	}
	k, err := c.find(parts)
	data := r.GetPayload().GetData()
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, status.Error(codes.InvalidArgument, "Secret Payload cannot be empty.")
	case len(data) > 65536:
		return nil, status.Errorf(codes.InvalidArgument, "The payload is too long: %s", data)
	case r.GetPayload().DataCrc32C == nil || r.GetPayload().GetDataCrc32C() != checksum(data):
		return nil, status.Errorf(codes.InvalidArgument, "The checksum does not match: %s", data)
	}
	return c.append(k, data), nil
}

// append adds a version; the secret's own etag stays.
func (c *cloud) append(k *kept, data []byte) *pb.SecretVersion {
	number := len(k.versions) + 1
	made := &pb.SecretVersion{
		Name:  fmt.Sprintf("%s/versions/%d", k.secret.GetName(), number),
		State: pb.SecretVersion_ENABLED, CreateTime: timestamppb.Now(), Etag: c.etag(), ClientSpecifiedPayloadChecksum: true,
	}
	k.versions, k.payloads = append(k.versions, made), append(k.payloads, slices.Clone(data))
	return proto.CloneOf(made)
}

func (c *cloud) GetSecretVersion(ctx context.Context, r *pb.GetSecretVersionRequest) (*pb.SecretVersion, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetName(), "secretmanager.versions.get")
	if err != nil {
		return nil, err
	}
	k, i, err := c.version(parts)
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(k.versions[i]), nil
}

func (c *cloud) AccessSecretVersion(ctx context.Context, r *pb.AccessSecretVersionRequest) (*pb.AccessSecretVersionResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetName(), "secretmanager.versions.access")
	if err != nil {
		return nil, err
	}
	k, i, err := c.version(parts)
	if err != nil {
		return nil, err
	}
	if state := k.versions[i].GetState(); state != pb.SecretVersion_ENABLED {
		return nil, status.Errorf(codes.FailedPrecondition, "Secret Version [%s] is in %s state.", k.versions[i].GetName(), state)
	}
	data := slices.Clone(k.payloads[i])
	sum := checksum(data)
	if k.damaged {
		data[0] ^= 1
	}
	return &pb.AccessSecretVersionResponse{Name: k.versions[i].GetName(), Payload: &pb.SecretPayload{Data: data, DataCrc32C: &sum}}, nil
}

func (c *cloud) DisableSecretVersion(ctx context.Context, r *pb.DisableSecretVersionRequest) (*pb.SecretVersion, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetName(), "secretmanager.versions.disable")
	if err != nil {
		return nil, err
	}
	k, i, err := c.version(parts)
	switch {
	case err != nil:
		return nil, err
	case k.versions[i].GetState() == pb.SecretVersion_DESTROYED, r.GetEtag() != "" && r.GetEtag() != k.versions[i].GetEtag():
		return nil, status.Error(codes.FailedPrecondition, "destroyed, or another etag")
	}
	k.versions[i].State, k.versions[i].Etag = pb.SecretVersion_DISABLED, c.etag()
	return proto.CloneOf(k.versions[i]), nil
}

// ListSecretVersions answers the newest first, two to a page.
func (c *cloud) ListSecretVersions(ctx context.Context, r *pb.ListSecretVersionsRequest) (*pb.ListSecretVersionsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts, err := c.allow(ctx, r.GetParent(), "secretmanager.versions.list")
	if err != nil {
		return nil, err
	}
	k, err := c.find(parts)
	if err != nil {
		return nil, err
	}
	from := 0
	if r.GetPageToken() != "" {
		if from, err = strconv.Atoi(strings.TrimPrefix(r.GetPageToken(), "page-")); err != nil || from < 1 {
			return nil, status.Error(codes.InvalidArgument, "page_token")
		}
	}
	newestFirst := slices.Clone(k.versions)
	slices.Reverse(newestFirst)
	to := min(from+2, len(newestFirst))
	answer := &pb.ListSecretVersionsResponse{TotalSize: int32(len(newestFirst))}
	for _, v := range newestFirst[from:to] {
		answer.Versions = append(answer.Versions, proto.CloneOf(v))
	}
	if to < len(newestFirst) {
		answer.NextPageToken = fmt.Sprintf("page-%d", to)
	}
	return answer, nil
}

// TestIamPermissions needs no permission, and answers an empty set for a secret
// that does not exist.
func (c *cloud) TestIamPermissions(ctx context.Context, r *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	parts := resource.FindStringSubmatch(r.GetResource())
	if parts == nil || parts[4] != "" {
		return nil, status.Error(codes.InvalidArgument, "resource")
	}
	answer := &iampb.TestIamPermissionsResponse{}
	if _, err := c.find(parts); err != nil {
		return answer, nil
	}
	account, _ := ctx.Value(accountKey{}).(string)
	for _, permission := range r.GetPermissions() {
		if slices.Contains(c.grants[account], permission) {
			answer.Permissions = append(answer.Permissions, permission)
		}
	}
	return answer, nil
}
