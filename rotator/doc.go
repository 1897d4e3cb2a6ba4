// Package rotator is the domain of rotatord: the words, the state machine of a
// rotation, its engine and its schedule.
//
// A rotation replaces one credential of a token: issue, store, deploy, probe,
// revoke, confirm. What it has done is a list of entries in a Journal; Fold
// turns the entries into a State, Next turns a State into the one Action that
// comes next, and the Engine alone acts. Fold and Next are pure: a restart, a
// test and the status command see the same thing from the same entries.
//
// The package never talks to a service, a disk or a terminal itself. It knows
// the standard library and the cron parser only; everything else reaches it as
// one of the interfaces in plugin.go and ports.go.
//
// To add a service, a store or a probe, write a plug-in in its own folder (see
// docs/plugins.md). To add a step or an event, add its rows to the transition
// table first: Fold refuses whatever the table does not have.
package rotator
