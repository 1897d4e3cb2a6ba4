// Package awssim is a strict stand-in for AWS Secrets Manager, for tests and for
// the bench: it checks the signature and the shape of every request, has the
// service's rules for versions, labels and repeated requests, and a quota of
// writes. Its error messages quote the whole request, as a careless service
// would, so that a client which passes them on is found out.
//
// The rules are those of the API reference and the user guide of Secrets
// Manager; where they leave something open, a comment says what is assumed. It
// is for one account and one region, and keeps everything in memory.
//
// To add an action, add its row to actions.
package awssim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The region and account that the stand-in is for.
const (
	Region  = "eu-west-1"
	account = "123456789012"
	service = "secretsmanager"
)

// A Sim is a stand-in. Make it with New, and serve it over HTTP.
type Sim struct {
	// Quota is how many writes a second it takes; more are throttled. 0: any.
	Quota int
	// Before may refuse a request, by a code; "" lets it pass. It must be set
	// before the first request.
	Before func(action string) (status int, code string)

	mu      sync.Mutex
	logIns  map[string]logIn // by access key ID
	secrets map[string]*secret
	made    int            // versions that others made
	writes  []time.Time    // of the last second
	calls   map[string]int // by action, or by action and error code
}

type logIn struct {
	secretKey, session string
	refusal            string // error code; "": it works
}

// New makes a stand-in that accepts one log-in.
func New(accessKey, secretKey string) *Sim {
	s := &Sim{logIns: map[string]logIn{}, secrets: map[string]*secret{}, calls: map[string]int{}}
	s.Accept(accessKey, secretKey, "")
	return s
}

// Accept adds a log-in; one of a role has a session token.
func (s *Sim) Accept(accessKey, secretKey, session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logIns[accessKey] = logIn{secretKey: secretKey, session: session}
}

// Refuse refuses a log-in from now on, with a code like ExpiredTokenException.
func (s *Sim) Refuse(accessKey, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logIns[accessKey] = logIn{refusal: code}
}

// Calls returns how often an action was called; with a code behind a space, how
// often it was answered with that error.
func (s *Sim) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// A refusal is an error as AWS answers it.
type refusal struct {
	status int
	code   string
}

func refuse(code string) *refusal { return &refusal{http.StatusBadRequest, code} }

// maxRequest bounds a request's body, in bytes.
const maxRequest = 1 << 20

// ServeHTTP implements http.Handler.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil || int64(len(body)) != r.ContentLength {
		panic(http.ErrAbortHandler) // half a request
	}
	name, _ := strings.CutPrefix(r.Header.Get("X-Amz-Target"), service+".")
	answer, refused := s.answer(r, name, body)
	s.mu.Lock()
	s.calls[name]++
	if refused != nil {
		s.calls[name+" "+refused.code]++
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", "00000000-0000-4000-8000-000000000000")
	if refused != nil {
		w.WriteHeader(refused.status)
		answer = map[string]any{"__type": refused.code, "Message": "You sent: " + string(body) + " " + r.Header.Get("Authorization")}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (s *Sim) answer(r *http.Request, name string, body []byte) (any, *refusal) {
	act, known := actions()[name]
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || r.URL.RawQuery != "":
		return nil, &refusal{http.StatusNotFound, "UnknownOperationException"}
	case r.Header.Get("Content-Type") != "application/x-amz-json-1.1", !known:
		return nil, refuse("UnknownOperationException")
	}
	if refused := s.signed(r, body); refused != nil {
		return nil, refused
	}
	if s.Before != nil {
		if status, code := s.Before(name); code != "" {
			return nil, &refusal{status, code}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if act.writes && s.overQuota(time.Now()) {
		return nil, refuse("ThrottlingException")
	}
	var q request
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return nil, refuse("SerializationException")
	}
	if refused := q.check(); refused != nil {
		return nil, refused
	}
	return act.do(s, q)
}

// overQuota counts a write and tells whether the last second had too many.
// How AWS counts is not documented; any second is the strictest reading.
func (s *Sim) overQuota(now time.Time) bool {
	if s.Quota == 0 {
		return false
	}
	s.writes = slices.DeleteFunc(s.writes, func(at time.Time) bool { return now.Sub(at) >= time.Second })
	if len(s.writes) >= s.Quota {
		return true
	}
	s.writes = append(s.writes, now)
	return false
}

// signed checks a request's signature (version 4) by making it again.
func (s *Sim) signed(r *http.Request, body []byte) *refusal {
	var parts [3]string // Credential, SignedHeaders, Signature
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	for i, part := range strings.SplitN(rest, ", ", len(parts)) {
		_, parts[i], _ = strings.Cut(part, "=")
	}
	scope := strings.Split(parts[0], "/")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch {
	case scheme != "AWS4-HMAC-SHA256" || len(scope) != 5 || parts[2] == "":
		return refuse("MissingAuthenticationTokenException")
	case err != nil || time.Since(at).Abs() > 5*time.Minute, scope[2] != Region, scope[3] != service:
		return refuse("InvalidSignatureException")
	}
	s.mu.Lock()
	known, ok := s.logIns[scope[0]]
	s.mu.Unlock()
	switch {
	case !ok:
		return refuse("UnrecognizedClientException")
	case known.refusal != "":
		return refuse(known.refusal)
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://aws/", nil)
	if err != nil {
		return refuse("InvalidSignatureException")
	}
	again.Host, again.ContentLength = r.Host, int64(len(body))
	signed := strings.Split(parts[1], ";")
	for _, header := range signed {
		if values := r.Header.Values(header); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(header)] = values
		}
	}
	sum := sha256.Sum256(body)
	login := aws.Credentials{AccessKeyID: scope[0], SecretAccessKey: known.secretKey, SessionToken: known.session}
	err = v4.NewSigner().SignHTTP(r.Context(), login, again, hex.EncodeToString(sum[:]), service, Region, at)
	if err != nil || again.Header.Get("Authorization") != r.Header.Get("Authorization") || !slices.Contains(signed, "x-amz-target") {
		return refuse("InvalidSignatureException")
	}
	return nil
}

func arnOf(name string) string {
	return fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-AbCdEf", Region, account, name)
}
