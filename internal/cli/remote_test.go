package cli

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"bimamba/internal/ssh"
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

// TestCheckProgram: what is copied to a board can run there.
func TestCheckProgram(t *testing.T) {
	for _, c := range []struct {
		path, machine, want string
	}{
		{program(t, elf.EM_AARCH64, elf.PT_LOAD), "aarch64", ""},
		{program(t, elf.EM_X86_64, elf.PT_LOAD), "x86_64", ""},
		{program(t, elf.EM_X86_64, elf.PT_LOAD), "aarch64", "it is for EM_X86_64, and the board is aarch64"},
		{program(t, elf.EM_AARCH64, elf.PT_INTERP), "aarch64", "it needs libraries that the board may not have; build it with CGO_ENABLED=0"},
		{program(t, elf.EM_ARM, elf.PT_LOAD), "armv7l", `the board's kernel is of "armv7l"`},
		{"remote_test.go", "aarch64", "it is no program"},
	} {
		err := ssh.CheckProgram("it", c.path, c.machine)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s on %s: %v, want %q", c.path, c.machine, err, c.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"": "''", "a b": "'a b'", "it's; $(rm)": `'it'\''s; $(rm)'`} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// TestRemoteStill: an interrupt ends a measurement whose connection is dead, while it runs and while its report is fetched.
func TestRemoteStill(t *testing.T) {
	for name, c := range map[string]struct{ ssh, want string }{
		"measuring": {"exec sleep 600", "--ssh pi@board: interrupted, and it did not end within 100ms: what it measured is lost"},
		"fetching":  {"for line; do :; done\ncase $line in cat*) exec sleep 600 ;; esac\ncat >&2", "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\n"+c.ssh+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			time.AfterFunc(200*time.Millisecond, interrupt)
			r := &remote{env: &env{stderr: io.Discard}, target: "pi@board", socket: filepath.Join(dir, "s"), work: dir, grace: 100 * time.Millisecond}
			ended := make(chan error, 1)
			go func() {
				_, err := r.run(ctx, "bimamba", nil)
				ended <- err
			}()
			select {
			case err := <-ended:
				if err == nil || err.Error() != c.want {
					t.Errorf("%v", err)
				}
			case <-time.After(time.Minute):
				t.Error("it does not end")
			}
		})
	}
}

// TestForwarded: every flag of measure either goes to the other board or is named as one that stays.
func TestForwarded(t *testing.T) {
	c := (&env{}).measureCmd()
	values := map[string]string{"bool": "true", "int": "7", "duration": "7m0s", "string": "a b"}
	var want []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		v := values[f.Value.Type()]
		if v == "" {
			t.Fatalf("--%s is a %s", f.Name, f.Value.Type())
		}
		if err := c.Flags().Set(f.Name, v); err != nil {
			t.Fatalf("--%s: %v", f.Name, err)
		}
		want = append(want, "--"+f.Name+"="+v)
	})
	stay := []string{"prompts", "calibration", "output", "force", "json", "share", "ssh", "program"}
	want = slices.DeleteFunc(want, func(s string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(s, "--"), "=")
		return slices.Contains(stay, name)
	})
	for _, name := range stay {
		if c.Flags().Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
	if got := forwarded(c.Flags()); !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	if got := forwarded((&env{}).measureCmd().Flags()); len(got) > 0 {
		t.Errorf("%q of no flags", got)
	}
}
