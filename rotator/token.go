package rotator

import "time"

// A Token is a managed, named entry of the configuration with its plug-ins.
type Token struct {
	Name       string
	IssuerName string
	Issuer     Issuer
	Params     Params
	Stores     []StoreTarget
	Deployers  []DeployTarget
	Probes     []ProbeTarget
	Rollout    Rollout
	Schedule   Schedule
	Policies   map[Reason]Policy // one for each reason; see DefaultPolicies
	Notifiers  []NotifyTarget
	Current    CurrentHint
	Access     []string // people who can read it, groups resolved
}

// CurrentHint is what the configuration says of a credential that rotatord did not make.
type CurrentHint struct {
	ID       string    // its ID at the issuer
	IssuedAt time.Time // zero: unknown
}

// A StoreTarget is a store with the key of a token in it.
type StoreTarget struct {
	Name  string // of the store in the configuration
	Key   string
	Store Store
}

// Ref names the place without the plug-in.
func (t StoreTarget) Ref() StoreRef { return StoreRef{Store: t.Name, Key: t.Key} }

// StoreRef names one place where a token's value is kept.
type StoreRef struct{ Store, Key string }

// String is how the place is named in the journal and to people: "vault crm#TOKEN".
func (r StoreRef) String() string { return r.Store + " " + r.Key }

// A DeployTarget is a deployer with its name, unique within the token.
type DeployTarget struct {
	Name     string
	Deployer Deployer
}

// A ProbeTarget is a probe with its name, unique within the token.
type ProbeTarget struct {
	Name  string
	Probe Probe
}

// A NotifyTarget is a notifier with its name in the configuration.
type NotifyTarget struct {
	Name     string
	Notifier Notifier
}

// Rollout holds the times and limits of the deploy and probe steps, in the
// words of Argo Rollouts.
type Rollout struct {
	InitialDelay            time.Duration // before the first look
	Interval                time.Duration // between looks, at first; backs off towards 5 minutes
	Timeout                 time.Duration // of one look
	ConsecutiveSuccessLimit int           // healthy looks in a row that each probe needs
	FailureLimit            int           // unhealthy looks that are tolerated
	ConsecutiveErrorLimit   int           // looks in a row that may fail to tell
	Deadline                time.Duration // from the first deploy to the last green probe
}

// DefaultRollout holds the defaults of the configuration.
func DefaultRollout() Rollout {
	return Rollout{
		InitialDelay: 5 * time.Second, Interval: 10 * time.Second, Timeout: 10 * time.Second,
		ConsecutiveSuccessLimit: 3, FailureLimit: 0, ConsecutiveErrorLimit: 4, Deadline: 30 * time.Minute,
	}
}

// OnDeadline says what happens when the probe deadline passes.
type OnDeadline string

// OnUnhealthy says what happens when a probe says unhealthy.
type OnUnhealthy string

// The choices of a policy.
const (
	DeadlineHold   OnDeadline = "hold"
	DeadlineRevoke OnDeadline = "revoke" // a leak only

	UnhealthyRollBack OnUnhealthy = "roll_back"
	UnhealthyContinue OnUnhealthy = "continue"
	UnhealthyHold     OnUnhealthy = "hold"
)

// Policy is what differs between rotations by their reason.
type Policy struct {
	Start       Start         // now, or in the next allowed window
	Course      Course        // ReplaceFirst or RevokeFirst
	OnDeadline  OnDeadline    // DeadlineRevoke is for leaks only
	OnUnhealthy OnUnhealthy   // never UnhealthyRollBack for a leak
	Deadline    time.Duration // of a leak, from its start to the revoke; 0 for the others
	Reminder    time.Duration // between reminders to people while a rotation is held or waits for them
	Loud        bool          // people are told as urgent
}

// Start says when a rotation may begin.
type Start string

// The starts.
const (
	StartWindow Start = "window"
	StartNow    Start = "now"
)

// DefaultPolicies returns the defaults for each reason.
func DefaultPolicies() map[Reason]Policy {
	ordinary := Policy{
		Start: StartWindow, Course: ReplaceFirst, OnDeadline: DeadlineHold,
		OnUnhealthy: UnhealthyRollBack, Reminder: day,
	}
	offboarding := ordinary
	offboarding.Start, offboarding.Loud, offboarding.Reminder = StartNow, true, 4*time.Hour
	manual := ordinary
	manual.Start = StartNow
	leak := Policy{
		Start: StartNow, Course: ReplaceFirst, OnDeadline: DeadlineRevoke, OnUnhealthy: UnhealthyContinue,
		Deadline: 15 * time.Minute, Reminder: 15 * time.Minute, Loud: true,
	}
	return map[Reason]Policy{Scheduled: ordinary, Expiry: ordinary, Manual: manual, Offboarding: offboarding, Leak: leak}
}
