package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release's linker flags (-X main.version=1.2.3).
var version = ""

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(0, 0, ""),
		RunE: a.run(func(context.Context, []string) error {
			v := buildVersion()
			if a.json() {
				return printJSON(a.out, v)
			}
			printf(a.out, "rotatord %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			return nil
		}),
	}
	a.outputFlag(cmd)
	return cmd
}

// buildVersion says what was built: what the linker was told, else what the
// module and version control say.
func buildVersion() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	if v.Version == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "devel"
	}
	return v
}
