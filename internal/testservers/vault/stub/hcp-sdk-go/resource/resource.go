// Package resource stands in for HashiCorp Cloud's resource names.
package resource

import "errors"

// Resource is a name that nobody parses here.
type Resource struct{ ID, Type, Organization, Project string }

// FromString always fails.
func FromString(string) (Resource, error) {
	return Resource{}, errors.New("resource: not in this build")
}
