// Package journal keeps the append-only record of all rotations: what was
// intended, what came of it, and the few credential values that a rotation
// needs until it ends, sealed.
//
// A Journal is a rotator.Journal on a SQLite file. Whoever opens it for writing
// owns it: a lock beside the file refuses a second process, and an epoch in the
// file refuses appends of an owner that was replaced. Appends of concurrent
// rotations share one transaction, and an Append that returned is on the disk.
// Entries form a hash chain, which Verify checks.
//
// The package never decides what a rotation does, never talks to a service,
// never logs, and never writes a value unsealed: entries, summaries and token
// records are encoded without one.
//
// To add a field to an entry, add it to the types in encode.go; a test fails
// until every field of rotator.Entry survives the way to the disk and back. To
// change a table, add a numbered file to migrations/. All SQL is in queries.go
// and migrations/: another database is another set of both, with its own way
// to open and lock.
//
// # What the hash chain can't find
//
// Each entry's hash covers its content and the hash before it, so a changed,
// missing, reordered or inserted entry breaks the chain, and the head beside
// the entries shows a tail that was cut off. Who can write the file can also
// compute the whole chain anew, head included: that is found only by comparing
// with a head that was noted elsewhere. Verify returns the head to note, and
// takes one to compare with. A file put back from a backup as a whole is such
// a case too. Summaries, token records and due dates are not part of the chain:
// they follow from the entries.
package journal
