package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
)

// maxFlagFile is the largest file of options.
const maxFlagFile = 64 << 10

// readFlags sets those flags of a command that were not given from a TOML file: --foo-bar is the key foo_bar.
func readFlags(c *cobra.Command, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFlagFile+1))
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	if len(data) > maxFlagFile {
		return fmt.Errorf("%s is larger than %d bytes, the most that a file of options has", path, maxFlagFile)
	}
	var values map[string]any
	if err := toml.Unmarshal(data, &values); err != nil {
		var d *toml.DecodeError
		if errors.As(err, &d) {
			line, column := d.Position()
			return fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	var keys []string
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		flag := c.Flags().Lookup(strings.ReplaceAll(k, "_", "-"))
		if flag == nil || strings.Contains(k, "-") || k == "config" || k == "help" {
			return fmt.Errorf("%s: there is no key %s; `%s --help` lists the options, and --foo-bar is the key foo_bar", path, k, c.CommandPath())
		}
		if flag.Changed {
			continue
		}
		switch v := values[k].(type) {
		case string, bool, int64:
			if err := c.Flags().Set(flag.Name, fmt.Sprint(v)); err != nil {
				return fmt.Errorf("%s: %s: %w", path, k, err)
			}
		default:
			return fmt.Errorf("%s: %s is no string, number, true or false", path, k)
		}
	}
	return nil
}
