package rotator

import (
	"context"
	"fmt"
)

// Plan returns what a rotation would do. It reads, and changes nothing.
func (e *Engine) Plan(ctx context.Context, token string, reason Reason) (Plan, error) {
	t, err := e.token(token)
	if err != nil {
		return Plan{}, err
	}
	policy, ok := t.Policies[reason]
	if !ok {
		return Plan{}, fmt.Errorf("plan token %q: reason %q is not known", token, reason)
	}
	record, err := e.record(ctx, token)
	if err != nil {
		return Plan{}, err
	}
	p := &planner{token: t, plan: Plan{Token: token, Reason: reason, Policy: policy, Current: record.Current}}
	if p.plan.Current.Fingerprint == "" {
		p.plan.Current.ID = t.Current.ID
	}
	p.unknowns()
	position := entryOf(policy.Course)
	for position.Step != end {
		p.step(position)
		next, ok := transit(position, TriggerOK)
		if !ok {
			return Plan{}, fmt.Errorf("plan token %q: %s/%s has no way on", token, position.Course, position.Step)
		}
		position = next
	}
	return p.plan, nil
}

type planner struct {
	token Token
	plan  Plan
}

func (p *planner) add(step Step, target, text string, effect, noReturn bool) {
	p.plan.Lines = append(p.plan.Lines, PlanLine{Step: step, Target: target, Text: text, Effect: effect, NoReturn: noReturn})
}

func (p *planner) unknowns() {
	_, lists := p.token.Issuer.(Lister)
	if p.plan.Current.Fingerprint == "" {
		p.plan.Unknowns = append(p.plan.Unknowns, "the old credential's ID at the issuer: set current.id, or `rotatord adopt`; else a person is asked to delete it")
	}
	if !lists {
		p.plan.Unknowns = append(p.plan.Unknowns, "which credentials the issuer holds: it can't list them, so a lost answer needs a person")
	}
	if _, ok := p.token.Issuer.(Scoper); !ok {
		p.plan.Unknowns = append(p.plan.Unknowns, "whether the new credential has the old one's scopes: the issuer can't tell")
	}
	for _, s := range p.token.Stores {
		if _, writeOnly := s.Store.(WriteOnly); writeOnly {
			p.plan.Unknowns = append(p.plan.Unknowns, fmt.Sprintf("what store %s holds: it can't be read back; the evidence of a write is its version and time", s.Ref()))
		}
	}
	if len(p.token.Probes) == 0 {
		p.plan.Unknowns = append(p.plan.Unknowns, "whether consumers live on the new credential: no probe is configured")
	}
}

func (p *planner) step(at Position) {
	t, r := p.token, p.token.Rollout
	switch at.Step {
	case StepIssue:
		p.add(StepIssue, t.IssuerName, "preflight: log in, look for a free slot", false, false)
		for _, s := range t.Stores {
			p.add(StepIssue, s.Ref().String(), readOr(s, "preflight: read, and ask whether it can be written", "preflight: ask for its version, and whether it can be written"), false, false)
		}
		p.add(StepIssue, t.IssuerName, "create a credential named "+Marker(t.Name, "<rotation>"), true, false)
		p.add(StepIssue, t.IssuerName, "check that the new credential is live", false, false)
	case StepStore:
		for _, s := range t.Stores {
			p.add(StepStore, s.Ref().String(), readOr(s, "write the new credential if nobody else wrote, read it back", "write the new credential if nobody else wrote; it can't be read back"), true, false)
		}
	case StepDeploy:
		for _, d := range t.Deployers {
			p.add(StepDeploy, d.Name, "start the rollout", true, false)
		}
	case StepProbe:
		p.add(StepProbe, IssuerProbe, "check that the new credential is live", false, false)
		for _, probe := range t.Probes {
			p.add(StepProbe, probe.Name, fmt.Sprintf("look every %s until it is healthy %d times in a row, at most %s", r.Interval, r.ConsecutiveSuccessLimit, r.Deadline), false, false)
		}
		for _, s := range t.Stores {
			p.add(StepProbe, s.Ref().String(), readOr(s, "read again: it must still hold the new credential", "ask for its version again: nobody else may have written"), false, false)
		}
	case StepRevoke:
		who := "the old credential"
		if p.plan.Current.Known() {
			who = "credential " + describe(p.plan.Current)
		}
		p.add(StepRevoke, t.IssuerName, "revoke "+who, true, true)
	case StepConfirm:
		p.add(StepConfirm, t.IssuerName, "use the old credential until the service refuses it", false, false)
		if _, lists := t.Issuer.(Lister); lists {
			p.add(StepConfirm, t.IssuerName, "list credentials: exactly one of this rotation's name may be live", false, false)
		}
	}
}

// readOr chooses what to say of a store that can be read, or can only be written.
func readOr(t StoreTarget, reads, writeOnly string) string {
	if _, ok := t.Store.(WriteOnly); ok {
		return writeOnly
	}
	return reads
}
