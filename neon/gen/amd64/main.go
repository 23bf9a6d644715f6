// Command amd64 writes the assembly of package neon for amd64: a file for each kind of kernel and each set of them, AVX2 and AVX-512, and for those
// kernels that have a form with VNNI beside that of AVX-512.
package main

import (
	"bytes"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// A file is a kind of kernels. about draws the data and counts what a kernel costs; it goes to the head of the file.
type file struct {
	name, about string
	make        func(a *asm)
}

// files are there with AVX2 and with AVX-512.
var files = []file{
	{"read", aboutRead, read},
	{"lut16", aboutLUT16, func(a *asm) { luts(a, "lut16", 2) }},
	{"lut8", aboutLUT8, func(a *asm) { luts(a, "lut8", 1) }},
	{"lut16pair", aboutPair, func(a *asm) { pair(a, "lut16Pair", 2) }},
	{"lut8pair", aboutPair, func(a *asm) { pair(a, "lut8Pair", 1) }},
	{"tables", aboutTables, tables},
	{"quantize", aboutQuantize, quantize},
	{"int8", aboutInt8, func(a *asm) { int8s(a, "int8", false) }},
	{"int4", aboutInt4, int4s},
	{"dense", aboutDense, dense},
	{"vector", aboutVector, vectors},
	{"math", aboutMath, functions},
	{"state", aboutState, states},
}

// vnni are those with VNNI beside AVX-512.
var vnni = []file{
	{"int8", aboutInt8VNNI, func(a *asm) { int8s(a, "int8VNNI", true) }},
	{"int4", aboutInt4VNNI, int4VNNI},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: amd64 folder") // avo has taken the flags
	}
	for _, set := range []struct {
		name  string
		wide  bool
		files []file
	}{{"avx2", false, files}, {"avx512", true, files}, {"vnni", true, vnni}} {
		for _, f := range set.files {
			if !set.wide && strings.HasSuffix(f.name, "pair") { // 16 registers do not hold the sums
				continue
			}
			text, err := generate(f.make, f.about, set.wide)
			if err != nil {
				log.Fatalf("%s, %s: %v", f.name, set.name, err)
			}
			if err := os.WriteFile(filepath.Join(os.Args[1], f.name+"_"+set.name+"_amd64.s"), text, 0o666); err != nil {
				log.Fatal(err)
			}
		}
	}
}

// generate is the text of a file.
func generate(kernels func(a *asm), about string, wide bool) ([]byte, error) {
	a := &asm{Context: build.NewContext(), wide: wide}
	a.ConstraintExpr("!purego")
	a.ConstraintExpr("!noasm")
	kernels(a)
	file, err := a.Result()
	if err != nil {
		return nil, err
	}
	var text []byte
	p := printer.NewGoAsm(printer.Config{Name: "neon/gen/amd64"})
	if err := pass.Concat(pass.Compile, pass.Func(func(f *ir.File) (err error) { text, err = p.Print(f); return err })).Execute(file); err != nil {
		return nil, err
	}
	var comment strings.Builder
	for line := range strings.Lines(strings.TrimSpace(about) + "\n") {
		comment.WriteString(strings.TrimRight("// "+line, " \n") + "\n")
	}
	return bytes.Replace(text, []byte("\n#include"), []byte("\n"+comment.String()+"\n#include"), 1), nil
}
