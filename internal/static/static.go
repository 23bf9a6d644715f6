package static

import (
	"debug/elf"
	"fmt"
)

// Arm64 is what `uname -m` says on every board that an image is made for.
const Arm64 = "aarch64"

// Check checks that a file, which errors call name, is a program that needs nothing else on a machine as `uname -m` calls it.
func Check(name, path, machine string) error {
	want, ok := map[string]elf.Machine{Arm64: elf.EM_AARCH64, "x86_64": elf.EM_X86_64}[machine]
	if !ok {
		return fmt.Errorf("the board's kernel is of %.40q; bimamba runs on aarch64 and x86_64", machine)
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is no program: %w", name, err)
	}
	defer f.Close()
	if f.Machine != want || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("%s is for %v, and the board is %s", name, f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs libraries that the board may not have; build it with CGO_ENABLED=0, as `make boards` does", name)
		}
	}
	return nil
}
