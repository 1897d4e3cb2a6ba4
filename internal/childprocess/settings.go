package childprocess

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rotatord/rotatord/rotator"
)

// Validate reports every mistake that can be seen offline, under the names that
// the settings have in the configuration: command, env and pass_env.
func (c Command) Validate() error {
	return errors.Join(
		rotator.Field("command", CheckArgv(c.Argv)),
		checkEnv(c.Env),
		checkPassEnv(c.PassEnv),
	)
}

// CheckArgv reports arguments that no program can be started with.
func CheckArgv(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("a program is required, for example [systemctl, restart, crm-worker]")
	}
	for _, arg := range argv {
		if strings.ContainsRune(arg, 0) {
			return errors.New("an argument can't hold a NUL character")
		}
	}
	return nil
}

func checkEnv(env map[string]string) error {
	var errs []error
	for name, value := range env {
		err := checkName(name)
		if err == nil && strings.ContainsRune(value, 0) {
			err = errors.New("a value can't hold a NUL character")
		}
		errs = append(errs, rotator.Field("env."+name, err))
	}
	return errors.Join(errs...)
}

func checkPassEnv(names []string) error {
	var errs []error
	for i, name := range names {
		errs = append(errs, rotator.Field(fmt.Sprintf("pass_env[%d]", i), checkName(name)))
	}
	return errors.Join(errs...)
}

func checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00"):
		return errors.New("not a name of an environment variable")
	case strings.HasPrefix(name, OwnPrefix):
		return errors.New("names that start with ROTATORD_ are set by rotatord itself")
	}
	return nil
}
