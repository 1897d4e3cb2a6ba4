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
	What   string `json:"what"` // issuer, store, notifier, place (of a token) or token
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail"`

	*placeResult // of a place
}

// A placeResult is what was seen of one place of a token.
type placeResult struct {
	Readable    string  `json:"readable"`    // yes, no, or never: it can only be written
	Writable    string  `json:"writable"`    // yes, no, or unknown: it can't tell without writing
	Fingerprint *string `json:"fingerprint"` // of what it holds; null: nothing, or it could not be read
	Version     string  `json:"version"`     // of what it holds, as the store names it
}

const (
	answerYes     = "yes"
	answerNo      = "no"
	answerNever   = "never"
	answerUnknown = "unknown"
)

// look is one thing that is looked at; it returns what there is to say.
type look func(ctx context.Context) []onlineResult

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
		looks = append(looks, func(ctx context.Context) []onlineResult { return lookAtToken(ctx, token) })
	}
	results := make([][]onlineResult, len(looks))
	room := make(chan struct{}, onlineAtOnce)
	var all sync.WaitGroup
	for i, look := range looks {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
			defer cancel()
			results[i] = look(ctx)
		})
	}
	all.Wait()
	return slices.Concat(results...)
}

func resultOf(what, name, detail string, err error) onlineResult {
	result := onlineResult{What: what, Name: name, Result: resultOK, Detail: detail}
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
		looks = append(looks, func(ctx context.Context) []onlineResult {
			err := errSkipped
			if pinger, ok := any(plugins[name]).(rotator.Pinger); ok {
				err = pinger.Ping(ctx)
			}
			return []onlineResult{resultOf(what, name, "", err)}
		})
	}
	return looks
}

// lookAtToken reads every place of a token, asks whether it can be written,
// compares what the places hold, and asks the issuer whether that is live.
func lookAtToken(ctx context.Context, t rotator.Token) []onlineResult {
	results := make([]onlineResult, len(t.Stores)+1)
	held := map[rotator.Fingerprint][]string{}
	var value rotator.Secret
	unread := 0
	for i, target := range t.Stores {
		version, err := target.Store.Get(ctx, target.Key)
		results[i] = lookAtPlace(ctx, t.Name, target, version, err)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
		case errors.Is(err, rotator.ErrNotFound):
			held[""] = append(held[""], target.Ref().String())
		case err != nil:
			unread++
		default:
			value = version.Value
			held[value.Fingerprint()] = append(held[value.Fingerprint()], target.Ref().String())
		}
	}
	detail, err := lookAtValue(ctx, t, held, value, unread)
	results[len(t.Stores)] = resultOf("token", t.Name, detail, err)
	return results
}

// lookAtPlace says what a read of a place came to, and whether it can be written.
func lookAtPlace(ctx context.Context, token string, target rotator.StoreTarget, version rotator.Version, read error) onlineResult {
	seen := placeResult{Readable: answerYes, Writable: answerUnknown, Version: version.ID}
	var says []string
	switch {
	case errors.Is(read, errors.ErrUnsupported):
		seen.Readable, read = answerNever, nil
		says = append(says, "can only be written")
		if version.ID != "" {
			says = append(says, "version "+version.ID)
		}
	case errors.Is(read, rotator.ErrNotFound):
		says, read = append(says, "holds nothing"), nil
	case read != nil:
		seen.Readable, read = answerNo, fmt.Errorf("read: %w", read)
	default:
		seen.Fingerprint = known(version.Value.Fingerprint())
		says = append(says, "holds "+*seen.Fingerprint)
	}
	var write error
	if checker, ok := target.Store.(rotator.WriteChecker); ok {
		seen.Writable = answerYes
		if write = checker.CheckWrite(ctx, target.Key); write != nil {
			seen.Writable, write = answerNo, fmt.Errorf("write: %w", write)
		}
	}
	if seen.Writable == answerUnknown {
		says = append(says, "whether it can be written can't be told without writing")
	} else {
		says = append(says, "writable")
	}
	result := resultOf("place", token+" "+target.Ref().String(), strings.Join(says, ", "), errors.Join(read, write))
	result.Detail = strings.ReplaceAll(result.Detail, "\n", "; ")
	result.placeResult = &seen
	return result
}

func lookAtValue(ctx context.Context, t rotator.Token, held map[rotator.Fingerprint][]string, value rotator.Secret, unread int) (string, error) {
	switch {
	case len(held) > 1:
		return "", disagreement(held)
	case unread > 0:
		return "", fmt.Errorf("%d of %d stores can't be read: nobody can tell whether they agree", unread, len(t.Stores))
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
	return fmt.Sprintf("stores agree on %s, live", value.Fingerprint()), nil
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
