package rotator

// Stragglers names every probe that is not green yet on what the course wants
// consumers to live on, the issuer's own check included.
func Stragglers(s State, u Setup) []Awaited {
	var late []Awaited
	if without("evidence gate") {
		return nil
	}
	if p := s.Probes[IssuerProbe]; p.Successes == 0 {
		late = append(late, awaitedOf(p.Last, IssuerProbe))
	}
	for _, name := range u.Probes {
		if p := s.Probes[name]; p.Successes < u.Rollout.ConsecutiveSuccessLimit {
			late = append(late, awaitedOf(p.Last, name))
		}
	}
	return late
}

// MissingEvidence says what the revoke still lacks. The old credential is
// revoked only when it is empty, a leak's deadline and revoke-first excepted.
func MissingEvidence(s State, u Setup) []Awaited {
	missing := Stragglers(s, u)
	for _, st := range s.Stores {
		if !st.holds(s.New.Fingerprint) {
			missing = append(missing, Awaited{Probe: "store", Target: st.Ref.String(), Detail: "does not hold the new credential"})
		}
	}
	if !s.Rechecked {
		missing = append(missing, Awaited{Probe: "store", Detail: "not read again since the last probe was green"})
	}
	return missing
}

// awaitedOf says who is awaited, from what a probe last saw.
func awaitedOf(o Observation, probe string) Awaited {
	a := Awaited{Probe: probe, Target: o.Finding.Target, Detail: o.Finding.Detail}
	switch {
	case o.Err != "":
		a.Detail = o.Err
	case o.Finding.Health == "":
		a.Detail = "not looked at yet"
	case a.Detail == "":
		a.Detail = string(o.Finding.Health)
	}
	return a
}
