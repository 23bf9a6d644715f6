package unit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSlotFiles(t *testing.T) {
	for _, f := range SlotFiles() {
		v := parse(t, f.Path, f.Text)
		for _, command := range append(v["Service.ExecStart"], v["Service.ExecStopPost"]...) {
			if !strings.Contains(command, "/opt/bimamba/bin/bimamba slot ") {
				t.Errorf("%s runs %s", f.Path, command)
			}
		}
		if !filepath.IsAbs(f.Path) || f.Mode != 0o644 {
			t.Errorf("%+v", f)
		}
	}
}

// TestVersion: a version's drop-in says of memory what [Memory] says, and how the daemon is started.
func TestVersion(t *testing.T) {
	p := defaultModel
	p.OneModel = true
	v, memory := parse(t, "version", Version(p, "/x", true)), parse(t, "memory", Memory(p))
	for key, want := range memory {
		if !slices.Equal(v[key], want) {
			t.Errorf("%s=%v, want %v", key, v[key], want)
		}
	}
	if got := v["Service.ExecStart"]; !slices.Equal(got, []string{"", "/x/bimambad --model /x/model.bimamba --config /x/bimambad.toml"}) {
		t.Errorf("ExecStart=%q", got)
	}
	v = parse(t, "version", Version(Params{}, "/x", false))
	if got := v["Service.ExecStart"]; len(v) != 2 || !slices.Equal(got, []string{"", "/x/bimambad --model /x/model.bimamba"}) {
		t.Errorf("%v", v)
	}
}

// TestSlotVerify lets systemd read all of it together.
func TestSlotVerify(t *testing.T) {
	p := defaultModel
	p.Exec = "/bin/true"
	service := install(t, p, false)
	dir := filepath.Dir(service)
	files := []string{service}
	for _, f := range SlotFiles() {
		path := filepath.Join(dir, strings.TrimPrefix(f.Path, "/etc/systemd/system/"))
		text := strings.ReplaceAll(f.Text, "/opt/bimamba/bin/bimamba", "/bin/true") // verify looks for the program
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(path) == dir {
			files = append(files, path)
		}
	}
	drop := filepath.Join(dir, "bimambad.service.d", filepath.Base(VersionPath))
	if err := os.WriteFile(drop, []byte(strings.ReplaceAll(Version(p, "/x", true), "/x/bimambad ", "/bin/true ")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, append([]string{"verify", "--man=no"}, files...)...); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("%v: %s", err, out)
	}
}
