package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"bimamba/internal/testmodel"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"bimambad": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			root, err := filepath.Abs(testmodel.Root())
			e.Setenv("MODEL", filepath.Join(root, "models", "default.bimamba"))
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// chmod MODE FILE
			"mode": func(ts *testscript.TestScript, neg bool, args []string) {
				mode := os.FileMode(0o600)
				if args[0] == "644" {
					mode = 0o644
				}
				ts.Check(os.Chmod(ts.MkAbs(args[1]), mode))
			},
		},
	})
}
