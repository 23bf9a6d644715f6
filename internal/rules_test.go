// Package internal_test keeps the rules about which package may import which.
package internal_test

import (
	"os/exec"
	"strings"
	"testing"
)

// deps is the packages of this module that pkg depends on, itself left out, for an architecture.
func deps(t *testing.T, goarch string, pkgs ...string) []string {
	t.Helper()
	return strings.Fields(goList(t, goarch, append([]string{"-deps"}, pkgs...)...))
}

// goList is the output of go list.
func goList(t *testing.T, goarch string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(cmd.Environ(), "GOARCH="+goarch, "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func under(pkg string, trees ...string) bool {
	for _, tree := range trees {
		if pkg == tree || strings.HasPrefix(pkg, tree+"/") {
			return true
		}
	}
	return false
}

func TestImportRules(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here")
	}
	for _, goarch := range []string{"amd64", "arm64"} {
		// Packages of this module that each tree may use beside its own.
		for _, rule := range []struct {
			tree    string
			allowed []string
		}{
			{"bimamba/neon", nil},
			{"bimamba/memmap", []string{"bimamba/neon/layout"}},
			{"bimamba/convert", []string{"bimamba/memmap", "bimamba/neon/layout"}},
			{"bimamba/edge/model", []string{"bimamba/memmap", "bimamba/neon"}},
			{"bimamba/edge/sample", []string{"bimamba/neon"}},
			{"bimamba/edge/token", []string{"bimamba/memmap", "bimamba/neon/layout"}},
			{"bimamba/edge/grammar", []string{"bimamba/edge/token", "bimamba/memmap", "bimamba/neon/layout"}},
			{"bimamba/edge/state", nil},
			{"bimamba/edge/internal/durable", nil},
			{"bimamba/edge/action/mqtt", nil},
			{"bimamba/edge/voice/audio", nil},
			{"bimamba/edge/voice/gpio", nil},
			{"bimamba/internal/atomicfile", nil},
			{"bimamba/internal/boottime", nil},
			{"bimamba/systemd/notify", nil},
			{"bimamba/systemd/unit", nil},
			{"bimamba/systemd/deb", []string{"bimamba/internal/atomicfile"}},
			{"bimamba/internal/oci", nil},
			{"bimamba/internal/man", nil},
			{"bimamba/boards/tuning", []string{"bimamba/neon"}},
			{"bimamba/boards/detect", []string{"bimamba/boards/internal/regular", "bimamba/boards/tuning", "bimamba/neon"}},
			{"bimamba/boards/sensor", []string{"bimamba/boards/internal/regular", "bimamba/internal/atomicfile"}},
			{"bimamba/boards/plan", []string{"bimamba/boards/tuning", "bimamba/edge/model", "bimamba/memmap", "bimamba/neon"}},
			{"bimamba/boards/internal/bmap", nil},
			{"bimamba/boards/internal/disk", nil},
			{"bimamba/boards/internal/packed", nil},
			{"bimamba/boards/image", []string{"bimamba/boards/internal/bmap", "bimamba/boards/internal/disk", "bimamba/boards/internal/packed", "bimamba/internal/atomicfile"}},
			{"bimamba/boards/flash", []string{"bimamba/boards/internal/bmap", "bimamba/boards/internal/disk", "bimamba/boards/internal/packed", "bimamba/internal/atomicfile"}},
			{"bimamba/internal/ssh", nil},
			{"bimamba/internal/static", nil},
			{"bimamba/boards/slot", []string{ // all but the first two for package health
				"bimamba/internal/boottime", "bimamba/systemd/unit", "bimamba/boards/internal/regular", "bimamba/boards/sensor", "bimamba/boards/tuning", "bimamba/edge/daemon/config", "bimamba/edge/internal/edit", "bimamba/edge/model", "bimamba/internal/atomicfile", "bimamba/memmap", "bimamba/neon",
			}},
			{"bimamba/boards/measure", []string{
				"bimamba/boards/detect", "bimamba/boards/internal/regular", "bimamba/boards/plan", "bimamba/boards/sensor", "bimamba/boards/tuning", "bimamba/edge/engine", "bimamba/edge/grammar", "bimamba/edge/model", "bimamba/edge/sample",
				"bimamba/edge/state", "bimamba/edge/token", "bimamba/internal/atomicfile", "bimamba/memmap", "bimamba/neon",
			}},
		} {
			for _, pkg := range deps(t, goarch, rule.tree+"/...") {
				if under(pkg, "bimamba") && !under(pkg, append(rule.allowed, rule.tree)...) {
					t.Errorf("%s: %s depends on %s", goarch, rule.tree, pkg)
				}
			}
		}
		for _, pkg := range deps(t, goarch, "bimamba/cmd/bimambad") {
			if under(pkg, "bimamba/edge/action/command", "bimamba/edge/voice") {
				t.Errorf("%s: the daemon depends on %s, whose programs its sandbox does not start", goarch, pkg)
			}
		}
		// The daemon, and all that it may come to be made of, never links a converter, host-only code, the built-in model or a command line's libraries.
		for _, pkg := range deps(t, goarch, "bimamba/cmd/bimambad", "bimamba/edge/...", "bimamba/memmap/...", "bimamba/neon/...") {
			if under(pkg, "bimamba/internal/atomicfile", "bimamba/internal/boottime") {
				continue
			}
			if under(pkg, "bimamba/convert", "bimamba/models", "bimamba/internal", "bimamba/boards/measure", "bimamba/boards/internal/bmap", "bimamba/boards/internal/disk", "bimamba/boards/internal/packed", "bimamba/boards/image", "bimamba/boards/flash", "bimamba/boards/deploy", "bimamba/boards/slot", "bimamba/systemd/deb",
				"golang.org/x/crypto/ssh", "github.com/spf13", "github.com/schollz", "google.golang.org/protobuf") {
				t.Errorf("%s: the daemon's packages depend on %s", goarch, pkg)
			}
		}
	}
}

// TestReferenceIsTestOnly keeps the independent reference out of every program.
func TestReferenceIsTestOnly(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here")
	}
	for _, pkg := range deps(t, "amd64", "bimamba/cmd/...") {
		if under(pkg, "bimamba/internal/ref64", "bimamba/internal/testmodel", "testing") {
			t.Errorf("a program depends on %s", pkg)
		}
	}
}

// TestModuleGraph keeps the number of modules that a user of this one comes to depend on.
func TestModuleGraph(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here")
	}
	const most = 40
	if n := len(strings.Split(strings.TrimSpace(goList(t, "amd64", "-m", "all")), "\n")); n > most {
		t.Errorf("the graph has %d modules, more than %d", n, most)
	} else {
		t.Logf("%d modules", n)
	}
}
