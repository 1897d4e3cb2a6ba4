package rotator

import (
	"context"
	"time"
)

// Params are a token's `params`: strings that the issuer's templates and calls use.
type Params map[string]string

// A Version is a store's record of one value.
type Version struct {
	ID    string    // the store's own name for it, opaque; guards the next Put
	Value Secret    // zero where the store can only be written
	At    time.Time // zero where the store can't tell
}

// A Write is one attempt to make a value current.
type Write struct {
	Value   Secret
	Prev    string // Version.ID that must still be current; "" when the key must not exist yet
	Attempt string // the same attempt twice leaves one version
}

// A Store keeps a credential where its consumers read it.
type Store interface {
	// Get returns the current version. A missing key is ErrNotFound; a store
	// that can only be written answers errors.ErrUnsupported, and with it what it
	// can tell of the version: its ID, its time.
	Get(ctx context.Context, key string) (Version, error)
	// Put makes the value current, if the current version is still w.Prev.
	// The same attempt twice leaves one version (a Put whose value is already
	// current answers that version); another's write in between is ErrConflict.
	Put(ctx context.Context, key string, w Write) (Version, error)
}

// WriteChecker is a Store that can tell, without writing, whether a Put would be
// allowed. nil means yes; a refusal is Permanent.
type WriteChecker interface {
	CheckWrite(ctx context.Context, key string) error
}

// WriteOnly is a Store whose values can never be read back: see Get. What
// evidence there is of a write is the ID and the time of its version.
type WriteOnly interface{ WriteOnly() }

// KeyChecker is a Store that can tell offline whether a key is well formed.
type KeyChecker interface {
	CheckKey(key string) error
}

// An IssueRequest asks for a new credential.
type IssueRequest struct {
	Token  string
	Params Params
	Marker string // goes into the credential's name
	Old    Credential
}

// A RevokeRequest names the credential to end.
type RevokeRequest struct {
	Token      string
	Params     Params
	Credential Credential // without its value; ID may be empty for a manual issuer
}

// A CheckRequest carries the credential to check.
type CheckRequest struct {
	Token  string
	Params Params
	Value  Secret
}

// An Issuer makes and ends credentials at the service that accepts them.
type Issuer interface {
	// Issue makes a credential that works beside those before it. The marker is
	// in its name. *PersonNeeded means that a person must make it, and that the
	// value comes in through `rotatord provide`.
	Issue(ctx context.Context, r IssueRequest) (Credential, error)
	// Revoke ends a credential. One that is already gone is not an error.
	// *PersonNeeded means that a person must end it.
	Revoke(ctx context.Context, r RevokeRequest) error
	// Check asks the service, with the credential itself, whether it is live.
	// Live or Dead may come with an error: the credential's state is clear, but
	// something about the configuration is not right (scope, project).
	// Unknown always comes with one.
	Check(ctx context.Context, r CheckRequest) (Verdict, error)
}

// A ListRequest asks for the credentials that the issuer holds for a token.
type ListRequest struct {
	Token  string
	Params Params
}

// Lister is an Issuer that can list credentials, with names and, where the
// service tells, last use. Values are never part of it. A list that can't be
// read to its end is an error, not a shorter list.
type Lister interface {
	List(ctx context.Context, r ListRequest) ([]Credential, error)
}

// Scoper is an Issuer that can tell what a live credential may do.
type Scoper interface {
	Scopes(ctx context.Context, r CheckRequest) ([]string, error)
}

// ByHand is an Issuer whose Issue only asks a person: it never makes a
// credential itself, so that nothing is in doubt when its answer was lost.
type ByHand interface{ ByHand() }

// Limiter is an Issuer that knows how many credentials a token may have at
// once; 0 means that nobody knows.
type Limiter interface {
	MaxCredentials() int
}

// Disabler is an Issuer that can switch a credential off, reversibly.
type Disabler interface {
	Disable(ctx context.Context, r RevokeRequest) error
	Enable(ctx context.Context, r RevokeRequest) error
}

// Pinger is any plug-in that can tell, without writing, whether it reaches its
// service and its own log-in works.
type Pinger interface {
	Ping(ctx context.Context) error
}

// ParamsChecker is an Issuer that can tell offline whether a token's params
// are complete.
type ParamsChecker interface {
	CheckParams(p Params) error
}

// A Release is one version that consumers should take up. It carries
// fingerprints, never values.
type Release struct {
	ID          string // the same release twice is one rollout
	Token       string
	Rotation    string
	Fingerprint Fingerprint // what consumers should live on
	Previous    Fingerprint // what they lived on before; may be empty
	StoredAt    time.Time   // when the last store took the version
}

// A Deployer makes consumers take up a version. It starts a rollout and does
// not wait for consumers; the same Release twice is one rollout.
type Deployer interface {
	Deploy(ctx context.Context, r Release) error
}

// DeployAsker is a Deployer that can tell whether a release was already rolled
// out. The engine asks after a crash, before it deploys again.
type DeployAsker interface {
	Deployed(ctx context.Context, r Release) (bool, error)
}

// Health is what a probe saw.
type Health string

// The states of a consumer.
const (
	Healthy   Health = "healthy"   // lives on the release
	Unhealthy Health = "unhealthy" // is broken by the release (a 401 counts)
	NotYet    Health = "not_yet"   // still on another version, or not ready
)

// A Finding is what a probe saw of its consumers at one look.
type Finding struct {
	Health Health
	Target string      // who was looked at: a URL without query and user, a command's name
	Seen   Fingerprint // what the consumer says it lives on; empty where it doesn't tell
	Detail string      // one line for people, without secrets
}

// A Probe tells whether consumers live on a credential. It looks once and
// changes nothing; an error means that it could not tell.
type Probe interface {
	Probe(ctx context.Context, r Release) (Finding, error)
}

// A Notifier tells people. One call is one message; the engine calls again
// after an error that is not Permanent.
type Notifier interface {
	Notify(ctx context.Context, e Event) error
}

// An Event is what people are told. It carries fingerprints, never values.
type Event struct {
	ID       string // the same event has the same ID at every attempt
	Kind     EventKind
	At       time.Time
	Token    string
	Rotation string // empty for events of a token as a whole
	Reason   Reason
	Step     Step
	Status   Status
	Old, New Fingerprint
	Summary  string    // one line, for a chat or a subject
	Detail   string    // more lines, may be empty
	Awaited  []Awaited // the stragglers
	Urgent   bool      // a leak, or a deadline that passed
}

// Awaited names one consumer, store or person that a rotation waits for.
type Awaited struct {
	Probe  string
	Target string
	Detail string
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventStarted    EventKind = "rotation.started"
	EventWaiting    EventKind = "rotation.waiting" // for a person: provide, delete
	EventHeld       EventKind = "rotation.held"
	EventReminder   EventKind = "rotation.reminder"
	EventDone       EventKind = "rotation.done"
	EventRolledBack EventKind = "rotation.rolled_back"
	EventFailed     EventKind = "rotation.failed"
	EventAborted    EventKind = "rotation.aborted"
	EventPaused     EventKind = "token.paused" // scheduled rotations stopped after failures
)
