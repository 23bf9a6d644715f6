package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// budget is the most bytes that bimambad may have on a board.
const budget = 12_000_000

var machines = map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}

// programs checks the programs of both architectures and lists their sizes.
func (p *product) programs() error {
	for _, arch := range []string{"arm64", "amd64"} {
		for _, name := range []string{"bimamba", "bimambad"} {
			b, err := p.program(arch, name)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "%s  %d bytes\n", filepath.Join(p.dist, arch, name), len(b))
			if arch == "arm64" && name == "bimambad" && len(b) > budget {
				return fmt.Errorf("%s has more bytes than the %d that it may have", filepath.Join(p.dist, arch, name), budget)
			}
		}
	}
	return nil
}

// program reads a program and checks that it is one for every system of the architecture, and of the version if that is known.
func (p *product) program(arch, name string) ([]byte, error) {
	path := filepath.Join(p.dist, arch, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; scripts/boards.sh builds it", err)
	}
	if err := static(b, machines[arch]); err != nil {
		return nil, fmt.Errorf("%s: %w; scripts/boards.sh builds it as it has to be", path, err)
	}
	if !bytes.Contains(b, []byte(p.version)) {
		return nil, fmt.Errorf("%s is not of version %s; scripts/boards.sh builds it again", path, p.version)
	}
	return b, nil
}

// static checks that a program needs neither an interpreter nor libraries, and carries no symbols.
func static(b []byte, machine elf.Machine) error {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if f.Machine != machine {
		return fmt.Errorf("it is for %v, not %v", f.Machine, machine)
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP || s.Type == elf.PT_DYNAMIC {
			return errors.New("it is not linked statically")
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil || f.Section(".zdebug_info") != nil {
		return errors.New("it is not stripped")
	}
	return nil
}
