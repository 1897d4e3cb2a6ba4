package githubactionsstore

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-github/v89/github"

	"github.com/rotatord/rotatord/rotator"
)

// A record is what GitHub says of a secret.
type record struct {
	secret *github.Secret // nil: there is none
	at     time.Time      // when it was last updated, in whole seconds
	seen   time.Time      // GitHub's clock when it answered, in whole seconds
	header http.Header
}

func (r record) found() bool { return r.secret != nil }

// version names the version by its time, which is all that GitHub tells.
func (r record) version() rotator.Version {
	if !r.found() {
		return rotator.Version{}
	}
	return rotator.Version{ID: r.at.Format(time.RFC3339Nano), At: r.at}
}

// look asks GitHub for a secret. GitHub answers 404 for a secret that does not
// exist and for all that the log-in may not see, so that a second call, for what
// holds the secret, tells one from the other.
func (s *Store) look(ctx context.Context, p place) (record, error) {
	this := call{"look at " + p.String(), fmt.Sprintf("at least read on %s", p.kind().permission)}
	var secret github.Secret
	header, err := s.session.send(ctx, this, http.MethodGet, p.path()+"/"+p.name, nil, &secret)
	if statusOf(err) == http.StatusNotFound {
		_, header, err = s.publicKey(ctx, p)
		return record{header: header}, err
	}
	if err != nil {
		return record{}, err
	}
	if secret.UpdatedAt.IsZero() || p.org != "" && secret.Visibility == "" {
		return record{}, fmt.Errorf("%s: the answer is not one of GitHub", this.what)
	}
	seen, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		seen = time.Now() // GitHub always tells; without it the own clock must do
	}
	return record{secret: &secret, at: secret.UpdatedAt.UTC(), seen: seen, header: header}, nil
}

// selected returns the repositories that may use an organisation's secret. A
// list that can't be read to its end is an error: to write it would take the
// secret from the rest.
func (s *Store) selected(ctx context.Context, p place, now record) ([]int64, error) {
	ids := []int64{} // not nil: the request has the list even when it is empty
	if !now.found() {
		return ids, nil
	}
	this := call{"list the repositories selected for " + p.String(), fmt.Sprintf("at least read on %s", p.kind().permission)}
	for page := 1; page <= maxPages; page++ {
		var list github.SelectedReposList
		path := fmt.Sprintf("%s/%s/repositories?per_page=%d&page=%d", p.path(), p.name, pageSize, page)
		if _, err := s.session.send(ctx, this, http.MethodGet, path, nil, &list); err != nil {
			return nil, err
		}
		if list.TotalCount == nil {
			return nil, fmt.Errorf("%s: the answer is not one of GitHub", this.what)
		}
		for _, repo := range list.Repositories {
			ids = append(ids, repo.GetID())
		}
		switch {
		case len(ids) == *list.TotalCount:
			return ids, nil
		case len(list.Repositories) == 0 || len(ids) > *list.TotalCount:
			return nil, rotator.Permanent(fmt.Errorf("%s: GitHub shows %d of %d to this log-in, and a write would take the secret from the others", this.what, len(ids), *list.TotalCount))
		}
	}
	return nil, rotator.Permanent(fmt.Errorf("%s: they are more than %d", this.what, maxPages*pageSize))
}

// String is how errors name a place.
func (p place) String() string { return fmt.Sprintf("secret %q of %s", p.name, p.kind().within) }

func (p place) missing() error {
	return rotator.Permanent(fmt.Errorf("write %s: there is no such secret; make it on GitHub, or set create: true", p))
}
