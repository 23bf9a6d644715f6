package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bimamba/internal/testmodel"
)

// TestDeploy runs deployments to boards that are folders: the programs are the real ones, ssh and systemctl are those of testdata/deploy/bin.
func TestDeploy(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here to build the programs of the boards")
	}
	root, err := filepath.Abs(testmodel.Root())
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", programs+"/", "./cmd/bimamba", "./cmd/bimambad")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	fake, err := filepath.Abs("testdata/deploy/bin")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/deploy",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PROGRAMS", programs)
			e.Setenv("MODELS", filepath.Join(root, "models"))
			e.Setenv("GOLDEN", filepath.Join(root, "testdata", "golden"))
			e.Setenv("TESTDATA", filepath.Join(root, "testdata"))
			e.Setenv("PATH", fake+":"+e.Getenv("PATH"))
			boards := filepath.Join(e.WorkDir, "boards")
			e.Setenv("BOARDS", boards)
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("TMPDIR", e.WorkDir)
			e.Defer(func() { stopDaemons(boards) })
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// crash BOARD ends a board's daemon.
			"crash": func(ts *testscript.TestScript, neg bool, args []string) {
				b, err := os.ReadFile(ts.MkAbs("boards/" + args[0] + "/run/pid"))
				ts.Check(err)
				pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
				ts.Check(err)
				p, err := os.FindProcess(pid)
				ts.Check(err)
				ts.Check(p.Kill())
			},
			// eventually BOARD TEXT waits until the status of a board has a text.
			"eventually": func(ts *testscript.TestScript, neg bool, args []string) {
				var out []byte
				for range 150 {
					out, _ = exec.Command(filepath.Join(programs, "bimamba"), "slot", "--root", ts.MkAbs("boards/"+args[0]), "status", "--json").Output()
					if strings.Contains(string(out), args[1]) {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
				ts.Fatalf("%s never says %s: %s", args[0], args[1], out)
			},
		},
	})
}

// stopDaemons ends what systemctl has started.
func stopDaemons(boards string) {
	entries, _ := os.ReadDir(boards)
	for _, x := range entries {
		run := filepath.Join(boards, x.Name(), "run")
		os.WriteFile(filepath.Join(run, "stopping"), nil, 0o644)
		if b, err := os.ReadFile(filepath.Join(run, "pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
				if exe, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe"); strings.HasPrefix(exe, boards) {
					if p, err := os.FindProcess(pid); err == nil {
						p.Kill()
					}
				}
			}
		}
	}
}
