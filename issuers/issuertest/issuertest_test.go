package issuertest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rotatord/rotatord/issuers/issuertest"
	"github.com/rotatord/rotatord/rotator"
)

// mutantVar names the promise that the fake of a child process breaks.
const mutantVar = "ISSUERTEST_MUTANT"

// service is a fake service in memory.
type service struct {
	mutant string
	mu     sync.Mutex
	made   []rotator.Credential
	dead   map[string]bool
	lose   bool
	out    bool
}

// fake is an issuer of the service.
type fake struct {
	*service
	refused, denied bool
}

const login = "canary-log-in"

func (f fake) call(ctx context.Context) error {
	switch {
	case f.mutant != "ignores the context" && ctx.Err() != nil:
		return context.Cause(ctx)
	case f.refused && f.mutant == "refused is permanent":
		return rotator.Permanent(errors.New("connection refused"))
	case f.refused:
		return rotator.Unsent(errors.New("connection refused"))
	case f.denied && f.mutant == "denied is not permanent":
		return errors.New("answered 401")
	case f.denied && f.mutant == "shows its log-in":
		return rotator.Permanent(errors.New("answered 401 to " + login))
	case f.denied:
		return rotator.Permanent(errors.New("answered 401"))
	}
	return nil
}

func (f fake) Issue(ctx context.Context, r rotator.IssueRequest) (rotator.Credential, error) {
	if err := f.call(ctx); err != nil {
		return rotator.Credential{}, err
	}
	if f.mutant != "races" {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	if f.mutant == "one at a time" {
		for _, one := range f.made {
			f.dead[one.ID] = true
		}
	}
	id := strconv.Itoa(len(f.made))
	one := rotator.Credential{ID: id, Name: r.Marker, Value: rotator.NewSecret("canary-" + id)}
	one.Fingerprint = one.Value.Fingerprint()
	one.IssuedAt = one.IssuedAt.AddDate(2025, 0, 0)
	if f.mutant == "nameless" {
		one.Name = "token"
	}
	f.made = append(f.made, one)
	if f.lose {
		f.lose = false
		if f.mutant == "lost is no effect" {
			return rotator.Credential{}, rotator.Unsent(errors.New("connection reset"))
		}
		return rotator.Credential{}, errors.New("connection reset")
	}
	return one, nil
}

func (f fake) Revoke(ctx context.Context, r rotator.RevokeRequest) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mutant == "twice fails" && f.dead[r.Credential.ID] {
		return rotator.ErrNotFound
	}
	f.dead[r.Credential.ID] = true
	if f.mutant == "revokes all" {
		for _, one := range f.made {
			f.dead[one.ID] = true
		}
	}
	return nil
}

func (f fake) Check(ctx context.Context, r rotator.CheckRequest) (rotator.Verdict, error) {
	if f.denied { // the check needs no log-in
		f.denied = false
	}
	if err := f.call(ctx); err != nil {
		return rotator.Unknown, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out && f.mutant == "outage is dead" {
		return rotator.Dead, nil
	}
	if f.out {
		return rotator.Unknown, errors.New("answered 503")
	}
	for _, one := range f.made {
		if one.Value.Reveal() == r.Value.Reveal() && !f.dead[one.ID] {
			return rotator.Live, nil
		}
	}
	return rotator.Dead, nil
}

func (f fake) List(ctx context.Context, _ rotator.ListRequest) ([]rotator.Credential, error) {
	if err := f.call(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []rotator.Credential
	for _, one := range f.made {
		if !f.dead[one.ID] {
			all = append(all, one.Record())
		}
	}
	if f.mutant == "first page only" {
		return all[:min(2, len(all))], nil
	}
	return all, nil
}

func (f fake) live() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for _, one := range f.made {
		if !f.dead[one.ID] {
			ids = append(ids, one.ID)
		}
	}
	return ids
}

func (f fake) canaries() []string {
	all := []string{login}
	for _, one := range f.made {
		all = append(all, one.Value.Reveal())
	}
	return all
}

func open(*testing.T) issuertest.Harness {
	f := fake{service: &service{mutant: os.Getenv(mutantVar), dead: map[string]bool{}}}
	if f.mutant == "leaves a goroutine" {
		go func() { select {} }()
	}
	refused, denied := f, f
	refused.refused, denied.denied = true, true
	return issuertest.Harness{
		Issuer: f, Refused: refused, Denied: denied, Token: "crm-sync", PageSize: 2,
		Canaries: f.canaries, Live: f.live,
		LoseAnswer: func() { f.lose = true },
		Unclear:    func(on bool) { f.out = on },
	}
}

// manual is an issuer that only a person can work.
type manual struct{ fake }

func (manual) Issue(ctx context.Context, _ rotator.IssueRequest) (rotator.Credential, error) {
	if ctx.Err() != nil {
		return rotator.Credential{}, context.Cause(ctx)
	}
	return rotator.Credential{}, &rotator.PersonNeeded{Ask: "Generate a token."}
}

func (manual) Revoke(ctx context.Context, _ rotator.RevokeRequest) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &rotator.PersonNeeded{Ask: "Delete the token."}
}

// List hides the fake's: the harness declares that there is none.
func (manual) List() {}

func openManual(t *testing.T) issuertest.Harness {
	h := open(t)
	f, ok := h.Issuer.(fake)
	refused, ok2 := h.Refused.(fake)
	if !ok || !ok2 {
		t.Fatal("open gives another issuer")
	}
	h.Issuer, h.Refused, h.Denied, h.LoseAnswer, h.PageSize = manual{f}, manual{refused}, nil, nil, 0
	h.Person = &issuertest.Person{
		Generate: func(t testing.TB, name string) rotator.Credential {
			one, err := f.Issue(context.Background(), rotator.IssueRequest{Marker: name})
			if err != nil {
				t.Error(err)
			}
			return one
		},
		Delete: func(t testing.TB, c rotator.Credential) {
			if err := f.Revoke(context.Background(), rotator.RevokeRequest{Credential: c}); err != nil {
				t.Error(err)
			}
		},
	}
	return h
}

func TestRun(t *testing.T) { issuertest.Run(t, open) }

func TestRunManual(t *testing.T) { issuertest.Run(t, openManual) }

// Each mutant breaks one promise, and the test of that promise must fail.
func TestMutantsFail(t *testing.T) {
	if os.Getenv(mutantVar) != "" {
		t.Skip("this is the child")
	}
	for mutant, want := range map[string]string{
		"one at a time":           "two_credentials_live_at_once",
		"nameless":                "a_lost_answer",
		"lost is no effect":       "a_lost_answer",
		"revokes all":             "revoke_ends_one_only",
		"twice fails":             "revoke_ends_one_only",
		"outage is dead":          "check_tells",
		"first page only":         "a_long_list",
		"ignores the context":     "a_cancelled_context",
		"refused is permanent":    "a_refused_connection",
		"denied is not permanent": "a_refused_log-in",
		"shows its log-in":        "a_refused_log-in",
		"leaves a goroutine":      "two_credentials_live_at_once",
		"races":                   "twenty_at_once",
	} {
		t.Run(mutant, func(t *testing.T) {
			if mutant == "races" && !raceDetector {
				t.Skip("without the race detector")
			}
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRun$", "-test.v")
			child.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
				return strings.HasPrefix(v, mutantVar)
			}), fmt.Sprintf("%s=%s", mutantVar, mutant))
			out, err := child.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestRun/"+want) {
				t.Errorf("mutant passes %q: %v\n%s", want, err, out)
			}
		})
	}
}
