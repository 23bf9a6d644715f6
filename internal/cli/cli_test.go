package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"bimamba/boards/measure"
	"bimamba/internal/testmodel"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"bimamba": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the command line as its users do: one script a subcommand.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			root, err := filepath.Abs(testmodel.Root())
			if err != nil {
				return err
			}
			e.Setenv("TESTDATA", filepath.Join(root, "testdata"))
			e.Setenv("GOLDEN", filepath.Join(root, "testdata", "golden"))
			e.Setenv("MODELS", filepath.Join(root, "models"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "emulated" {
				return measure.MachineOf(os.DirFS("/")).Kind == measure.Emulator, nil
			}
			return false, fmt.Errorf("there is no condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// damage FILE flips a bit of its last byte.
			"damage": func(ts *testscript.TestScript, neg bool, args []string) {
				path := ts.MkAbs(args[0])
				b, err := os.ReadFile(path)
				ts.Check(err)
				b[len(b)-1] ^= 1
				ts.Check(os.WriteFile(path, b, 0o644))
			},
			"cut": cut,
			// nofiles DIR checks that the folder is empty.
			"nofiles": func(ts *testscript.TestScript, neg bool, args []string) {
				entries, err := os.ReadDir(ts.MkAbs(args[0]))
				ts.Check(err)
				if len(entries) != 0 {
					ts.Fatalf("%s holds %v", args[0], entries)
				}
			},
		},
	})
}

// cut FILE drops its last byte.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	st, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, st.Size()-1))
}
