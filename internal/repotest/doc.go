// Package repotest tests the repository itself: what a reviewer would look at
// by hand in every change, and sooner or later would not.
//
// It holds no code of the product and looks at files only, those of the module
// cache too; it never runs the product and never reaches for a network. A new
// rule is one more test here, with a message that says which file to change.
package repotest
