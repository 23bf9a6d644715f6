package neon

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Portable is the name of the kernels in Go, which define the arithmetic.
const Portable = "portable"

// chosen is the set of kernels in use, one of Kernels().
var chosen string

// chosenErr says that $BIMAMBA_KERNEL asks for kernels that are not here.
var chosenErr error

func init() {
	all := Kernels()
	name := all[len(all)-1]
	use(name)
	if env := os.Getenv("BIMAMBA_KERNEL"); env != "" {
		if err := Use(env); err != nil {
			chosenErr = fmt.Errorf("BIMAMBA_KERNEL=%s: %w; unset it, or name one of these", env, err)
		}
	}
}

// Kernels is the sets of kernels that this program has and this CPU can run, the fastest last: portable, then neon on arm64, avx2 and avx512 on amd64.
func Kernels() []string { return append([]string{Portable}, asmKernels()...) }

// Kernel is the set of kernels in use: the fastest, or what $BIMAMBA_KERNEL names. An error says that this one is not here.
func Kernel() (string, error) { return chosen, chosenErr }

// Use switches to another set of kernels, for tests and measurements: the results are the same. No kernel may be running.
func Use(name string) error {
	if all := Kernels(); !slices.Contains(all, name) {
		return fmt.Errorf("this program and this CPU have the kernels %s", strings.Join(all, ", "))
	}
	use(name)
	chosenErr = nil
	return nil
}

// use is Use for one of Kernels().
func use(name string) {
	chosen = name
	asmUse(name)
}
