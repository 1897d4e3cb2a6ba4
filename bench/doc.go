// Package bench measures rotatord: how fast rotations go beside a bare loop of
// the same calls, how soon open rotations go on after a kill, what idle tokens
// cost and how late the due ones are, and how long a leak takes among others.
//
// The engine, the journal on disk with every wait for the disk, and the
// embedded dispatcher are the real ones; what they call is a Service in the
// same process, where every call takes the same few milliseconds. Each
// measurement runs in a process of its own, so that one's memory is not
// another's. It never asserts a time: a busy machine is no mistake.
//
// To add a measurement: a function from Params to Sample, its name in Runs, and
// a row in the table of cmd/bench.
package bench
