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
	cmd := exec.Command("go", append([]string{"list", "-deps"}, pkgs...)...)
	cmd.Env = append(cmd.Environ(), "GOARCH="+goarch, "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go list -deps %v: %v\n%s", pkgs, err, out)
	}
	return strings.Fields(string(out))
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
			{"bimamba/internal/atomicfile", nil},
		} {
			for _, pkg := range deps(t, goarch, rule.tree+"/...") {
				if under(pkg, "bimamba") && !under(pkg, append(rule.allowed, rule.tree)...) {
					t.Errorf("%s: %s depends on %s", goarch, rule.tree, pkg)
				}
			}
		}
		// What the daemon is made of never links a converter, host-only code, the built-in model or a command line's libraries.
		for _, pkg := range deps(t, goarch, "bimamba/edge/...", "bimamba/memmap/...", "bimamba/neon/...") {
			if under(pkg, "bimamba/convert", "bimamba/models", "bimamba/internal", "bimamba/boards/image", "bimamba/boards/flash", "bimamba/boards/deploy",
				"golang.org/x/crypto/ssh", "github.com/spf13", "github.com/schollz", "github.com/pelletier", "google.golang.org/protobuf") {
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
