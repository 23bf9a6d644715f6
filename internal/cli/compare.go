package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"bimamba/boards/measure"
	"bimamba/internal/atomicfile"
)

func (e *env) compareCmd() *cobra.Command {
	var out string
	var asJSON, force bool
	c := &cobra.Command{
		Use:   "compare DIR DIR ...",
		Short: "Hold reports of measure against each other",
		Long: `Compare puts the reports that "bimamba measure" wrote into folders side by side: one table, and with -o a page with plots.

Reports of other models, or of the same model with another precision, other prompts or other lengths of answers are not comparable. They are shown, but the first line
says so, and the exit status is 1. Other kernels, threads, versions and sensors are named, too.`,
		Example: "  bimamba compare pi-4/ pi-5/\n  bimamba compare before/ after/ -o comparison.html",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > maxReports {
				return fmt.Errorf("%s takes 2 to %d folders, not %d", c.CommandPath(), maxReports, len(args))
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "", "also write a page with table and plots")
	f.BoolVar(&force, "force", false, "replace the page if it is there")
	f.BoolVar(&asJSON, "json", false, "print the comparison as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		var names []string
		var reports []*measure.Report
		for _, dir := range args {
			r, err := measure.LoadReport(dir)
			if err != nil {
				return err
			}
			name := filepath.Base(filepath.Clean(dir))
			if slices.Contains(names, name) {
				name = filepath.Clean(dir)
			}
			names, reports = append(names, name), append(reports, r)
		}
		cmp := measure.Compare(names, reports)
		if out != "" {
			if err := writeWhole(out, force, cmp.HTML); err != nil {
				return err
			}
		}
		var err error
		if asJSON {
			err = writeJSON(e.stdout, cmp)
		} else {
			err = cmp.Text(e.stdout)
		}
		if err == nil && !cmp.Comparable {
			err = errors.New("the reports are not comparable")
		}
		return err
	}
	return c
}

// maxReports is as many as a table has room for.
const maxReports = 16

// writeWhole writes a file whole or not at all.
func writeWhole(path string, force bool, write func(io.Writer) error) error {
	f, err := atomicfile.Create(path, atomicfile.Options{Force: force})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	return f.Commit()
}
