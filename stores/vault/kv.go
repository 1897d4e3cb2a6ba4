package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/rotatord/rotatord/rotator"
)

// errRaced means that check-and-set found another version than the one just read.
var errRaced = errors.New("the secret is changed all the time")

// A record is a secret as it was read. Without fields there is none, or its
// latest version is deleted.
type record struct {
	version   int // of KV version 2, deleted versions too; 0: there was never one
	fields    map[string]any
	at        time.Time
	destroyed bool
}

// gone says of a version that is deleted or destroyed, so that a person can
// bring it back; of any other, nothing.
func (r record) gone(mount, secret string) string {
	switch {
	case r.version == 0 || r.fields != nil:
		return ""
	case r.destroyed:
		return fmt.Sprintf("version %d of the secret was destroyed and can't come back; a write makes version %d: ", r.version, r.version+1)
	}
	return fmt.Sprintf("version %d of the secret was deleted; `vault kv undelete -mount=%s -versions=%d %s` brings it back, a write makes version %d: ",
		r.version, mount, r.version, secret, r.version+1)
}

// An engine is one mount, whose version is known.
type engine struct {
	client  *api.Client
	mount   string
	version int
}

// api path of a secret.
func (e engine) path(secret string) string {
	if e.version == 2 {
		return e.mount + "/data/" + secret
	}
	return e.mount + "/" + secret
}

// read returns the latest version of a secret, or with version 2 a certain one.
// None is an empty record and no error.
func (e engine) read(ctx context.Context, secret string, version int) (record, error) {
	path := e.path(secret)
	this := call{"read", path, "read"}
	var query url.Values
	if version > 0 {
		query = url.Values{"version": {strconv.Itoa(version)}}
	}
	answer, err := e.client.Logical().ReadRawWithDataWithContext(ctx, path, query)
	if answer != nil {
		defer func() { _ = answer.Body.Close() }()
	}
	var response *api.ResponseError
	if errors.As(err, &response) && response.StatusCode == http.StatusNotFound && len(response.Errors) == 0 {
		err = nil // no secret, or a deleted version with its metadata
	}
	if err != nil {
		return record{}, this.explain(ctx, err)
	}
	parsed, err := api.ParseSecret(answer.Body)
	if err != nil {
		return record{}, this.explain(ctx, err)
	}
	if parsed == nil || parsed.Data == nil {
		if answer.StatusCode == http.StatusNotFound && (parsed == nil || len(parsed.Warnings) == 0) {
			return record{}, nil
		}
		return record{}, rotator.Permanent(fmt.Errorf("read %q: not a secret; check mount and kv_version", path))
	}
	if e.version == 1 {
		return record{fields: parsed.Data}, nil
	}
	return versioned(path, parsed.Data)
}

// versioned reads the answer of KV version 2.
func versioned(path string, data map[string]any) (record, error) {
	metadata, ok := data["metadata"].(map[string]any)
	version, err := integer(metadata["version"])
	if !ok || err != nil {
		return record{}, rotator.Permanent(fmt.Errorf("read %q: not a secret of KV version 2; check mount and kv_version", path))
	}
	fields, _ := data["data"].(map[string]any) // null once it is deleted
	destroyed, _ := metadata["destroyed"].(bool)
	return record{version: version, fields: fields, at: created(metadata), destroyed: destroyed}, nil
}

// created reads when a version was made; the zero time where it can't be read.
func created(metadata map[string]any) time.Time {
	text, _ := metadata["created_time"].(string)
	at, _ := time.Parse(time.RFC3339Nano, text)
	return at
}

// write replaces a secret that was read as old by one with a field changed, and
// returns the new version. errRaced means that nothing was written, because old
// is no longer the latest version.
func (e engine) write(ctx context.Context, secret string, old record, field, value string) (record, error) {
	path := e.path(secret)
	needs := "update"
	if old.version == 0 && old.fields == nil {
		needs = "create"
	}
	this := call{"write", path, needs}
	fields := map[string]any{}
	maps.Copy(fields, old.fields)
	fields[field] = value
	body := fields
	if e.version == 2 {
		body = map[string]any{"data": fields, "options": map[string]any{"cas": old.version}}
	}
	answer, err := e.client.Logical().WriteWithContext(ctx, path, body)
	var response *api.ResponseError
	if errors.As(err, &response) && response.StatusCode == http.StatusBadRequest && says(response, "check-and-set parameter did not match") {
		return record{}, errRaced
	}
	if err != nil || e.version == 1 {
		return record{}, this.explain(ctx, err)
	}
	if answer == nil {
		return record{}, fmt.Errorf("write %q: the answer has no version", path)
	}
	version, err := integer(answer.Data["version"])
	if err != nil {
		return record{}, fmt.Errorf("write %q: the answer has no version", path)
	}
	return record{version: version, at: created(answer.Data)}, nil
}

// detect asks Vault what kind of mount this is. Where the policy lets us see
// nothing of it, what the configuration says is believed.
func detect(ctx context.Context, client *api.Client, mount string, configured int) (int, error) {
	path := "sys/internal/ui/mounts/" + mount
	answer, err := client.Logical().ReadWithContext(ctx, path)
	err = call{"look at mount", mount, "read"}.explain(ctx, err)
	switch {
	case statusOf(err) == http.StatusForbidden && configured != 0:
		return configured, nil
	case statusOf(err) == http.StatusForbidden:
		return 0, rotator.Permanent(&answered{http.StatusForbidden, fmt.Sprintf(
			"look at mount %q: permission denied: there is no such mount, or the policy gives nothing below it; check mount and namespace, or set kv_version", mount)})
	case err != nil:
		return 0, err
	case answer == nil:
		return 0, fmt.Errorf("look at mount %q: the answer is empty", mount)
	}
	if kind, _ := answer.Data["type"].(string); kind != "kv" && kind != "generic" {
		return 0, rotator.Permanent(fmt.Errorf("look at mount %q: is of type %q, not kv", mount, kind))
	}
	found := 1
	if options, _ := answer.Data["options"].(map[string]any); options["version"] == "2" {
		found = 2
	}
	if configured != 0 && configured != found {
		return 0, rotator.Permanent(fmt.Errorf("look at mount %q: is KV version %d, but kv_version says %d", mount, found, configured))
	}
	return found, nil
}

func integer(value any) (int, error) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, errors.New("not a number")
	}
	return strconv.Atoi(number.String())
}
