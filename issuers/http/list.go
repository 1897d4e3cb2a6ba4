package httpissuer

import (
	"context"
	"errors"
	"fmt"

	"github.com/rotatord/rotatord/rotator"
)

// A list that goes on beyond these is taken for one that never ends.
const (
	maxPages = 1_000
	maxItems = 100_000
)

// List implements rotator.Lister. It reads every page or fails: a shorter
// list would hide an orphan.
func (l lister) List(ctx context.Context, r rotator.ListRequest) ([]rotator.Credential, error) {
	all, err := l.of.pages(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("list credentials: %w", err)
	}
	return all, nil
}

func (i *issuer) pages(ctx context.Context, r rotator.ListRequest) ([]rotator.Credential, error) {
	all := []rotator.Credential{}
	seen := map[string]bool{"": true}
	at := ""
	for range maxPages {
		items, next, err := i.page(ctx, r, at, maxItems-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		switch {
		case next == "":
			return all, nil
		case seen[next]:
			return nil, errors.New("list.next_cursor repeats, so the list has no end")
		}
		seen[next] = true
		at = next
	}
	return nil, fmt.Errorf("more than %d pages", maxPages)
}

// page reads one page of at most room items, and where the next one begins;
// "": there is none.
func (i *issuer) page(ctx context.Context, r rotator.ListRequest, at string, room int) ([]rotator.Credential, string, error) {
	c := i.config.list
	answer, err := i.ask(ctx, c.call, fields{"params": texts(r.Params), "token": r.Token, "cursor": cursor(at)})
	if err != nil {
		return nil, "", err
	}
	vars := variables(answer)
	vars["cursor"] = at
	items, err := c.items.list(ctx, vars)
	if err != nil {
		return nil, "", err
	}
	if len(items) > room {
		return nil, "", fmt.Errorf("more than %d credentials", maxItems)
	}
	found := make([]rotator.Credential, 0, len(items))
	for _, item := range items {
		vars["item"] = item
		one, err := c.read(ctx, vars)
		if err != nil {
			return nil, "", err
		}
		found = append(found, one)
	}
	if c.nextCursor == nil {
		return found, "", nil
	}
	next, err := c.nextCursor.id(ctx, vars)
	if errors.Is(err, errMissing) {
		// Taking this for the last page would hide a misspelt expression.
		err = fmt.Errorf("%w; where the last page leaves it out, write it with a question mark: body.?next", err)
	}
	return found, next, err
}

func (c *listCall) read(ctx context.Context, vars map[string]any) (rotator.Credential, error) {
	id, err := c.id.needed(c.id.id(ctx, vars))
	if err != nil {
		return rotator.Credential{}, err
	}
	name, err := c.name.string(ctx, vars)
	if err != nil {
		return rotator.Credential{}, err
	}
	used, err := c.lastUsedAt.time(ctx, vars)
	if err != nil {
		return rotator.Credential{}, err
	}
	expires, err := c.expiresAt.time(ctx, vars)
	if err != nil {
		return rotator.Credential{}, err
	}
	allowed, err := c.scopes.strings(ctx, vars)
	if err != nil {
		return rotator.Credential{}, err
	}
	return rotator.Credential{ID: id, Name: name, LastUsedAt: used, ExpiresAt: expires, Scopes: allowed}, nil
}
