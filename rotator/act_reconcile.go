package rotator

import "context"

// reconcile asks the world what came of an intent that has no outcome, and
// writes that down as the outcome. It repeats no act.
func (a act) reconcile(ctx context.Context) error {
	intent := *a.state.Pending
	a.action.Target = intent.Target
	outcome := a.entry(EntryOutcome)
	outcome.Step, outcome.Attempt = intent.Step, intent.Attempt
	if without("reconcile") {
		outcome.Err, outcome.NoEffect = "the process ended", true
		return a.write(ctx, outcome)
	}
	switch intent.Step {
	case StepStore:
		return a.reconcileStore(ctx, outcome)
	case StepDeploy:
		return a.reconcileDeploy(ctx, outcome)
	case StepIssue, StepRevoke, StepConfirm, StepProbe:
		// An issue is settled by its marker next; a revoke and the end of strays
		// name their credential by ID and may be done again.
		outcome.Err = "the process ended before the answer came"
		_, outcome.NoEffect = a.token.Issuer.(ByHand)
	}
	return a.write(ctx, outcome)
}

// reconcileStore: what the store holds says whether the write happened.
func (a act) reconcileStore(ctx context.Context, outcome Entry) error {
	t, ok := a.storeTarget(outcome.Target)
	if !ok {
		outcome.Err, outcome.Final = "the store is no longer configured", true
		return a.write(ctx, outcome)
	}
	version, read, err := a.read(ctx, t)
	switch {
	case interrupted(ctx, err):
		return nil
	case err != nil:
		return a.write(ctx, read)
	case read.Verdict != Unknown && version.Value.Fingerprint() == a.state.target().Fingerprint:
		outcome.Fingerprint, outcome.Version = version.Value.Fingerprint(), version.ID
		return a.write(ctx, read, outcome)
	}
	// Not written, or the store can't be read: the same attempt again leaves one version.
	outcome.Err = "the process ended before the store took it"
	return a.write(ctx, read, outcome)
}

// reconcileDeploy asks the deployer whether it knows the release; one that
// can't tell leaves it to the probes: consumers that live on the release
// already have been restarted.
func (a act) reconcileDeploy(ctx context.Context, outcome Entry) error {
	outcome.Err, outcome.NoEffect = "the process ended before the rollout was accepted", false
	d, ok := a.deployer()
	if !ok {
		return a.write(ctx, outcome)
	}
	deployed := false
	if asker, ok := d.Deployer.(DeployAsker); ok {
		err := a.call(ctx, a.engine.ActTimeout, func(ctx context.Context) (err error) {
			deployed, err = asker.Deployed(ctx, a.release())
			return err
		})
		if interrupted(ctx, err) {
			return nil
		}
		if err != nil {
			failed := a.failed(outcome, "deployer "+d.Name, err, a.state.Deploys[d.Name].Failing.Tries)
			failed.NoEffect = false // the question had none, the rollout may have
			return a.write(ctx, failed)
		}
	} else {
		deployed = a.allLiveOnRelease(ctx)
		if stopped(ctx) {
			return nil
		}
	}
	if deployed {
		outcome.Err, outcome.Why = "", "found rolled out after a restart"
	}
	return a.write(ctx, outcome)
}

// allLiveOnRelease: every probe reports the release's own fingerprint.
func (a act) allLiveOnRelease(ctx context.Context) bool {
	for _, p := range a.token.Probes {
		o := a.observe(ctx, p)
		if o.Err != "" || o.Finding.Health != Healthy || o.Finding.Seen == "" {
			return false
		}
	}
	return len(a.token.Probes) > 0
}
