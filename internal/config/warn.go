package config

import (
	"io/fs"
	"os"
)

// fileWarnings looks at the modes of the files that the configuration is made
// of. A file that does not exist is no warning: a check may run elsewhere.
func fileWarnings(f *File) []string {
	var warnings []string
	look := func(path string, bits fs.FileMode, who string) {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&bits != 0 {
			warnings = append(warnings, "file "+path+": "+who+"; its mode is "+info.Mode().Perm().String())
		}
	}
	look(f.Path, 0o022, "others can change it, and so run commands as rotatord")
	state := f.spec.State.build()
	if state.SealKeyFile != "" {
		look(state.SealKeyFile, 0o077, "others can read the key")
	}
	warnings = append(warnings, exposed(state.SQLitePath(), state.SealKeyFile)...)
	seen := map[string]bool{"": true}
	for _, secret := range f.secrets {
		if path := secret.Source.File; !seen[path] {
			seen[path] = true
			look(path, 0o007, "everybody can read the secret")
		}
	}
	return warnings
}
