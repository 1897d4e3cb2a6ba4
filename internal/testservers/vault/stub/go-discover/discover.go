// Package discover stands in for cloud auto-join: the test Vault joins no
// cluster. Only the names that Vault refers to are here.
package discover

import (
	"errors"
	"log"
)

var errStub = errors.New("discover: not in this build")

// Provider looks for cluster members.
type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers has none.
var Providers = map[string]Provider{}

// Config is a parsed join string.
type Config map[string]string

// String returns nothing.
func (Config) String() string { return "" }

// Parse always fails.
func Parse(string) (Config, error) { return nil, errStub }

// Discover finds nothing.
type Discover struct{}

// Option configures a Discover.
type Option func(*Discover) error

// New returns a Discover that finds nothing.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithProviders changes nothing.
func WithProviders(map[string]Provider) Option { return func(*Discover) error { return nil } }

// Addrs always fails.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) { return nil, errStub }
