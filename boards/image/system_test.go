package image

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tool finds a program of the system's administrator.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	t.Skipf("%s is not here (Debian package %s)", name, pkg)
	return ""
}

func run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

const arm64Program = "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\xb7\x00"

// debian is the least that a system has.
func debian() map[string]string {
	return map[string]string{
		"etc/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
		"etc/fstab":      "# a comment\n\nLABEL=bootfs /boot/firmware vfat defaults 0 2\n",
		"usr/bin/dpkg":   arm64Program,
		"usr/lib/systemd/system-generators/systemd-run-generator": "x",
	}
}

// root makes an ext4 of files, as Raspberry Pi OS's is made.
func root(t testing.TB, files map[string]string, kib int) []byte {
	t.Helper()
	mke2fs := tool(t, "mke2fs", "e2fsprogs")
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "root")
	run(t, "", mke2fs, "-q", "-F", "-t", "ext4", "-O", "^64bit,^huge_file", "-d", dir, out, fmt.Sprintf("%dk", kib))
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSystems tells systems apart by what is in them.
func TestSystems(t *testing.T) {
	const seed, piSeed = "etc/cloud/cloud.cfg.d/99-fake.cfg", "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg"
	old := map[string]string{"usr/lib/raspberrypi-sys-mods/init_config": "x", "usr/lib/modules/6.1.0-rpi7-rpi-v8/x": ""}
	for name, c := range map[string]struct {
		files    map[string]string
		cmdline  string
		bare     bool // no files of cloud-init in the boot partition
		formats  string
		firmware string
		pi       bool
		err      string
	}{
		"Debian":          {bare: true, formats: "firstrun.sh"},
		"bookworm":        {files: old, cmdline: "root=x " + oldFirstboot, bare: true, formats: "firstrun.sh, custom.toml", pi: true},
		"started before":  {files: old, bare: true, formats: "firstrun.sh", pi: true},
		"bullseye":        {files: map[string]string{"etc/fstab": "PARTUUID=1-01  /boot  vfat  defaults  0 2\n"}, bare: true, formats: "firstrun.sh", firmware: "/boot"},
		"trixie":          {files: map[string]string{"usr/bin/cloud-init": "x", piSeed: "datasource:\n  NoCloud:\n    seedfrom: file:///boot/firmware/\n"}, formats: "cloud-init, firstrun.sh"},
		"Ubuntu":          {files: map[string]string{"etc/os-release": "ID=ubuntu\nID_LIKE=debian\n", "usr/bin/cloud-init": "x", seed: "  fs_label: BOOTFS\n", "usr/lib/modules/6.8.0-1010-raspi/x": ""}, formats: "cloud-init, firstrun.sh", pi: true},
		"not made for it": {files: map[string]string{"usr/bin/cloud-init": "x", seed: "# fs_label: bootfs\n"}, bare: true, formats: "firstrun.sh, cloud-init"},
		"switched off":    {files: map[string]string{"usr/bin/cloud-init": "x", "etc/cloud/cloud-init.disabled": ""}, formats: "firstrun.sh"},
		"rpi-preseed":     {files: map[string]string{"usr/bin/rpi-preseed": "x"}, bare: true, formats: "rpi-preseed, firstrun.sh"},
		"32 bits":         {files: map[string]string{"usr/bin/dpkg": strings.Replace(arm64Program, "\xb7", "\x28", 1), "usr/lib/modules/6.12.47+rpt-rpi-v8/x": ""}, bare: true, formats: "firstrun.sh", pi: true},
		"nothing known":   {files: map[string]string{"usr/lib/systemd/system-generators/systemd-run-generator": ""}, bare: true, err: "has no first boot that is known here"},
		"no program":      {files: map[string]string{"usr/bin/dpkg": "#!/bin/sh\n# a script of some length"}, err: "is no program"},
		"empty fstab":     {files: map[string]string{"etc/fstab": ""}, err: "mounts no vfat partition"},
	} {
		t.Run(name, func(t *testing.T) {
			files := debian()
			maps.Copy(files, c.files)
			if name == "nothing known" {
				delete(files, "usr/lib/systemd/system-generators/systemd-run-generator")
			}
			base := baseImage(t)
			b, err := os.ReadFile(base)
			if err != nil {
				t.Fatal(err)
			}
			copy(b[rootStart:], root(t, files, 2000))
			if err := os.WriteFile(base, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.cmdline == "" {
				c.cmdline = "root=x"
			}
			changes := []change{text("cmdline.txt", c.cmdline)}
			if c.bare {
				for _, name := range []string{"user-data", "meta-data", "network-config"} {
					changes = append(changes, change{Path: name, Remove: true})
				}
			}
			apply(t, base, changes...)
			f, err := os.Open(base)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s, err := inspect(readOnly{f}, baseSize)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("inspect gave %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.firmware == "" {
				c.firmware = "/boot/firmware"
			}
			if got := formatList(s.Formats); got != c.formats || s.Firmware != c.firmware || s.PiKernel != c.pi {
				t.Errorf("%s, %s, Pi's kernel: %t", got, s.Firmware, s.PiKernel)
			}
			set := settings()
			set.WiFi = &WiFi{"net", "password", "DE"}
			_, err = s.prepare(Firstrun, &set, strings.Repeat("0", 32), nil)
			if err == nil || !strings.Contains(err.Error(), "has no NetworkManager") {
				t.Errorf("a Wi-Fi without NetworkManager gave %v", err)
			}
			set.WiFi = nil
			p, err := s.prepare(CloudInit, &set, strings.Repeat("0", 32), nil)
			if err != nil {
				t.Fatal(err)
			}
			where := strings.Contains(p.cmdline, ` cc:{"datasource":{"NoCloud":{"fs_label":"`+s.label+`"}}}end_cc`)
			if where == (name == "trixie" || name == "Ubuntu") {
				t.Errorf("cloud-init is told where its files are: %s", p.cmdline)
			}
		})
	}
}

// TestDisks builds images with each kind of partition table and of FAT, and has fsck look at both file systems.
func TestDisks(t *testing.T) {
	sfdisk, mkfs, fsck, e2fsck := tool(t, "sfdisk", "fdisk"), tool(t, "mkfs.fat", "dosfstools"), tool(t, "fsck.fat", "dosfstools"), tool(t, "e2fsck", "e2fsprogs")
	ext4 := root(t, debian(), 8<<10)
	for _, label := range []string{"dos", "gpt"} {
		for bits, mib := range map[string]int{"16": 20, "32": 40} {
			t.Run(label+", FAT"+bits, func(t *testing.T) {
				o := options(t)
				o.Base = filepath.Join(t.TempDir(), "base.img")
				boot := filepath.Join(t.TempDir(), "boot")
				for path, size := range map[string]int{o.Base: mib + 10, boot: mib} {
					if err := os.WriteFile(path, nil, 0o644); err != nil {
						t.Fatal(err)
					}
					if err := os.Truncate(path, int64(size)<<20); err != nil {
						t.Fatal(err)
					}
				}
				kind := map[string]string{"dos": "c", "gpt": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"}[label]
				run(t, fmt.Sprintf("label: %s\nstart=2048, size=%d, type=%s\nstart=%d, size=16384\n", label, mib<<11, kind, 2048+mib<<11), sfdisk, "-q", o.Base)
				run(t, "", mkfs, "-F", bits, "-s", "1", boot)
				fatBytes, err := os.ReadFile(boot)
				if err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(o.Base)
				if err != nil {
					t.Fatal(err)
				}
				rootAt := (1 + mib) << 20
				copy(b[1<<20:], fatBytes)
				copy(b[rootAt:], ext4)
				if err := os.WriteFile(o.Base, b, 0o644); err != nil {
					t.Fatal(err)
				}
				// The boot partition is known by its cmdline.txt, which is not there yet.
				applyAt(t, o.Base, 1<<20, int64(mib)<<20, text("cmdline.txt", "root=x\n"))
				rep, err := Build(context.Background(), o)
				if err != nil {
					t.Fatal(err)
				}
				if rep.Format != Firstrun || rep.Cgroup {
					t.Errorf("%+v", rep)
				}
				out, err := os.ReadFile(o.Out)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(out[rootAt:rootAt+len(ext4)], ext4) || !bytes.Equal(out[:1<<20], b[:1<<20]) {
					t.Error("more than the boot partition was changed")
				}
				for path, part := range map[string][]byte{"boot": out[1<<20 : rootAt], "root": out[rootAt : rootAt+len(ext4)]} {
					if err := os.WriteFile(filepath.Join(filepath.Dir(boot), path), part, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if said := run(t, "", fsck, "-n", boot); strings.Count(said, "\n") != 2 {
					t.Errorf("fsck.fat: %s", said)
				}
				run(t, "", e2fsck, "-fn", filepath.Join(filepath.Dir(boot), "root"))
			})
		}
	}
}
