package slot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bimamba/systemd/unit"
)

// TestInstall has programs of systemd that note how they are called.
func TestInstall(t *testing.T) {
	bin, calls := t.TempDir(), filepath.Join(t.TempDir(), "calls")
	for _, name := range []string{"systemctl", "systemd-sysusers", "systemd-tmpfiles"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho ${0##*/} $* >>"+calls+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, test := range []struct {
		name             string
		packaged, listen bool
		socket           bool
	}{
		{"a board with nothing", false, false, true},
		{"a configuration that listens", false, true, false},
		{"a package", true, false, false}, // its service runs
	} {
		root := t.TempDir()
		if test.packaged {
			for _, f := range unit.Files(unit.Params{}) {
				if err := putFile(filepath.Join(root, f.Path), f.Text); err != nil {
					t.Fatal(err)
				}
			}
		}
		os.Remove(calls)
		s, _, _ := newStore(t, root)
		written, err := s.Install(t.Context(), true, test.listen)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		service := "/usr/lib/systemd/system/bimambad.service"
		if got := slices.Contains(written, service); got == test.packaged {
			t.Errorf("%s: %s written: %v", test.name, service, got)
		}
		b, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		for line, want := range map[string]bool{
			"systemctl daemon-reload": true, "systemctl enable bimamba-slot.service bimambad.service": true, "systemctl enable --now bimambad.socket": test.socket,
		} {
			if got := slices.Contains(strings.Split(string(b), "\n"), line); got != want {
				t.Errorf("%s: %q called: %v, want %v\n%s", test.name, line, got, want, b)
			}
		}
		os.Remove(calls)
		if written, err = s.Install(t.Context(), false, test.listen); err != nil || len(written) != 0 {
			t.Errorf("%s, again: %q, %v", test.name, written, err)
		}
		if _, err := os.Stat(calls); err == nil {
			t.Errorf("%s, again: systemd was called though nothing changed", test.name)
		}
	}
}
