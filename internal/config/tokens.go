package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

const defaultBeforeExpiry = 7 * 24 * time.Hour

// A tokenPlan is a token without its plug-ins, and what they are made from.
type tokenPlan struct {
	token     rotator.Token
	place     strictyaml.Place
	deployers []named[rotator.Deployer]
	probes    []named[rotator.Probe]
	notify    []string
}

type named[P any] struct {
	name     string
	place    strictyaml.Place
	settings registry.Settings[P]
}

func (c *checker) allTokens() {
	users := map[rotator.StoreRef]string{} // by the place in a store
	tokens, _ := c.file.root.Get("tokens")
	for _, place := range tokens.Entries() {
		name := place.Key.Value
		spec := c.file.spec.Tokens[name]
		c.name(place)
		if place.Node.Kind != yaml.MappingNode {
			continue
		}
		c.file.tokens = append(c.file.tokens, c.token(place, name, spec))
		for i, target := range spec.Stores {
			ref := rotator.StoreRef{Store: target.Store, Key: target.Key}
			if ref.Store == "" || ref.Key == "" {
				continue
			}
			switch user, taken := users[ref]; {
			case taken && user == name:
				c.Mistake(place.At("stores", i), "the token has this store and key twice")
			case taken:
				c.Mistake(place.At("stores", i), "%s has the same store and key", shown(user, "another token"))
			default:
				users[ref] = name
			}
		}
	}
	slices.SortStableFunc(c.file.tokens, func(a, b tokenPlan) int { return strings.Compare(a.token.Name, b.token.Name) })
}

// shown is a name as a message may say it.
func shown(name, otherwise string) string {
	if strictyaml.Showable(name) {
		return strconv.Quote(name)
	}
	return otherwise
}

func (c *checker) token(p strictyaml.Place, name string, spec tokenSpec) tokenPlan {
	reference(c, p.At("issuer"), spec.Issuer, c.file.spec.Issuers, "issuer")
	rollout, _ := p.Get("rollout")
	plan := tokenPlan{
		place:     p,
		deployers: decodeList(c, rollout, "deploy", c.plugins.Deployers),
		probes:    decodeList(c, rollout, "probe", c.plugins.Probes),
		notify:    spec.Notify,
		token: rotator.Token{
			Name: name, IssuerName: spec.Issuer, Params: rotator.Params(spec.Params),
			Current:  rotator.CurrentHint{ID: spec.Current.ID, IssuedAt: spec.Current.IssuedAt},
			Rollout:  c.rollout(p.At("rollout"), spec.Rollout),
			Schedule: c.schedule(p.At("schedule"), spec.Schedule),
			Policies: c.policies(p.At("policy"), spec.Policy),
			Access:   c.access(p.At("access"), spec.Access),
		},
	}
	for i, target := range spec.Stores {
		reference(c, p.At("stores", i, "store"), target.Store, c.file.spec.Stores, "store")
		plan.token.Stores = append(plan.token.Stores, rotator.StoreTarget{Name: target.Store, Key: target.Key})
	}
	for i, notifier := range spec.Notify {
		reference(c, p.At("notify", i), notifier, c.file.spec.Notifiers, "notifier")
		if slices.Contains(spec.Notify[:i], notifier) {
			c.Mistake(p.At("notify", i), "listed twice")
		}
	}
	if len(plan.probes) == 0 {
		c.warn(p, "no probe looks at the consumers: the old credential is revoked as soon as the issuer accepts the new one")
	}
	return plan
}

// decodeList decodes the plug-ins of a list. Their names are unique in it; one
// without a name is called after its type and its place: http-1.
func decodeList[P any](c *checker, rollout strictyaml.Place, key string, kind registry.Kind[P]) []named[P] {
	var decoded []named[P]
	list, _ := rollout.Get(key)
	for i, p := range list.Items() {
		if p.IsNull() {
			continue
		}
		one := named[P]{place: p, settings: kind.Decode(c.Decoder, p, "name")}
		one.name = one.settings.Type + "-" + strconv.Itoa(i+1)
		at := p
		if given, ok := p.Get("name"); ok {
			at, one.name = given, given.Node.Value
			if !strictyaml.ValidName(one.name) {
				c.Mistake(given, nameRule)
			}
		}
		if one.settings.Type != "" && slices.ContainsFunc(decoded, func(other named[P]) bool { return other.name == one.name }) {
			c.Mistake(at, "another one of the list has the same name")
		}
		decoded = append(decoded, one)
	}
	return decoded
}

func (c *checker) rollout(p strictyaml.Place, spec rolloutSpec) rotator.Rollout {
	r := rotator.DefaultRollout()
	set(&r.InitialDelay, spec.InitialDelay)
	set(&r.Interval, spec.Interval)
	set(&r.Timeout, spec.Timeout)
	set(&r.Deadline, spec.Deadline)
	setInt(&r.ConsecutiveSuccessLimit, spec.ConsecutiveSuccessLimit)
	setInt(&r.FailureLimit, spec.FailureLimit)
	setInt(&r.ConsecutiveErrorLimit, spec.ConsecutiveErrorLimit)
	c.positive(p.At("interval"), spec.Interval)
	c.positive(p.At("timeout"), spec.Timeout)
	c.positive(p.At("deadline"), spec.Deadline)
	if r.Interval <= 0 || r.Deadline <= 0 {
		return r
	}
	left := r.Deadline - r.InitialDelay
	if left <= 0 || time.Duration(r.ConsecutiveSuccessLimit-1) > left/r.Interval {
		c.Mistake(p.At("deadline"), "can't be met: initial_delay and consecutive_success_limit times interval take longer")
	}
	return r
}

func set(out *time.Duration, given *rotator.Duration) {
	if given != nil {
		*out = given.Std()
	}
}

func (c *checker) schedule(p strictyaml.Place, spec scheduleSpec) rotator.Schedule {
	s := rotator.Schedule{BeforeExpiry: defaultBeforeExpiry}
	set(&s.MaxAge, spec.MaxAge)
	set(&s.BeforeExpiry, spec.BeforeExpiry)
	c.positive(p.At("max_age"), spec.MaxAge)
	if spec.Splay != nil {
		c.warn(p.At("splay"), "not in effect yet; a later version will use it")
	}
	zone := spec.TimeZone
	if _, err := time.LoadLocation(zone); err != nil {
		c.Mistake(p.At("time_zone"), "unknown time zone%s; use a name like Europe/Madrid", strictyaml.Quote(zone))
		zone = ""
	}
	switch {
	case spec.Cron == "" && zone != "":
		c.Mistake(p.At("time_zone"), "has no effect without cron")
		return s
	case spec.Cron == "":
		return s
	case strings.Contains(spec.Cron, "TZ="):
		c.Mistake(p.At("cron"), "give the time zone as time_zone")
		return s
	}
	parsed, err := rotator.ParseCron(spec.Cron, zone)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			text, _, _ := strings.Cut(inner.Error(), ": [") // then the expression follows
			err = errors.New("not a cron expression: " + text)
		}
		c.Errors(p.At("cron"), err)
		return s
	}
	s.Cron = parsed
	return s
}

func setInt(out *int, given *int) {
	if given != nil {
		*out = *given
	}
}

// access lists the people, those of groups included, each one once.
func (c *checker) access(p strictyaml.Place, entries []string) []string {
	var people []string
	add := func(person string) {
		if !slices.Contains(people, person) {
			people = append(people, person)
		}
	}
	for i, entry := range entries {
		group, isGroup := strings.CutPrefix(entry, "group:")
		switch {
		case isGroup:
			reference(c, p.At(i), group, c.file.spec.Groups, "group")
			for _, person := range c.file.spec.Groups[group] {
				add(person)
			}
		case strings.TrimSpace(entry) == "":
			c.Mistake(p.At(i), "names nobody")
		default:
			add(entry)
		}
	}
	return people
}
