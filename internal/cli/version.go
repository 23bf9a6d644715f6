package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (e *env) versionCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print this program's version",
		Long: `Version prints the version of bimamba, and the Go and the system that it was built with. A version with a + in it is of a commit after, or before, the one that was
released under its number: 0.1.0+3.g1a2b3c4 is three commits after 0.1.0, 0.1.0-dev+531.g1a2b3c4 is before it; ".dirty" says that files had been changed.`,
		Args: cobra.NoArgs,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object: version, go, system, machine")
	c.RunE = func(c *cobra.Command, args []string) error {
		v := struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			System  string `json:"system"`
			Machine string `json:"machine"`
		}{version(), runtime.Version(), runtime.GOOS, runtime.GOARCH}
		if asJSON {
			return writeJSON(e.stdout, v)
		}
		_, err := fmt.Fprintf(e.stdout, "bimamba %s (%s, %s/%s)\n", v.Version, v.Go, v.System, v.Machine)
		return err
	}
	return c
}
