package image

import (
	"debug/elf"
	"fmt"
)

// CheckProgram has a file be a program that every arm64 Linux runs: one that needs no library and no loader.
func CheckProgram(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is no program of Linux: %w", path, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_AARCH64 || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("%s is for %s, not for arm64 boards", path, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: build it with CGO_ENABLED=0, as `make boards` does", path)
		}
	}
	return nil
}
