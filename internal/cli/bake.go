package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bimamba/edge/chat"
	"bimamba/edge/engine"
	"bimamba/edge/state"
	"bimamba/internal/atomicfile"
)

func (e *env) bakeCmd() *cobra.Command {
	var system, file, out, name string
	var force, asJSON bool
	c := &cobra.Command{
		Use:   "bake FILE --system TEXT -o NAME.state",
		Short: "Compute a system prompt once, for all time",
		Long: `Bake runs a system prompt through the model and writes the state behind it: a persona. bimambad serves it with --persona NAME=NAME.state, and then begins every
conversation where the system prompt ends, without computing a token of it.

A persona belongs to the file that it was baked with, byte for byte, to its --state and --precision; bimambad refuses it for any other.`,
		Example: "  bimamba bake m.bimamba --system 'You answer in one sentence.' -o brief.state\n  bimamba bake m.bimamba --system-file prompt.txt -o brief.state\n  bimambad --model m.bimamba --persona brief=brief.state",
		Args: func(c *cobra.Command, args []string) error {
			if err := oneFile(c, args); err != nil {
				return err
			}
			if c.Flags().Changed("system") == c.Flags().Changed("system-file") {
				return fmt.Errorf("%s needs --system TEXT or --system-file FILE", c.CommandPath())
			}
			if out == "" {
				return fmt.Errorf("%s needs -o NAME.state", c.CommandPath())
			}
			return nil
		},
	}
	flags := addModelFlags(c)
	f := c.Flags()
	f.StringVar(&system, "system", "", "the system prompt")
	f.StringVar(&file, "system-file", "", "read the system prompt from this file, a final newline left out")
	f.StringVarP(&out, "output", "o", "", "write the persona to this file")
	f.StringVar(&name, "name", "", "name of the persona (default: the output file's, without .state)")
	f.BoolVar(&force, "force", false, "replace the output file if it exists")
	f.BoolVar(&asJSON, "json", false, "print what was written as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		if file != "" {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			system = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		}
		if name == "" {
			name = strings.TrimSuffix(out[strings.LastIndexByte(out, '/')+1:], ".state")
		}
		if err := state.CheckName(name); err != nil {
			return err
		}
		return withEngine(args[0], flags, 1, func(eng *engine.Engine) error {
			local, err := chat.NewLocal(eng, chat.LocalOptions{})
			if err != nil {
				return err
			}
			return local.Bake(c.Context(), name, system, func(s *state.Snapshot) error {
				return e.writePersona(out, force, asJSON, s)
			})
		})
	}
	return c
}

// writePersona writes a snapshot to a file.
func (e *env) writePersona(path string, force, asJSON bool, s *state.Snapshot) error {
	f, err := atomicfile.Create(path, atomicfile.Options{Force: force})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := state.Write(f, s); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if asJSON {
		return writeJSON(e.stdout, map[string]any{"file": path, "persona": s.Persona, "tokens": len(s.IDs), "bytes": info.Size(), "model": s.ModelName})
	}
	fmt.Fprintf(e.stdout, "%s: persona %s, %d tokens, %s\n", path, s.Persona, len(s.IDs), mega(info.Size()))
	return nil
}
