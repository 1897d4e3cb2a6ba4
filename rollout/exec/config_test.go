package execrollout

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/rotatord/rotatord/rotator"
)

func killAll(t *testing.T, pids []string) {
	t.Helper()
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestExamplesLoad(t *testing.T) {
	var deploy struct {
		Type         string `yaml:"type"`
		DeployConfig `yaml:",inline"`
	}
	if err := yaml.Load([]byte(DeployExample), &deploy, yaml.WithKnownFields()); err != nil {
		t.Fatalf("load DeployExample: %v", err)
	}
	if deploy.Type != "exec" || deploy.Timeout != rotator.Duration(deployTimeout) {
		t.Errorf("DeployExample = %+v; want type exec and the default timeout", deploy)
	}
	newDeployer(t, deploy.DeployConfig)
	var probe struct {
		Type        string `yaml:"type"`
		ProbeConfig `yaml:",inline"`
	}
	if err := yaml.Load([]byte(ProbeExample), &probe, yaml.WithKnownFields()); err != nil {
		t.Fatalf("load ProbeExample: %v", err)
	}
	if probe.Type != "exec" {
		t.Errorf("ProbeExample = %+v; want type exec", probe)
	}
	newProbe(t, probe.ProbeConfig)
}

// paths returns the fields that a joined error is about, sorted.
func paths(err error) []string {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case nil:
		return nil
	case *rotator.FieldError:
		return []string{e.Path}
	case interface{ Unwrap() []error }:
		var all []string
		for _, each := range e.Unwrap() {
			all = append(all, paths(each)...)
		}
		slices.Sort(all)
		return all
	}
	return []string{"no field: " + err.Error()}
}

func TestValidateReportsEveryMistake(t *testing.T) {
	env := map[string]string{"A=B": "x", "ROTATORD_TOKEN": "x", "NUL": "a\x00b", "GOOD": "x"}
	pass := []string{"GOOD", "", "ROTATORD_RELEASE"}
	shared := []string{"env.A=B", "env.NUL", "env.ROTATORD_TOKEN", "pass_env[1]", "pass_env[2]"}
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"deploy, nothing wrong": {DeployConfig{Command: []string{"true"}}.Validate(), nil},
		"deploy, empty":         {DeployConfig{}.Validate(), []string{"command"}},
		"deploy, empty already": {DeployConfig{Command: []string{"true"}, Already: []string{}}.Validate(), []string{"already"}},
		"deploy, NUL":           {DeployConfig{Command: []string{"true", "\x00"}}.Validate(), []string{"command"}},
		"deploy, all":           {DeployConfig{Command: []string{""}, Already: []string{""}, Env: env, PassEnv: pass}.Validate(), append([]string{"already", "command"}, shared...)},
		"probe, nothing wrong":  {ProbeConfig{Command: []string{"true"}}.Validate(), nil},
		"probe, all":            {ProbeConfig{Env: env, PassEnv: pass}.Validate(), append([]string{"command"}, shared...)},
	} {
		if diff := cmp.Diff(test.want, paths(test.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if test.err != nil && strings.Contains(test.err.Error(), "a\x00b") {
			t.Errorf("%s: a value is printed: %q", name, test.err)
		}
	}
	if _, err := NewDeployer(t.Context(), DeployConfig{}); err == nil {
		t.Error("NewDeployer() of an invalid configuration = nil error")
	}
	if _, err := NewProbe(t.Context(), ProbeConfig{}); err == nil {
		t.Error("NewProbe() of an invalid configuration = nil error")
	}
}
