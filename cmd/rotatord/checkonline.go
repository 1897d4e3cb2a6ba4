package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rotatord/rotatord/internal/config"
	"github.com/rotatord/rotatord/rotator"
)

const (
	onlineTimeout = 30 * time.Second // of one look
	onlineAtOnce  = 16

	resultOK      = "ok"
	resultFailed  = "failed"
	resultSkipped = "skipped"
)

// An onlineResult is one line of `check --online`.
type onlineResult struct {
	What   string `json:"what"` // issuer, store, notifier or token
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail"`
}

// look is one thing that is looked at; it returns a detail for people.
type look struct {
	what, name string
	do         func(ctx context.Context) (string, error)
}

// errSkipped: the plug-in can't tell without writing.
var errSkipped = errors.New("can't be checked without writing")

// checkOnline looks at everything at once, each within its time, in a fixed
// order. It writes nothing.
func checkOnline(ctx context.Context, built *config.Built) []onlineResult {
	var looks []look
	looks = append(looks, pings("issuer", built.Issuers)...)
	looks = append(looks, pings("store", built.Stores)...)
	looks = append(looks, pings("notifier", built.Notifiers)...)
	for _, token := range built.Tokens {
		looks = append(looks, tokenLooks(token)...)
	}
	results := make([]onlineResult, len(looks))
	room := make(chan struct{}, onlineAtOnce)
	var all sync.WaitGroup
	for i, l := range looks {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			results[i] = l.run(ctx)
		})
	}
	all.Wait()
	return results
}

func (l look) run(ctx context.Context) onlineResult {
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	detail, err := l.do(ctx)
	result := onlineResult{What: l.what, Name: l.name, Result: resultOK, Detail: detail}
	switch {
	case errors.Is(err, errSkipped):
		result.Result, result.Detail = resultSkipped, err.Error()
	case err != nil:
		result.Result, result.Detail = resultFailed, err.Error()
	}
	return result
}

func pings[P any](what string, plugins map[string]P) []look {
	var looks []look
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		plugin := plugins[name]
		looks = append(looks, look{what, name, func(ctx context.Context) (string, error) {
			pinger, ok := any(plugin).(rotator.Pinger)
			if !ok {
				return "", errSkipped
			}
			return "", pinger.Ping(ctx)
		}})
	}
	return looks
}

// tokenLooks asks whether each place of a token can be written, and what the
// places hold.
func tokenLooks(t rotator.Token) []look {
	var looks []look
	for _, target := range t.Stores {
		looks = append(looks, look{"write", t.Name + " " + target.Ref().String(), func(ctx context.Context) (string, error) {
			checker, ok := target.Store.(rotator.WriteChecker)
			if !ok {
				return "", errSkipped
			}
			return "", checker.CheckWrite(ctx, target.Key)
		}})
	}
	return append(looks, look{"token", t.Name, func(ctx context.Context) (string, error) { return lookAtToken(ctx, t) }})
}

// lookAtToken reads every place, compares the fingerprints, and asks the
// issuer whether the credential is live.
func lookAtToken(ctx context.Context, t rotator.Token) (string, error) {
	held := map[rotator.Fingerprint][]string{}
	var value rotator.Secret
	for _, target := range t.Stores {
		version, err := target.Store.Get(ctx, target.Key)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
		case errors.Is(err, rotator.ErrNotFound):
			held[""] = append(held[""], target.Ref().String())
		case err != nil:
			return "", fmt.Errorf("store %s: %w", target.Ref(), err)
		default:
			value = version.Value
			held[value.Fingerprint()] = append(held[value.Fingerprint()], target.Ref().String())
		}
	}
	switch {
	case len(held) > 1:
		return "", disagreement(held)
	case value.IsZero() && len(held) == 1:
		return "no value yet: the first rotation issues one", nil
	case value.IsZero():
		return "", errSkipped
	}
	verdict, err := t.Issuer.Check(ctx, rotator.CheckRequest{Token: t.Name, Params: t.Params, Value: value})
	if err == nil && verdict != rotator.Live {
		err = errors.New("it can't be used")
	}
	if err != nil {
		return "", fmt.Errorf("stores agree on %s; issuer %s says %s: %w", value.Fingerprint(), t.IssuerName, verdict, err)
	}
	return fmt.Sprintf("%s, live", value.Fingerprint()), nil
}

// disagreement names who holds what.
func disagreement(held map[rotator.Fingerprint][]string) error {
	var parts []string
	for _, fingerprint := range slices.Sorted(maps.Keys(held)) {
		for _, place := range held[fingerprint] {
			parts = append(parts, place+" has "+cmp.Or(string(fingerprint), "nothing"))
		}
	}
	return errors.New("stores don't agree: " + strings.Join(parts, ", "))
}
