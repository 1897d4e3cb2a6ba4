package awsssmstore

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/awsclient"
	"github.com/rotatord/rotatord/internal/testservers"
	"github.com/rotatord/rotatord/rotator"
)

const key = "/prod/crm/token"

func TestExample(t *testing.T) {
	var entry struct {
		Type   string
		Config `yaml:",inline"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(Example))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entry); err != nil || entry.Type != "aws-ssm" {
		t.Errorf("the example is of type %q, %v; want aws-ssm", entry.Type, err)
	}
	if err := entry.Validate(); err != nil {
		t.Errorf("the example's Validate() = %v", err)
	}
}

func TestValidate(t *testing.T) {
	eu := awsclient.Config{Region: region}
	for name, test := range map[string]struct {
		config Config
		want   []string
	}{
		"nothing": {Config{}, []string{"region: must be"}},
		"all": {
			Config{Config: eu, Tier: "cheap", Label: "1st", Tags: map[string]string{"aws:x": ""}},
			[]string{"tier: \"cheap\" is not", "label: has letters", "tags: go with create", "tags: tag"},
		},
		"label of AWS": {Config{Config: eu, Label: "AWSlive"}, []string{"label: has letters"}},
	} {
		err := test.config.Validate()
		if err == nil || strings.Count(err.Error(), "\n") != len(test.want)-1 {
			t.Errorf("%s: Validate() = %v; want %d mistakes", name, err, len(test.want))
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Validate() = %v; want %q in it", name, err, want)
			}
		}
	}
	full := Config{Config: eu, Create: true, Tier: "intelligent-tiering", Label: "live", KMSKeyID: "alias/x", Tags: map[string]string{"team": "platform"}}
	if err := full.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
}

func write(value, prev string) rotator.Write {
	return rotator.Write{Value: rotator.NewSecret(value), Prev: prev, Attempt: "a"}
}

// Of a new parameter: its type, tier, KMS key and tags. A new version keeps them.
func TestCreate(t *testing.T) {
	logIns(t)
	moto := testservers.Moto(t)
	client := clientOf(t, moto.Addr, accessKey, secretKey)
	plain := opened(t, moto.Addr, func(c *Config) { c.Create = false })
	_, put := plain.Put(t.Context(), key, write("v", ""))
	for call, err := range map[string]error{"CheckWrite": plain.CheckWrite(t.Context(), key), "Put": put} {
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "create: true") {
			t.Errorf("%s of a missing parameter = %v; want a permanent error with create: true", call, err)
		}
	}
	store := opened(t, moto.Addr, func(c *Config) {
		c.Tier, c.KMSKeyID, c.Tags = "advanced", "alias/rotatord", map[string]string{"team": "platform"}
	})
	one, err := store.Put(t.Context(), key, write("one", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), key, write(strings.Repeat("x", maxAdvanced), one.ID)); err != nil {
		t.Fatal(err)
	}
	about, err := client.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{})
	if err != nil || len(about.Parameters) != 1 {
		t.Fatalf("DescribeParameters = %v, %v", about, err)
	}
	p := about.Parameters[0]
	if p.Type != types.ParameterTypeSecureString || p.Tier != types.ParameterTierAdvanced || aws.ToString(p.KeyId) != "alias/rotatord" || p.Version != 2 {
		t.Errorf("the parameter is %s, %s, key %s, version %d", p.Type, p.Tier, aws.ToString(p.KeyId), p.Version)
	}
	tags, err := client.ListTagsForResource(t.Context(), &ssm.ListTagsForResourceInput{ResourceId: aws.String(key), ResourceType: types.ResourceTypeForTaggingParameter})
	if err != nil || len(tags.TagList) != 1 || aws.ToString(tags.TagList[0].Value) != "platform" {
		t.Errorf("tags = %v, %v; want team: platform", tags, err)
	}
}

func TestRefusedValues(t *testing.T) {
	logIns(t)
	moto := testservers.Moto(t)
	standard := opened(t, moto.Addr, func(c *Config) { c.Tier = "standard" })
	for name, test := range map[string]struct {
		store *Store
		value string
		want  string
	}{
		"empty":           {standard, "", "no empty parameter"},
		"too long":        {standard, strings.Repeat("s3cr3t", 683), "4098 bytes"},
		"longer than any": {opened(t, moto.Addr), strings.Repeat("s3cr3t", 1366), "8196 bytes"},
		"not UTF-8":       {standard, "s3cr3t\xff", "not UTF-8"},
	} {
		_, err := test.store.Put(t.Context(), key, write(test.value, ""))
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: Put = %v; want a permanent error that says %q", name, err, test.want)
		}
	}
	client := clientOf(t, moto.Addr, accessKey, secretKey)
	if _, err := client.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/plain"), Value: aws.String("s3cr3t"), Type: types.ParameterTypeString}); err != nil {
		t.Fatal(err)
	}
	_, put := standard.Put(t.Context(), "/plain", write("v", "1"))
	for call, err := range map[string]error{"CheckWrite": standard.CheckWrite(t.Context(), "/plain"), "Put": put} {
		if !rotator.IsPermanent(err) || !strings.Contains(err.Error(), "a SecureString only") || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s of a plain String = %v; want a permanent error", call, err)
		}
	}
}

// Somebody else writes between our look and our write: it can't be prevented, but it is told.
func TestForeignWriteInBetween(t *testing.T) {
	logIns(t)
	moto := testservers.Moto(t)
	client := clientOf(t, moto.Addr, accessKey, secretKey)
	foreign(t, client, key, "old", "")
	once := sync.OnceFunc(func() { foreign(t, client, key, "s3cr3t-foreign", "") })
	store := opened(t, between(t, moto.Addr, func(_ http.ResponseWriter, _ *http.Request, action string, _ http.Handler) bool {
		if action == "PutParameter" {
			once()
		}
		return false
	}))
	_, err := store.Put(t.Context(), key, write("s3cr3t-new", "1"))
	if err == nil || rotator.HadNoEffect(err) || errors.Is(err, rotator.ErrConflict) || !strings.Contains(err.Error(), "our version is 3 and not 2") || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("Put = %v; want an error that had its effect, with both versions", err)
	}
	if value, _ := readAs(t, client, key, ""); value != "s3cr3t-new" {
		t.Errorf("consumers read %q; want ours", value)
	}
	if theirs, _ := readAs(t, client, key, "2"); theirs != "s3cr3t-foreign" {
		t.Errorf("version 2 = %q; want theirs", theirs)
	}
	if version, err := store.Put(t.Context(), key, write("s3cr3t-new", "1")); err != nil || version.ID != "3" {
		t.Errorf("Put again = %q, %v; want version 3", version.ID, err)
	}

	fresh := "/prod/new"
	created := sync.OnceFunc(func() { foreign(t, client, fresh, "foreign", "") })
	store = opened(t, between(t, moto.Addr, func(_ http.ResponseWriter, _ *http.Request, action string, _ http.Handler) bool {
		if action == "PutParameter" {
			created()
		}
		return false
	}))
	if _, err := store.Put(t.Context(), fresh, write("v", "")); !errors.Is(err, rotator.ErrConflict) || !rotator.HadNoEffect(err) {
		t.Errorf("Put of a parameter that somebody else creates = %v; want ErrConflict without effect", err)
	}
}

// The answers are lost, of the write or of the label: the same attempt again makes no second version.
func TestLostAnswers(t *testing.T) {
	logIns(t)
	moto := testservers.Moto(t)
	client := clientOf(t, moto.Addr, accessKey, secretKey)
	live := func(c *Config) { c.Label = "live" }
	for _, action := range []string{"PutParameter", "LabelParameterVersion"} {
		for _, arrives := range []bool{true, false} {
			name := "/" + action
			if arrives {
				name += "/arrives"
			}
			foreign(t, client, name, "old", "live")
			lossy := opened(t, between(t, moto.Addr, func(_ http.ResponseWriter, r *http.Request, called string, pass http.Handler) bool {
				if called == action {
					if arrives {
						pass.ServeHTTP(discard{http.Header{}}, r)
					}
					panic(http.ErrAbortHandler)
				}
				return false
			}), live)
			_, err := lossy.Put(t.Context(), name, write("s3cr3t-new", "1"))
			if err == nil || rotator.HadNoEffect(err) || strings.Contains(err.Error(), "http") || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s: Put whose answer is lost = %v, no effect %v; want one in doubt, without URL", name, err, rotator.HadNoEffect(err))
			}
			store := opened(t, moto.Addr, live)
			version, err := store.Put(t.Context(), name, write("s3cr3t-new", "1"))
			if err != nil || version.ID != "2" {
				t.Errorf("%s: Put again = %q, %v; want version 2", name, version.ID, err)
			}
			now, err := store.Get(t.Context(), name)
			if value, _ := readAs(t, client, name, "live"); err != nil || now.ID != "2" || now.At.IsZero() || value != "s3cr3t-new" {
				t.Errorf("%s: Get = %q at %v, %v, and consumers read %q; want version 2", name, now.ID, now.At, err, value)
			}
		}
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// What moto never answers, from the API reference: how it is classified, and that nothing of it is shown.
func TestAnswers(t *testing.T) {
	logIns(t)
	for code, test := range map[string]struct {
		status               int
		permanent, hadEffect bool
		want                 string
	}{
		"ThrottlingException":              {400, false, false, "slow down"},
		"TooManyUpdates":                   {400, false, false, "slow down"},
		"InternalServerError":              {500, false, true, "500"},
		"InvalidKeyId":                     {400, true, false, "kms_key_id"},
		"ParameterMaxVersionLimitExceeded": {400, true, false, "100 versions"},
		"ParameterAlreadyExists":           {400, true, false, rotator.ErrConflict.Error()},
		"ValidationException":              {400, true, false, "{{ }}"},
		"AccessDeniedException":            {400, true, false, "ssm:PutParameter"},
		"ExpiredTokenException":            {400, true, false, "log-in is refused"},
		"s3cr3t 1":                         {400, true, false, "400"},
		"":                                 {502, false, true, "502"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Header.Get("X-Amz-Target") == "AmazonSSM.GetParameter" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"__type":"ParameterNotFound"}`)
				return
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, `{"__type":"`+code+`","message":"you sent `+strings.ReplaceAll(string(body), `"`, "'")+`"}`)
		}))
		_, err := opened(t, server.URL).Put(t.Context(), key, write("s3cr3t-value", ""))
		if err == nil || rotator.IsPermanent(err) != test.permanent || rotator.HadNoEffect(err) == test.hadEffect || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: Put = %v, permanent %v, no effect %v", code, err, rotator.IsPermanent(err), rotator.HadNoEffect(err))
		}
		server.Close()
	}
}
