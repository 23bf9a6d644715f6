// Mca prints what a static model says of the inner loops of the arm64 kernels: cycles per 1024 weights, or elements, with all data in the
// first-level cache. Run it by
//
//	go run -C tools ./mca
//
// It needs llvm-mca 22 (Debian: llvm-22; older ones lack the model of the Cortex-A76, which LLVM calls neoverse-n1) and binutils for aarch64.
// The model of the Cortex-A53 gives every vector instruction a latency of 6 and retires in order; take its numbers as +-30 %.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	mca        = "llvm-mca-22"
	objdump    = "aarch64-linux-gnu-objdump"
	iterations = 200
)

var cores = []string{"cortex-a53", "cortex-a72", "neoverse-n1"}

// kernels are functions of package neon and the elements that a turn of their inner loop does.
var kernels = []struct {
	function string
	elements int
}{
	{"lut16", 512}, {"lut8", 512}, {"i8x4", 128}, {"i8dot4", 128}, {"i4x2", 128},
	{"denseF32x4", 64}, {"denseF16x4", 64}, {"denseBF16x4", 64}, {"stateRows", 32}, {"stateRowsF16", 32},
	{"tables16", 16}, {"tables8", 16}, {"quantize16", 16}, {"groupMax16", 16}, {"maxAbs16", 16},
	{"exp16", 16}, {"silu16", 16}, {"softplus8", 8}, {"dot16", 16}, {"sum16", 16}, {"mul16", 16}, {"mulAdd16", 16}, {"readXor", 128},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mca: ")
	for _, tool := range []struct{ name, pkg string }{{mca, "llvm-22"}, {objdump, "binutils-aarch64-linux-gnu"}} {
		if _, err := exec.LookPath(tool.name); err != nil {
			log.Fatalf("%s is not here; Debian has it in %s", tool.name, tool.pkg)
		}
	}
	dir, err := os.MkdirTemp("", "mca")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "neon.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "./neon")
	build.Dir = ".." // go run -C tools starts this in tools
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("%v\n%s", err, out)
	}
	fmt.Printf("%-14s %12s", "per 1024", "instructions")
	for _, core := range cores {
		fmt.Printf(" %12s", core)
	}
	fmt.Println()
	for _, k := range kernels {
		loop, err := innerLoop(binary, "bimamba/neon."+k.function+".abi0")
		if err != nil {
			log.Fatalf("%s: %v", k.function, err)
		}
		per1024 := 1024 / float64(k.elements)
		fmt.Printf("%-14s %12.1f", k.function, float64(len(loop))*per1024)
		for _, core := range cores {
			cycles, err := model(loop, core)
			if err != nil {
				log.Fatalf("%s: %v", k.function, err)
			}
			fmt.Printf(" %12.1f", cycles*per1024)
		}
		fmt.Println()
	}
}

var (
	instruction = regexp.MustCompile(`(?m)^ *([0-9a-f]+):\t([^\n]*)$`)
	branch      = regexp.MustCompile(`^(b\.\w+|cbn?z\s+\w+,)\s*([0-9a-f]+)\b.*`)
)

// innerLoop is the instructions of a function's shortest loop, the target of its branch being the label L.
func innerLoop(binary, symbol string) (loop []string, err error) {
	out, err := exec.Command(objdump, "-d", "--no-show-raw-insn", "--disassemble="+symbol, binary).Output()
	if err != nil {
		return nil, err
	}
	var text []string
	at := map[string]int{} // address -> index
	for _, m := range instruction.FindAllSubmatch(out, -1) {
		line, _, _ := strings.Cut(string(m[2]), "//")
		line = strings.TrimSpace(line)
		at[string(m[1])] = len(text)
		if b := branch.FindStringSubmatch(line); b != nil {
			line = b[1] + " L"
			if first, ok := at[b[2]]; ok && (loop == nil || len(text)+1-first < len(loop)) {
				loop = append(append([]string(nil), text[first:]...), line)
			}
		}
		text = append(text, line)
	}
	if loop == nil {
		return nil, fmt.Errorf("%s has no loop", symbol)
	}
	return loop, nil
}

var total = regexp.MustCompile(`Total Cycles:\s+(\d+)`)

// model is the cycles of a turn.
func model(loop []string, core string) (float64, error) {
	cmd := exec.Command(mca, "-mtriple=aarch64", "-mcpu="+core, "-mattr=+dotprod", "-iterations="+strconv.Itoa(iterations))
	cmd.Stdin = strings.NewReader("L:\n" + strings.Join(loop, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", mca, err, stderr.Bytes())
	}
	m := total.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s says nothing of cycles", mca)
	}
	cycles, err := strconv.Atoi(string(m[1]))
	return float64(cycles) / iterations, err
}
