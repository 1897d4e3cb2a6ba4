package config

import (
	"context"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rotatord/rotatord/internal/registry"
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// checker finds the mistakes that need more than one key to be seen.
type checker struct {
	*strictyaml.Decoder
	plugins  Plugins
	file     *File
	warnings []string
}

func (c *checker) warn(p strictyaml.Place, text string) {
	c.warnings = append(c.warnings, c.file.Path+":"+strconv.Itoa(p.Line())+": "+p.Path+": "+text)
}

// sections decodes the plug-ins that have a name of their own.
func (c *checker) sections() {
	c.file.issuers = decodeSection(c, "issuers", c.plugins.Issuers)
	c.file.stores = decodeSection(c, "stores", c.plugins.Stores)
	c.file.notifiers = decodeSection(c, "notifiers", c.plugins.Notifiers)
	groups, _ := c.file.root.Get("groups")
	for _, group := range groups.Entries() {
		c.name(group)
		for i, person := range c.file.spec.Groups[group.Key.Value] {
			switch {
			case c.Reported(group.At(i).Path):
			case strings.TrimSpace(person) == "":
				c.Mistake(group.At(i), "names nobody")
			case strings.HasPrefix(person, "group:"):
				c.Mistake(group.At(i), "a group can't hold another group")
			}
		}
	}
}

func decodeSection[P any](c *checker, key string, kind registry.Kind[P]) map[string]registry.Settings[P] {
	decoded := map[string]registry.Settings[P]{}
	section, _ := c.file.root.Get(key)
	for _, entry := range section.Entries() {
		c.name(entry)
		if !entry.IsNull() {
			decoded[entry.Key.Value] = kind.Decode(c.Decoder, entry)
		}
	}
	return decoded
}

const nameRule = "not a name: use lower-case letters, digits, dots, dashes and underscores, at most 63, beginning with a letter or digit"

func (c *checker) name(p strictyaml.Place) {
	if !strictyaml.ValidName(p.Key.Value) {
		c.Mistake(strictyaml.Place{Path: p.Path, Node: p.Key}, nameRule)
	}
}

// reference reports a name that nothing in a section has.
func reference[V any](c *checker, p strictyaml.Place, name string, known map[string]V, word string) {
	if _, ok := known[name]; ok || name == "" || c.Reported(p.Path) {
		return
	}
	names := slices.Sorted(maps.Keys(known))
	hint := strictyaml.DidYouMean(name, names)
	switch {
	case hint != "":
	case len(names) == 0:
		hint = "; none is configured"
	case len(names) <= 6 && !slices.ContainsFunc(names, func(name string) bool { return !strictyaml.Showable(name) }):
		hint = "; known are " + strings.Join(names, ", ")
	}
	c.Mistake(p, "unknown %s%s%s", word, strictyaml.Quote(name), hint)
}

func (c *checker) globals() {
	spec, root := c.file.spec, c.file.root
	if dsn := spec.State.DSN; dsn != "" {
		c.dsn(root.At("state", "dsn"), dsn)
	}
	if key := spec.State.SealKey; key != nil {
		at := root.At("state", "seal_key")
		switch {
		case c.Reported(at.Path):
		case (key.File == "") == (key.KMS == ""):
			c.Mistake(at, "must have exactly one of file and kms")
		case key.KMS != "":
			c.kms(at.At("kms"), key.KMS)
		}
	}
	if listen := spec.Server.Listen; listen != "" {
		_, port, err := net.SplitHostPort(listen)
		if number, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || number == 0 {
			c.Mistake(root.At("server", "listen"), "must be HOST:PORT, like 127.0.0.1:8790")
		}
	}
	c.positive(root.At("engine", "act_timeout"), spec.Engine.ActTimeout)
	if len(spec.Tokens) == 0 && !c.Reported("tokens") {
		c.warn(root.At("tokens"), "no token is configured")
	}
}

func (c *checker) dsn(p strictyaml.Place, dsn string) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	switch {
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		c.Mistake(p, "PostgreSQL is not supported yet; use sqlite:PATH")
	case !ok || path == "":
		c.Mistake(p, "must be sqlite:PATH, like sqlite:rotatord.db")
	case strings.HasPrefix(path, "//") || strings.HasPrefix(path, ":") || strings.ContainsAny(path, "?#"):
		c.Mistake(p, "must be sqlite: and the path of a file; URLs, parameters and :memory: are not supported")
	}
}

func (c *checker) kms(p strictyaml.Place, text string) {
	schemes := []string{"awskms", "gcpkms", "azurekeyvault", "hashivault"}
	parsed, err := url.Parse(text)
	switch {
	case err != nil || !slices.Contains(schemes, parsed.Scheme):
		c.Mistake(p, "must be a URL that begins with %s://", strings.Join(schemes, "://, "))
	case parsed.User != nil:
		c.Mistake(p, "a secret is never written here; the KMS log-in comes from the environment")
	default:
		c.Mistake(p, "a key in a KMS is not supported yet; use seal_key: {file: PATH}")
	}
}

// positive reports a duration that is given and is zero.
func (c *checker) positive(p strictyaml.Place, d *rotator.Duration) {
	if d != nil && *d == 0 && !c.Reported(p.Path) {
		c.Mistake(p, "must be longer than zero")
	}
}

// secrets checks the places that secrets are read from.
func (c *checker) secrets() {
	c.file.secrets = c.Secrets
	needs := map[string][]string{} // stores by the store that reads a secret there
	for name, settings := range c.file.stores {
		for _, secret := range settings.Secrets {
			needs[name] = append(needs[name], secret.Source.Store)
		}
	}
	for _, secret := range c.Secrets {
		if secret.Source.Store != "" {
			reference(c, secret.Place.At("store"), secret.Source.Store, c.file.spec.Stores, "store")
		}
	}
	for name, settings := range c.file.stores {
		for _, secret := range settings.Secrets {
			from := secret.Source.Store
			switch {
			case from == name:
				c.Mistake(secret.Place, "the store needs this secret from itself")
			case from != "" && reaches(needs, from, name, map[string]bool{}):
				c.Mistake(secret.Place, "the store needs this secret from %s, which needs one from here in turn", shown(from, "a store"))
			}
		}
	}
}

func reaches(needs map[string][]string, from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	if from == "" || seen[from] {
		return false
	}
	seen[from] = true
	return slices.ContainsFunc(needs[from], func(next string) bool { return reaches(needs, next, to, seen) })
}

// built makes the plug-ins without mistakes, so that they can say what they
// think of keys and params.
func (c *checker) built() {
	built, problems := c.file.assemble(context.Background())
	for _, problem := range problems {
		c.Errors(problem.place, problem.err)
	}
	for _, secret := range c.Secrets {
		if checker, ok := built.Stores[secret.Source.Store].(rotator.KeyChecker); ok {
			c.Errors(secret.Place.At("key"), checker.CheckKey(secret.Source.Key))
		}
	}
	for i, plan := range c.file.tokens {
		token := built.Tokens[i]
		for j, target := range token.Stores {
			if checker, ok := target.Store.(rotator.KeyChecker); ok && target.Key != "" {
				c.Errors(plan.place.At("stores", j, "key"), checker.CheckKey(target.Key))
			}
		}
		if checker, ok := token.Issuer.(rotator.ParamsChecker); ok && !c.Reported(plan.place.At("params").Path) {
			c.Errors(plan.place.At("params"), checker.CheckParams(token.Params))
		}
	}
}
