package awssecretsmanagerstore

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/awssim"
	"github.com/rotatord/rotatord/rotator"
)

const field = "prod/crm#INSTASENT_TOKEN"

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "aws-secrets-manager" {
		t.Errorf("the example is of type %q, %v; want aws-secrets-manager", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	eu := awsclient.Config{Region: "eu-west-1"}
	full := Config{
		Config: awsclient.Config{Region: "eu-west-1", RoleARN: "arn:aws:iam::123456789012:role/r", ExternalID: "x", Endpoint: "http://sm:8080", AllowHTTP: true},
		Create: true, KMSKeyID: "alias/x", Tags: map[string]string{"team": "platform"},
	}
	if err := full.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing": {Config{}, []string{"region: must be"}},
		"log-in": {
			Config{Config: awsclient.Config{Region: "EU", ExternalID: "x", Endpoint: "sm", STSEndpoint: "http://sts"}},
			[]string{"region: must be", "external_id: goes with", "endpoint: must be a URL", "sts_endpoint: must be https"},
		},
		"role":            {Config{Config: awsclient.Config{Region: "eu-west-1", RoleARN: "rotatord"}}, []string{"role_arn: must be the ARN"}},
		"secrets in URLs": {Config{Config: awsclient.Config{Region: "eu-west-1", Endpoint: "https://u:s3cr3t@sm"}}, []string{"endpoint: must not have"}},
		"not created":     {Config{Config: eu, KMSKeyID: "k", Tags: map[string]string{"a": "b"}}, []string{"kms_key_id: goes with create", "tags: go with create"}},
		"tags":            {Config{Config: eu, Create: true, Tags: map[string]string{"aws:x": "b"}}, []string{"tags: tag"}},
	} {
		err := test.config.Validate()
		if err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Count(err.Error(), "\n") != len(test.want)-1 {
			t.Errorf("%s: Validate() = %v; want %d mistakes", name, err, len(test.want))
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Validate() = %v; want %q in it", name, err, want)
			}
		}
	}
}

func write(value, prev, attempt string) rotator.Write {
	return rotator.Write{Value: rotator.NewSecret(value), Prev: prev, Attempt: attempt}
}

// get returns what the store says of a key, which must be there.
func get(t testing.TB, store *Store, key string) rotator.Version {
	t.Helper()
	now, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q) = %v", key, err)
	}
	return now
}

// Every other byte of the secret stays: order, spaces, numbers, nesting.
func TestOtherFieldsStay(t *testing.T) {
	w, sim := simulated(t)
	store := opened(t, w.endpoint)
	const before = "{\n  \"z\": 12345678901234567890,\n  \"INSTASENT_TOKEN\" : \"old\",\n  \"a\": {\"f\": 1.50, \"n\": [null, \"<&>\"]}\n}\n"
	sim.Write("prod/crm", before)
	now := get(t, store, field)
	if now.Value.Reveal() != "old" || now.At.IsZero() {
		t.Errorf("Get = %q at %v; want old", now.Value.Reveal(), now.At)
	}
	if _, err := store.Put(t.Context(), field, write("new <&> \"quoted\"", now.ID, "a")); err != nil {
		t.Fatal(err)
	}
	got, _ := sim.Read("prod/crm", current)
	if diff := cmp.Diff(strings.Replace(before, `"old"`, `"new <&> \"quoted\""`, 1), got); diff != "" {
		t.Errorf("the secret (-want +got):\n%s", diff)
	}
	for _, key := range []string{"prod/crm#z", "prod/crm#a"} {
		if _, err := store.Get(t.Context(), key); !rotator.IsPermanent(err) || strings.Contains(err.Error(), "1234") {
			t.Errorf("Get(%q) = %v; want a permanent error without the value", key, err)
		}
	}
	for _, text := range []string{"no JSON s3cr3t", `["s3cr3t"]`, `{"INSTASENT_TOKEN": "s3cr3t"`, `{} {"s3cr3t": 1}`, `"s3cr3t"`, `{"INSTASENT_TOKEN": null}`} {
		sim.Write("odd", text)
		for call, err := range map[string]error{
			"Get": third(store.Get(t.Context(), "odd#INSTASENT_TOKEN")), "CheckWrite": store.CheckWrite(t.Context(), "odd#INSTASENT_TOKEN"),
			"Put": third(store.Put(t.Context(), "odd#INSTASENT_TOKEN", write("v", "", "a"))),
		} {
			if !rotator.IsPermanent(err) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s of %s = %v; want a permanent error without the text", call, text, err)
			}
		}
	}
}

func third(_ rotator.Version, err error) error { return err }

// The guard is AWS's own: somebody else is faster between our look and our write.
func TestForeignWriteBetweenTheCalls(t *testing.T) {
	w, sim := simulated(t)
	for _, action := range []string{"PutSecretValue", "UpdateSecretVersionStage"} {
		for name, test := range map[string]struct {
			before, foreign string
			conflict        bool
		}{
			"crm":               {"old", "foreign", true},
			"crm#TOKEN":         {`{"TOKEN":"old"}`, `{"TOKEN":"foreign"}`, true},
			"other field#TOKEN": {`{"TOKEN":"old"}`, `{"TOKEN":"old","OTHER":"foreign"}`, false},
		} {
			key := strings.ReplaceAll(action+"/"+name, " ", "-")
			secret, _, _ := strings.Cut(key, "#")
			sim.Write(secret, test.before)
			once := sync.OnceFunc(func() { sim.Write(secret, test.foreign) })
			store := opened(t, between(t, w.endpoint, func(_ http.ResponseWriter, _ *http.Request, called string, _ http.Handler) bool {
				if called == action {
					once()
				}
				return false
			}))
			_, err := store.Put(t.Context(), key, write("new", get(t, store, key).ID, "a"))
			got, _ := sim.Read(secret, current)
			staged, _ := sim.Holder(secret, pending)
			if !test.conflict {
				if err != nil || got != `{"TOKEN":"new","OTHER":"foreign"}` {
					t.Errorf("%s: Put = %v, and consumers read %s; want both changes", key, err, got)
				}
				continue
			}
			if !errors.Is(err, rotator.ErrConflict) || !rotator.HadNoEffect(err) || got != test.foreign {
				t.Errorf("%s: Put = %v, and consumers read %s; want ErrConflict and %s", key, err, got, test.foreign)
			}
			if staged != "" {
				t.Errorf("%s: AWSPENDING stays on %q; want it nowhere", key, staged)
			}
		}
	}
}

// Two processes with the same version in hand: one wins, and AWS decides which.
func TestTwoWriters(t *testing.T) {
	w, sim := simulated(t)
	sim.Write("crm", "v")
	now := get(t, opened(t, w.endpoint), "crm")
	errs := make([]error, 8)
	var group sync.WaitGroup
	for i := range errs {
		store := opened(t, w.endpoint)
		group.Go(func() {
			_, errs[i] = store.Put(t.Context(), "crm", write(strings.Repeat("w", i+1), now.ID, strings.Repeat("a", i)))
		})
	}
	group.Wait()
	winners := 0
	for _, err := range errs {
		if err == nil {
			winners++
		} else if !errors.Is(err, rotator.ErrConflict) {
			t.Errorf("Put of a loser = %v; want ErrConflict", err)
		}
	}
	if previous, _ := sim.Read("crm", "AWSPREVIOUS"); winners != 1 || previous != "v" {
		t.Errorf("%d winners, AWSPREVIOUS %q; want 1 and v", winners, previous)
	}
}

// The answer of a write is lost: it is in doubt, and the same attempt again makes no second version.
func TestLostAnswers(t *testing.T) {
	w, sim := simulated(t)
	for _, action := range []string{"CreateSecret", "PutSecretValue", "UpdateSecretVersionStage"} {
		prev := ""
		if action != "CreateSecret" {
			sim.Write(action, "old")
			prev = get(t, opened(t, w.endpoint), action).ID
		}
		_, before := sim.Holder(action, current)
		lossy := opened(t, between(t, w.endpoint, func(_ http.ResponseWriter, r *http.Request, called string, pass http.Handler) bool {
			if called == action {
				pass.ServeHTTP(discard{http.Header{}}, r)
				panic(http.ErrAbortHandler)
			}
			return false
		}))
		_, err := lossy.Put(t.Context(), action, write("s3cr3t-value", prev, "a"))
		if err == nil || rotator.HadNoEffect(err) || strings.Contains(err.Error(), "http") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Put whose answer is lost = %v, no effect %v; want one in doubt, without URL", action, err, rotator.HadNoEffect(err))
		}
		for range 2 {
			version, err := opened(t, w.endpoint).Put(t.Context(), action, write("s3cr3t-value", prev, "a"))
			id, versions := sim.Holder(action, current)
			if err != nil || versions != before+1 || version.ID != id {
				t.Errorf("%s: Put again = %q, %v, and there are %d versions; want one more than %d", action, version.ID, err, versions, before)
			}
		}
	}
	sim.Write("crm", "old")
	id, _ := sim.Holder("crm", current)
	store := opened(t, w.endpoint)
	sim.Before = nil
	if _, err := store.stage(t.Context(), "crm", tokenOf("a", "crm#", id), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "crm", write("another", id, "a")); !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "same attempt") {
		t.Errorf("Put of another value by the same attempt = %v; want a permanent error", err)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func TestCreate(t *testing.T) {
	w, sim := simulated(t)
	plain := opened(t, w.endpoint, func(c *Config) { c.Create = false })
	for call, err := range map[string]error{
		"CheckWrite": plain.CheckWrite(t.Context(), "crm"), "Put": third(plain.Put(t.Context(), "crm", write("v", "", "a"))),
	} {
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "create: true") {
			t.Errorf("%s of a missing secret = %v; want a permanent error with create: true", call, err)
		}
	}
	store := opened(t, w.endpoint, func(c *Config) {
		c.KMSKeyID, c.Tags = "alias/rotatord", map[string]string{"team": "platform", "by": "rotatord"}
	})
	if err := store.CheckWrite(t.Context(), "crm"); err != nil {
		t.Errorf("CheckWrite = %v; want nil", err)
	}
	if _, err := store.Put(t.Context(), "crm#A", write("v", "", "a")); err != nil {
		t.Fatal(err)
	}
	kmsKey, tags := sim.About("crm")
	text, _ := sim.Read("crm", current)
	if diff := cmp.Diff(map[string]string{"team": "platform", "by": "rotatord"}, tags); diff != "" || kmsKey != "alias/rotatord" || text != `{"A": "v"}` {
		t.Errorf("created %s with key %q and tags (-want +got):\n%s", text, kmsKey, diff)
	}
	arn := "arn:aws:secretsmanager:eu-west-1:123456789012:secret:crm-AbCdEf"
	if now := get(t, store, arn+"#A"); now.Value.Reveal() != "v" {
		t.Errorf("Get by ARN = %q; want v", now.Value.Reveal())
	}
	if _, err := store.Put(t.Context(), strings.Replace(arn, "crm", "new", 1), write("v", "", "a")); !rotator.IsPermanent(err) {
		t.Errorf("Put of a missing ARN = %v; want a permanent error", err)
	}

	// A secret that was made without a value: the first version is current at once.
	sim.Change("empty", awssim.Change{})
	if _, err := plain.Get(t.Context(), "empty"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Get of a secret without a value = %v; want ErrNotFound", err)
	}
	if _, err := plain.Put(t.Context(), "empty#A", write("v", "", "a")); err != nil {
		t.Errorf("Put into a secret without a value = %v", err)
	}
	if text, _ := sim.Read("empty", current); text != `{"A": "v"}` {
		t.Errorf("consumers read %s", text)
	}
}

// What stands in the way of a write is told, and nothing is written.
func TestInTheWay(t *testing.T) {
	w, sim := simulated(t)
	store := opened(t, w.endpoint)
	for name, test := range map[string]struct {
		change           awssim.Change
		permanent, reads bool
		writes           bool
		want             string
	}{
		"deleted":    {awssim.Change{Deleted: true}, true, false, false, "scheduled for deletion"},
		"binary":     {awssim.Change{Binary: []byte("s3cr3t")}, true, false, false, "binary"},
		"replicates": {awssim.Change{Replicas: map[string]string{"eu-south-1": "InSync", "eu-north-1": "InProgress"}}, false, false, true, `"eu-north-1" is not in sync`},
		"failed":     {awssim.Change{Replicas: map[string]string{"eu-north-1": "Failed"}}, true, false, true, `"eu-north-1" failed`},
		"in-sync":    {awssim.Change{Replicas: map[string]string{"eu-north-1": "InSync"}}, false, true, true, ""},
	} {
		sim.Write(name, "old")
		id, _ := sim.Holder(name, current)
		sim.Change(name, test.change)
		_, got := store.Get(t.Context(), name)
		check := store.CheckWrite(t.Context(), name)
		_, put := store.Put(t.Context(), name, write("new", id, "a"))
		for call, err := range map[string]error{"Get": got, "CheckWrite": check, "Put": put} {
			switch {
			case test.want == "" || call == "Put" && test.writes:
				if err != nil {
					t.Errorf("%s: %s = %v; want nil", name, call, err)
				}
			case err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cr3t") || !rotator.HadNoEffect(err):
				t.Errorf("%s: %s = %v; want an error without effect that says %q", name, call, err, test.want)
			case call == "CheckWrite" && rotator.IsPermanent(err) != test.permanent:
				t.Errorf("%s: %s = %v, permanent %v; want %v", name, call, err, rotator.IsPermanent(err), test.permanent)
			}
		}
	}
}

// A rotation of AWS's own is waited for; what another rotatord left staged is not one.
func TestRotationUnderWay(t *testing.T) {
	w, sim := simulated(t)
	store := opened(t, w.endpoint)
	sim.Write("crm", "old")
	now := get(t, store, "crm")
	sim.Stage("crm", "of a Lambda function", pending)
	for call, err := range map[string]error{
		"CheckWrite": store.CheckWrite(t.Context(), "crm"), "Put": third(store.Put(t.Context(), "crm", write("new", now.ID, "a"))),
	} {
		if err == nil || rotator.IsPermanent(err) || !rotator.HadNoEffect(err) || !strings.Contains(err.Error(), "under way") {
			t.Errorf("%s during a rotation of AWS's own = %v; want an error that is retried and had no effect", call, err)
		}
	}
	if calls := sim.Calls("PutSecretValue"); calls != 0 {
		t.Errorf("%d versions were staged; want none", calls)
	}
	sim.Change("crm", awssim.Change{Unlabel: pending})
	if _, err := store.stage(t.Context(), "crm", tokenOf("of another rotatord", "crm#", now.ID), "left"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "crm", write("new", now.ID, "a")); err != nil {
		t.Errorf("Put after the rotation's end = %v; want nil", err)
	}
}

// No second has more writes than the quota, whatever the number of stores.
func TestQuota(t *testing.T) {
	w, sim := simulated(t)
	sim.Quota = 50
	stores := []*Store{opened(t, w.endpoint), opened(t, w.endpoint)}
	const writes = 60
	began := time.Now()
	var group sync.WaitGroup
	for i := range writes {
		group.Go(func() {
			secret := strings.Repeat("x", i+1)
			sim.Write(secret, "old")
			id, _ := sim.Holder(secret, current)
			if _, err := stores[i%2].Put(t.Context(), secret, write("new", id, "a")); err != nil {
				t.Errorf("Put = %v", err)
			}
		})
	}
	group.Wait()
	if n := sim.Calls("PutSecretValue ThrottlingException") + sim.Calls("UpdateSecretVersionStage ThrottlingException"); n > 0 {
		t.Errorf("%d writes were throttled; want none", n)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("%d writes took %v; want the pace of the quota", 2*writes, took)
	}
}
