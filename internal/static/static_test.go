package static

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes the headers of a program for a machine, with one segment of a type.
func program(t *testing.T, machine elf.Machine, segment elf.ProgType) string {
	t.Helper()
	h := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64,
	}
	var b bytes.Buffer
	for _, part := range []any{h, elf.Prog64{Type: uint32(segment)}} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, b.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		path, machine, want string
	}{
		{program(t, elf.EM_AARCH64, elf.PT_LOAD), "aarch64", ""},
		{program(t, elf.EM_X86_64, elf.PT_LOAD), "x86_64", ""},
		{program(t, elf.EM_X86_64, elf.PT_LOAD), "aarch64", "it is for EM_X86_64, and the board is aarch64"},
		{program(t, elf.EM_AARCH64, elf.PT_INTERP), "aarch64", "it needs libraries that the board may not have; build it with CGO_ENABLED=0"},
		{program(t, elf.EM_ARM, elf.PT_LOAD), "armv7l", `the board's kernel is of "armv7l"`},
		{"static_test.go", "aarch64", "it is no program"},
		{"missing", "aarch64", "no such file"},
	} {
		err := Check("it", c.path, c.machine)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s on %s: %v, want %q", c.path, c.machine, err, c.want)
		}
	}
}
