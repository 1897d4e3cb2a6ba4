package config

import (
	"github.com/rotatord/rotatord/internal/strictyaml"
	"github.com/rotatord/rotatord/rotator"
)

// policies returns the defaults with what the token overrides.
func (c *checker) policies(p strictyaml.Place, spec policiesSpec) map[rotator.Reason]rotator.Policy {
	given := map[rotator.Reason]*policySpec{
		rotator.Scheduled: spec.Scheduled, rotator.Offboarding: spec.Offboarding, rotator.Leak: spec.Leak,
		rotator.Expiry: spec.Expiry, rotator.Manual: spec.Manual,
	}
	policies := rotator.DefaultPolicies()
	for _, reason := range rotator.Reasons() {
		if given[reason] == nil {
			continue
		}
		at := p.At(string(reason))
		c.policyRules(at, reason, *given[reason])
		policies[reason] = given[reason].over(policies[reason])
	}
	return policies
}

// policyRules reports what a reason does not allow.
func (c *checker) policyRules(p strictyaml.Place, reason rotator.Reason, spec policySpec) {
	leak := reason == rotator.Leak
	switch {
	case !leak && spec.Revoke == "first":
		c.Mistake(p.At("revoke"), "only a leak may revoke first")
	case !leak && spec.OnDeadline == string(rotator.DeadlineRevoke):
		c.Mistake(p.At("on_deadline"), "only a leak may revoke at its deadline")
	}
	if !leak && spec.Deadline != nil {
		c.Mistake(p.At("deadline"), "only a leak has a deadline of its own; the others have the deadline of the rollout")
	}
	if leak && spec.OnDeadline == string(rotator.DeadlineHold) {
		c.Mistake(p.At("on_deadline"), "a leak always revokes at its deadline; give it a longer deadline if it must wait")
	}
	if leak && spec.Start == string(rotator.StartWindow) {
		c.Mistake(p.At("start"), "a leak never waits for a window")
	}
	if leak && spec.OnUnhealthy == string(rotator.UnhealthyRollBack) {
		c.Mistake(p.At("on_unhealthy"), "a leak never rolls back to the leaked credential")
	}
	c.positive(p.At("deadline"), spec.Deadline)
	c.positive(p.At("reminder"), spec.Reminder)
}

func (s policySpec) over(policy rotator.Policy) rotator.Policy {
	if s.Start != "" {
		policy.Start = rotator.Start(s.Start)
	}
	switch s.Revoke {
	case "first":
		policy.Course = rotator.RevokeFirst
	case "last":
		policy.Course = rotator.ReplaceFirst
	}
	if s.OnDeadline != "" {
		policy.OnDeadline = rotator.OnDeadline(s.OnDeadline)
	}
	if s.OnUnhealthy != "" {
		policy.OnUnhealthy = rotator.OnUnhealthy(s.OnUnhealthy)
	}
	set(&policy.Deadline, s.Deadline)
	set(&policy.Reminder, s.Reminder)
	return policy
}
