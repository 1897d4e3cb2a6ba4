package awssim

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A secret has versions, and labels that are each on one of them.
type secret struct {
	name, kmsKey string
	versions     map[string]version
	labels       map[string]string // label → version
	replicas     map[string]string // region → status
	tags         []tag
	deleted      bool
}

type version struct {
	text   *string
	binary []byte
	made   time.Time
}

type tag struct{ Key, Value string }

// A request has the parameters of every action here.
type request struct {
	SecretId, Name, ClientRequestToken, VersionId, VersionStage, //nolint:revive // as AWS writes them
	RemoveFromVersionId, MoveToVersionId, KmsKeyId string //nolint:revive // as AWS writes them
	SecretString  *string
	VersionStages []string
	Tags          []tag
}

type action struct {
	writes bool // is under the quota of writes
	do     func(s *Sim, q request) (any, *refusal)
}

// actions are those that the store needs. CreateSecret has a quota of its own.
func actions() map[string]action {
	return map[string]action{
		"CreateSecret":             {false, (*Sim).create},
		"DescribeSecret":           {false, (*Sim).describe},
		"GetSecretValue":           {false, (*Sim).get},
		"PutSecretValue":           {true, (*Sim).put},
		"UpdateSecretVersionStage": {true, (*Sim).move},
	}
}

var secretName = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

// check holds the constraints of the API reference.
func (q request) check() *refusal {
	tooShort := func(id string) bool { return id != "" && (len(id) < 32 || len(id) > 64) }
	switch {
	case q.Name == "" && q.SecretId == "", q.Name != "" && !secretName.MatchString(q.Name),
		tooShort(q.ClientRequestToken), tooShort(q.VersionId), tooShort(q.RemoveFromVersionId), tooShort(q.MoveToVersionId),
		q.SecretString != nil && (*q.SecretString == "" || len(*q.SecretString) > 65536 || !utf8.ValidString(*q.SecretString)):
		return refuse("ValidationException")
	}
	return nil
}

// find looks for a secret by name or ARN.
func (s *Sim) find(id string) *secret {
	if name, ok := strings.CutPrefix(id, arnOf("")[:strings.LastIndex(arnOf(""), ":")+1]); ok {
		id = strings.TrimSuffix(name, "-AbCdEf")
	}
	return s.secrets[id]
}

// usable is find for actions that a deleted secret refuses.
func (s *Sim) usable(id string) (*secret, *refusal) {
	found := s.find(id)
	switch {
	case found == nil:
		return nil, refuse("ResourceNotFoundException")
	case found.deleted:
		return nil, refuse("InvalidRequestException")
	}
	return found, nil
}

func (s *Sim) create(q request) (any, *refusal) {
	if q.ClientRequestToken == "" || q.SecretString == nil {
		return nil, refuse("InvalidParameterException")
	}
	if found := s.secrets[q.Name]; found != nil {
		same, ok := found.versions[q.ClientRequestToken]
		switch {
		case found.deleted:
			return nil, refuse("InvalidRequestException")
		case !ok || same.text == nil || *same.text != *q.SecretString:
			return nil, refuse("ResourceExistsException")
		}
		return found.short(q.ClientRequestToken), nil
	}
	made := s.empty(q.Name)
	made.kmsKey, made.tags = q.KmsKeyId, q.Tags
	made.versions[q.ClientRequestToken] = version{text: q.SecretString, made: time.Now()}
	made.label("AWSCURRENT", q.ClientRequestToken)
	return made.short(q.ClientRequestToken), nil
}

func (s *Sim) empty(name string) *secret {
	s.secrets[name] = &secret{name: name, versions: map[string]version{}, labels: map[string]string{}}
	return s.secrets[name]
}

func (s *Sim) describe(q request) (any, *refusal) {
	found := s.find(q.SecretId)
	if found == nil {
		return nil, refuse("ResourceNotFoundException")
	}
	stages := map[string][]string{}
	for label, id := range found.labels {
		stages[id] = append(stages[id], label)
	}
	answer := map[string]any{"ARN": arnOf(found.name), "Name": found.name, "VersionIdsToStages": stages, "Tags": found.tags}
	if found.deleted {
		answer["DeletedDate"] = seconds(time.Now())
	}
	var replicas []map[string]string
	for _, region := range slices.Sorted(maps.Keys(found.replicas)) {
		replicas = append(replicas, map[string]string{"Region": region, "Status": found.replicas[region], "StatusMessage": "a text of AWS"})
	}
	if replicas != nil {
		answer["ReplicationStatus"] = replicas
	}
	return answer, nil
}

func (s *Sim) get(q request) (any, *refusal) {
	found, refused := s.usable(q.SecretId)
	if refused != nil {
		return nil, refused
	}
	id := q.VersionId
	if id == "" {
		if q.VersionStage == "" {
			q.VersionStage = "AWSCURRENT"
		}
		id = found.labels[q.VersionStage]
	}
	read, ok := found.versions[id]
	if !ok {
		return nil, refuse("ResourceNotFoundException")
	}
	answer := found.short(id)
	answer["CreatedDate"] = seconds(read.made)
	if read.text != nil {
		answer["SecretString"] = *read.text
	} else {
		answer["SecretBinary"] = read.binary
	}
	return answer, nil
}

func (s *Sim) put(q request) (any, *refusal) {
	found, refused := s.usable(q.SecretId)
	switch {
	case refused != nil:
		return nil, refused
	case q.ClientRequestToken == "" || q.SecretString == nil:
		return nil, refuse("InvalidParameterException")
	}
	id := q.ClientRequestToken
	if same, ok := found.versions[id]; ok {
		if same.text == nil || *same.text != *q.SecretString {
			return nil, refuse("ResourceExistsException")
		}
		return found.short(id), nil // "the operation succeeds but does nothing"
	}
	if len(q.VersionStages) == 0 || len(found.versions) == 0 {
		q.VersionStages = append(q.VersionStages, "AWSCURRENT")
	}
	found.versions[id] = version{text: q.SecretString, made: time.Now()}
	for _, label := range q.VersionStages {
		found.label(label, id)
	}
	return found.short(id), nil
}

func (s *Sim) move(q request) (any, *refusal) {
	found, refused := s.usable(q.SecretId)
	if refused != nil {
		return nil, refused
	}
	if _, ok := found.versions[q.MoveToVersionId]; q.MoveToVersionId != "" && !ok {
		return nil, refuse("ResourceNotFoundException") // assumed; the reference does not say which error
	}
	switch holder := found.labels[q.VersionStage]; {
	case holder != q.RemoveFromVersionId, q.MoveToVersionId == "" && (holder == "" || q.VersionStage == "AWSCURRENT"):
		return nil, refuse("InvalidParameterException")
	case q.MoveToVersionId == "":
		delete(found.labels, q.VersionStage)
	default:
		found.label(q.VersionStage, q.MoveToVersionId)
	}
	return map[string]any{"ARN": arnOf(found.name), "Name": found.name}, nil
}

// label moves a label; AWSPREVIOUS follows AWSCURRENT.
func (x *secret) label(label, id string) {
	if was := x.labels["AWSCURRENT"]; label == "AWSCURRENT" && was != "" && was != id {
		x.labels["AWSPREVIOUS"] = was
	}
	x.labels[label] = id
}

func (x *secret) short(id string) map[string]any {
	stages := []string{}
	for label, of := range x.labels {
		if of == id {
			stages = append(stages, label)
		}
	}
	return map[string]any{"ARN": arnOf(x.name), "Name": x.name, "VersionId": id, "VersionStages": stages}
}

// seconds is how the protocol writes times.
func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// Write makes a value current, as somebody else would with PutSecretValue.
func (s *Sim) Write(name, text string) { s.Stage(name, text, "AWSCURRENT") }

// Stage makes a version with a label, as somebody else would, and returns its ID.
func (s *Sim) Stage(name, text, label string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.secrets[name]
	if found == nil {
		found = s.empty(name)
	}
	s.made++
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", s.made)
	found.versions[id] = version{text: &text, made: time.Now()}
	found.label(label, id)
	return id
}

// Change is for what no action here does: a secret without a value, a binary
// one, one that is scheduled for deletion, labels, the state of replicas.
type Change struct {
	Binary   []byte
	Deleted  bool
	Unlabel  string
	Replicas map[string]string // region → InSync, InProgress or Failed
}

// Change changes a secret; one that is missing is made without a value.
func (s *Sim) Change(name string, c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.secrets[name]
	if found == nil {
		found = s.empty(name)
	}
	found.deleted, found.replicas = c.Deleted, c.Replicas
	delete(found.labels, c.Unlabel)
	if c.Binary != nil {
		id := "binary-00000000-0000-4000-8000-000000000000"
		found.versions[id] = version{binary: c.Binary, made: time.Now()}
		found.label("AWSCURRENT", id)
	}
}

// Read returns the value with a label, as a consumer reads it.
func (s *Sim) Read(name, label string) (text string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.secrets[name]
	if found == nil {
		return "", false
	}
	read, ok := found.versions[found.labels[label]]
	if !ok || read.text == nil {
		return "", false
	}
	return *read.text, true
}

// Holder returns the ID of the version that has a label, and how many versions there are.
func (s *Sim) Holder(name, label string) (id string, versions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.secrets[name]
	if found == nil {
		return "", 0
	}
	return found.labels[label], len(found.versions)
}

// About returns the KMS key and the tags that a secret was made with.
func (s *Sim) About(name string) (kmsKey string, tags map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags = map[string]string{}
	if found := s.secrets[name]; found != nil {
		kmsKey = found.kmsKey
		for _, t := range found.tags {
			tags[t.Key] = t.Value
		}
	}
	return kmsKey, tags
}

var _ http.Handler = (*Sim)(nil)
