package githubactionsstore

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/google/go-github/v89/github"

	"github.com/rotatord/rotatord/rotator"
)

// A place is where a key points to.
type place struct {
	owner, repo string // of a repository, and of an environment in it
	environment string
	org         string
	name        string // of the secret
}

// A kind is what a place of its kind asks of the log-in.
type kind struct {
	within     string // what holds the secret, for errors
	permission string // of an App and of a fine-grained token, as the pages call it
	granted    func(*github.InstallationPermissions) string
	scope      string // of a classic token
	most       int    // secrets in one place
}

// kind says what GitHub's documentation of each call asks for.
// Source: https://docs.github.com/en/rest/actions/secrets, of the limits
// https://docs.github.com/en/actions/reference/security/secrets.
func (p place) kind() kind {
	switch {
	case p.org != "":
		return kind{
			within: fmt.Sprintf("organisation %q", p.org), permission: `"Secrets" of the organisation`, scope: "admin:org", most: 1000,
			granted: (*github.InstallationPermissions).GetOrganizationSecrets,
		}
	case p.environment != "":
		return kind{
			within: fmt.Sprintf("environment %q of %s/%s", p.environment, p.owner, p.repo), permission: `"Environments" of the repository`, scope: "repo", most: 100,
			granted: (*github.InstallationPermissions).GetEnvironments,
		}
	}
	return kind{
		within: fmt.Sprintf("repository %s/%s", p.owner, p.repo), permission: `"Secrets" of the repository`, scope: "repo", most: 100,
		granted: (*github.InstallationPermissions).GetSecrets,
	}
}

// path is where the API has the place's secrets.
func (p place) path() string {
	switch {
	case p.org != "":
		return "orgs/" + p.org + "/actions/secrets"
	case p.environment != "":
		return "repos/" + p.owner + "/" + p.repo + "/environments/" + url.PathEscape(p.environment) + "/secrets"
	}
	return "repos/" + p.owner + "/" + p.repo + "/actions/secrets"
}

var (
	account    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`) // managed users have an underscore
	repository = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	secretName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)
)

// maxEnvironment is how long an environment's name may be, in characters.
// Source: https://docs.github.com/en/actions/reference/workflows-and-actions/deployments-and-environments
const maxEnvironment = 255

// parseKey reads owner/repo#NAME, owner/repo@environment#NAME or org:ORG#NAME.
func parseKey(key string) (place, error) {
	p, err := parse(key)
	if err != nil {
		return place{}, rotator.Permanent(fmt.Errorf("read key %q: %w", key, err))
	}
	return p, nil
}

func parse(key string) (place, error) {
	cut := strings.LastIndex(key, "#")
	if cut < 0 {
		return place{}, errors.New("must be owner/repo#NAME, owner/repo@environment#NAME or org:ORG#NAME")
	}
	where, name := key[:cut], key[cut+1:]
	if err := checkName(name); err != nil {
		return place{}, err
	}
	if org, ok := strings.CutPrefix(where, "org:"); ok {
		if !account.MatchString(org) {
			return place{}, errors.New("the organisation is not one that GitHub can have")
		}
		return place{org: org, name: name}, nil
	}
	full, environment, scoped := strings.Cut(where, "@")
	owner, repo, _ := strings.Cut(full, "/")
	switch {
	case !account.MatchString(owner), !repository.MatchString(repo), repo == ".", repo == "..":
		return place{}, errors.New("the repository must be owner/repo")
	case scoped && !validEnvironment(environment):
		return place{}, errors.New("the environment must have 1 to 255 characters, no control characters, and no part that is `.` or `..`")
	}
	return place{owner: owner, repo: repo, environment: environment, name: name}, nil
}

func validEnvironment(name string) bool {
	parts := strings.Split(name, "/")
	return name != "" && len([]rune(name)) <= maxEnvironment && !strings.ContainsFunc(name, unicode.IsControl) &&
		!slices.Contains(parts, ".") && !slices.Contains(parts, "..")
}

// checkName holds GitHub's rules for names. GitHub takes lower case too and
// stores it as upper case; here it is refused, so that one place has one key.
// Source: https://docs.github.com/en/actions/reference/security/secrets
func checkName(name string) error {
	switch {
	case secretName.MatchString(strings.ToUpper(name)) && !secretName.MatchString(name):
		return errors.New("the secret's name must be in upper case, as GitHub stores it")
	case !secretName.MatchString(name):
		return errors.New("the secret's name may have A to Z, digits and underscores, and can't begin with a digit")
	case strings.HasPrefix(name, "GITHUB_"):
		return errors.New("GitHub allows no secret whose name begins with GITHUB_")
	}
	return nil
}
