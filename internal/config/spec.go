package config

import (
	"time"

	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// spec is the shape of the file. The tags are the one place that says which
// keys there are: the loader, the JSON Schema and the messages follow them.
type spec struct {
	State     stateSpec               `yaml:"state,omitempty" jsonschema:"description=Where rotatord keeps its journal"`
	Server    serverSpec              `yaml:"server,omitempty" jsonschema:"description=API and page of the daemon"`
	Log       logSpec                 `yaml:"log,omitempty" jsonschema:"description=The daemon's log on standard error"`
	Engine    engineSpec              `yaml:"engine,omitempty" jsonschema:"description=How rotations run"`
	Issuers   map[string]issuerSpec   `yaml:"issuers,omitempty" jsonschema:"description=The services that make and revoke credentials\\, by name"`
	Stores    map[string]storeSpec    `yaml:"stores,omitempty" jsonschema:"description=Where workers read credentials\\, by name"`
	Notifiers map[string]notifierSpec `yaml:"notifiers,omitempty" jsonschema:"description=Who is told\\, by name"`
	Tokens    map[string]tokenSpec    `yaml:"tokens" jsonschema:"required,description=The managed tokens\\, by name"`
	Groups    map[string][]string     `yaml:"groups,omitempty" jsonschema:"description=Lists of people\\, by name\\, for access"`
}

type stateSpec struct {
	DSN     string       `yaml:"dsn,omitempty" jsonschema:"description=The journal's database: sqlite:PATH,default=sqlite:rotatord.db"`
	SealKey *sealKeySpec `yaml:"seal_key,omitempty" jsonschema:"description=What seals the values that wait in the journal: file or kms; default is the file rotatord.key"`
}

type sealKeySpec struct {
	File string `yaml:"file,omitempty" jsonschema:"description=Path of the key file; made with mode 0600 where it is missing; the key before it may stand beside it with .old at the end"`
	KMS  string `yaml:"kms,omitempty" jsonschema:"description=Planned: URL of a key in a KMS: awskms://… gcpkms://… azurekeyvault://… or hashivault://…"`
}

type serverSpec struct {
	Listen string `yaml:"listen,omitempty" jsonschema:"description=HOST:PORT to listen on,default=127.0.0.1:8790"`
}

type logSpec struct {
	Format string `yaml:"format,omitempty" jsonschema:"description=text is coloured on a terminal,enum=text,enum=json,default=text"`
	Level  string `yaml:"level,omitempty" jsonschema:"description=The least important messages that are written,enum=debug,enum=info,enum=warn,enum=error,default=info"`
}

type engineSpec struct {
	MaxConcurrent *int              `yaml:"max_concurrent,omitempty" jsonschema:"description=How many rotations run at once; a leak never waits,minimum=1,maximum=10000,default=8"`
	ActTimeout    *rotator.Duration `yaml:"act_timeout,omitempty" jsonschema:"description=How long one call to a plug-in may take; longer than the time-outs of the plug-ins themselves,default=1m"`
}

// held keeps the settings of a plug-in until its type is known.
type held struct{ strictyaml.Place }

// Hold implements strictyaml.Holder.
func (h *held) Hold(p strictyaml.Place) { h.Place = p }

type (
	issuerSpec   struct{ held }
	storeSpec    struct{ held }
	notifierSpec struct{ held }
	deployerSpec struct{ held }
	probeSpec    struct{ held }
)

type tokenSpec struct {
	Issuer   string            `yaml:"issuer" jsonschema:"required,description=Name of the issuer that makes this token's credentials"`
	Params   map[string]string `yaml:"params,omitempty" jsonschema:"description=What the issuer needs to know of this token\\, for example its project and datasource"`
	Current  currentSpec       `yaml:"current,omitempty" jsonschema:"description=What is known of the credential that was there before rotatord"`
	Stores   []placeSpec       `yaml:"stores" jsonschema:"required,description=Every place the credential is kept; all are written or none"`
	Rollout  rolloutSpec       `yaml:"rollout,omitempty" jsonschema:"description=How consumers take up a new credential\\, and the proof that they did"`
	Schedule scheduleSpec      `yaml:"schedule,omitempty" jsonschema:"description=When a rotation is due; without it only by hand"`
	Access   []string          `yaml:"access,omitempty" jsonschema:"description=Who can read the credential: people\\, and groups as group:NAME"`
	Notify   []string          `yaml:"notify,omitempty" jsonschema:"description=Names of the notifiers that are told"`
	Policy   policiesSpec      `yaml:"policy,omitempty" jsonschema:"description=What differs from the defaults\\, by the reason of a rotation"`
}

type currentSpec struct {
	ID       string    `yaml:"id,omitempty" jsonschema:"description=Its ID at the issuer; needed to revoke it without a person"`
	IssuedAt time.Time `yaml:"issued_at,omitempty" jsonschema:"description=When it was made: 2026-01-31 or 2026-01-31T10:00:00Z; its age counts from here"`
}

type placeSpec struct {
	Store string `yaml:"store" jsonschema:"required,description=Name of a store"`
	Key   string `yaml:"key" jsonschema:"required,description=Key in that store; its form depends on the store's type"`
}

type rolloutSpec struct {
	Deploy                  []deployerSpec    `yaml:"deploy,omitempty" jsonschema:"description=What starts the rollout; all are started"`
	Probe                   []probeSpec       `yaml:"probe,omitempty" jsonschema:"description=What looks at consumers; all must be green"`
	InitialDelay            *rotator.Duration `yaml:"initial_delay,omitempty" jsonschema:"description=Before the first look,default=5s"`
	Interval                *rotator.Duration `yaml:"interval,omitempty" jsonschema:"description=Between looks; backs off towards 5 minutes,default=10s"`
	Timeout                 *rotator.Duration `yaml:"timeout,omitempty" jsonschema:"description=Of one look,default=10s"`
	ConsecutiveSuccessLimit *int              `yaml:"consecutive_success_limit,omitempty" jsonschema:"description=Healthy looks in a row that each probe needs,minimum=1,maximum=1000,default=3"`
	FailureLimit            *int              `yaml:"failure_limit,omitempty" jsonschema:"description=Unhealthy looks that are tolerated,minimum=0,maximum=1000,default=0"`
	ConsecutiveErrorLimit   *int              `yaml:"consecutive_error_limit,omitempty" jsonschema:"description=Looks in a row that may fail to tell,minimum=0,maximum=1000,default=4"`
	Deadline                *rotator.Duration `yaml:"deadline,omitempty" jsonschema:"description=From the first deploy to the last green probe,default=30m"`
}

type scheduleSpec struct {
	Cron         string            `yaml:"cron,omitempty" jsonschema:"description=Five fields (minute hour day month weekday) or a descriptor like @yearly"`
	TimeZone     string            `yaml:"time_zone,omitempty" jsonschema:"description=Time zone of cron\\, like Europe/Madrid,default=UTC"`
	MaxAge       *rotator.Duration `yaml:"max_age,omitempty" jsonschema:"description=Hard limit of a credential's age,example=365d"`
	BeforeExpiry *rotator.Duration `yaml:"before_expiry,omitempty" jsonschema:"description=How long before the issuer's expiry date a rotation is due,default=7d"`
	Splay        *rotator.Duration `yaml:"splay,omitempty" jsonschema:"description=Spreads rotations over this time after the cron time; read but not yet in effect"`
}

type policiesSpec struct {
	Scheduled   *policySpec `yaml:"scheduled,omitempty" jsonschema:"description=Of rotations by cron or max_age"`
	Offboarding *policySpec `yaml:"offboarding,omitempty" jsonschema:"description=Of rotations because a person leaves"`
	Leak        *policySpec `yaml:"leak,omitempty" jsonschema:"description=Of rotations because the credential may be exposed"`
	Expiry      *policySpec `yaml:"expiry,omitempty" jsonschema:"description=Of rotations because the credential expires"`
	Manual      *policySpec `yaml:"manual,omitempty" jsonschema:"description=Of rotations that a person asked for"`
}

type policySpec struct {
	Start       string            `yaml:"start,omitempty" jsonschema:"description=Now\\, or in the next allowed window,enum=now,enum=window"`
	Revoke      string            `yaml:"revoke,omitempty" jsonschema:"description=Whether the old credential is revoked first or last; first is for leaks only,enum=first,enum=last"`
	OnDeadline  string            `yaml:"on_deadline,omitempty" jsonschema:"description=What happens when the deadline passes: a leak revokes\\, all others hold,enum=hold,enum=revoke"`
	OnUnhealthy string            `yaml:"on_unhealthy,omitempty" jsonschema:"description=What happens when a probe says unhealthy; roll_back is never for leaks,enum=roll_back,enum=continue,enum=hold"`
	Deadline    *rotator.Duration `yaml:"deadline,omitempty" jsonschema:"description=Of a leak\\, from its start to the revoke"`
	Reminder    *rotator.Duration `yaml:"reminder,omitempty" jsonschema:"description=Between reminders while a person is waited for"`
}
