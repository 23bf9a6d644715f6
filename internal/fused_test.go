package internal_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fused    = regexp.MustCompile(`(?i)\b(V?FN?M(ADD|SUB)[0-9]*[SDP]*|V?FML[AS]|[US]MMLA)\b`)
	function = regexp.MustCompile(`^(\S+) STEXT`)
)

// listing compiles packages for arm64 and gives the assembly of each of their functions.
func listing(t *testing.T, dir string, pkgs ...string) map[string]string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-gcflags=-S"}, pkgs...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go build -gcflags=-S %v: %v\n%s", pkgs, err, out)
	}
	functions, name := map[string]string{}, ""
	for line := range strings.Lines(string(out)) {
		if m := function.FindStringSubmatch(line); m != nil {
			name = m[1]
		}
		functions[name] += line
	}
	return functions
}

// TestNoFusedMultiplyAdd looks for fused multiply-adds in what the compiler makes for arm64: they round once where amd64 rounds twice.
func TestNoFusedMultiplyAdd(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go tool is not here")
	}

	// What is looked for exists where nothing prevents it.
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":   "module control\n\ngo 1.26\n",
		"fused.go": "package control\n\nfunc Fused(x, y, z float32) float32 { return x*y + z }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text := listing(t, dir, ".")["control.Fused"]; !fused.MatchString(text) {
		t.Fatalf("the control has no fused multiply-add that this test can see:\n%s", text)
	}

	// The sources are read so that `go test` runs this again when they change: on amd64 the test itself may stay the same to the byte.
	pkgs := []string{"./neon", "./neon/layout", "./edge/model", "./edge/sample"}
	for _, pkg := range pkgs {
		pattern := filepath.Join("..", pkg, "*.go")
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no sources at %s: %v", pattern, err)
		}
		for _, name := range names {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	functions := listing(t, "..", pkgs...)
	for _, name := range []string{
		"bimamba/neon.Exp", "bimamba/neon.Softplus", "bimamba/neon.StateUpdate", "bimamba/neon.(*LUT).Measure", "bimamba/neon.(*Q14).Quantize",
		"bimamba/neon.BitMatVecExact", "bimamba/neon/layout.F16ToF32", "bimamba/edge/model.(*forward).steps", "bimamba/edge/model.(*forward).rowsOf",
		"bimamba/edge/sample.(*Sampler).draw",
	} {
		if functions[name] == "" {
			t.Errorf("the listing lacks %s: this test would not see its instructions", name)
		}
	}
	for name, text := range functions {
		for line := range strings.Lines(text) {
			if fused.MatchString(line) {
				t.Errorf("%s: put the product that is added here in a float32(): %s", name, strings.TrimSpace(line))
			}
		}
	}
}

// TestNoFusedMultiplyAddInAssembly looks for them in the kernels in assembly, whose instructions without a name stand in comments.
func TestNoFusedMultiplyAddInAssembly(t *testing.T) {
	names, err := filepath.Glob("../neon/*.s")
	if err != nil || len(names) == 0 {
		t.Fatalf("no kernels in ../neon: %v", err)
	}
	for _, line := range []string{"\tVFMADD231PS Z0, Z1, Z2", "\tVFMLA V0.S4, V1.S4, V2.S4", "\tWORD $0x4e22cc20 // fmla v0.4s, v1.4s, v2.4s", "\tFMADDS F0, F1, F2, F3"} {
		if !fused.MatchString(line) {
			t.Fatalf("this test does not see %q", line)
		}
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if fused.MatchString(line) {
				t.Errorf("%s: %s", name, strings.TrimSpace(line))
			}
		}
	}
}
