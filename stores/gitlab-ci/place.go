package gitlabcistore

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/rotatord/rotatord/rotator"
)

// everywhere is the scope of a variable for all environments, and GitLab's default.
const everywhere = "*"

// A place is where a key points to.
type place struct {
	project, group string // one of them
	name, scope    string
}

var (
	segment = `[A-Za-z0-9_][A-Za-z0-9_.-]*` // of a path, as GitLab lets people choose them
	project = regexp.MustCompile(`^` + segment + `(/` + segment + `)+$`)
	group   = regexp.MustCompile(`^` + segment + `(/` + segment + `)*$`)
	// Source: https://docs.gitlab.com/api/project_level_variables/
	variableName = regexp.MustCompile(`^[A-Za-z0-9_]{1,255}$`)
	// Source: https://docs.gitlab.com/ci/environments/#limit-the-environment-scope-of-a-cicd-variable
	environmentScope = regexp.MustCompile(`^[A-Za-z0-9_/${}. *-]{1,255}$`)
)

// parseKey reads project/path#VAR, group:path#VAR, and either with @scope.
func parseKey(key string) (place, error) {
	p, err := parse(key)
	if err != nil {
		return place{}, rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	return p, nil
}

func parse(key string) (place, error) {
	where, rest, found := strings.Cut(key, "#")
	name, scope, scoped := strings.Cut(rest, "@")
	p := place{name: name, scope: everywhere}
	if scoped {
		p.scope = scope
	}
	var isGroup bool
	if p.group, isGroup = strings.CutPrefix(where, "group:"); !isGroup {
		p.group, p.project = "", where
	}
	switch {
	case !found:
		return place{}, errors.New("must be project/path#VAR, group:path#VAR, or either with @scope")
	case isGroup && !group.MatchString(p.group):
		return place{}, errors.New("the group must be a path like team or team/sub")
	case !isGroup && !project.MatchString(p.project):
		return place{}, errors.New("the project must be a path like team/crm")
	case !variableName.MatchString(p.name):
		return place{}, errors.New("the variable's name may have letters, digits and underscores, at most 255")
	case !environmentScope.MatchString(p.scope):
		return place{}, errors.New("the environment scope may have letters, digits, blanks and -_/${}.*, at most 255")
	}
	return p, nil
}

// within is what holds the variable, for errors.
func (p place) within() string {
	if p.group != "" {
		return fmt.Sprintf("group %q", p.group)
	}
	return fmt.Sprintf("project %q", p.project)
}

// role is what the token must have.
// Source: https://docs.gitlab.com/user/permissions/
func (p place) role() string {
	if p.group != "" {
		return "Owner"
	}
	return "Maintainer"
}

// String is how errors name a place.
func (p place) String() string {
	text := fmt.Sprintf("variable %q of %s", p.name, p.within())
	if p.scope != everywhere {
		text += fmt.Sprintf(" for environment %q", p.scope)
	}
	return text
}
