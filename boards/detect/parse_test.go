package detect

import (
	"slices"
	"strings"
	"testing"
)

func TestParseStrings(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string // nil: an error
	}{
		{"Raspberry Pi 4\x00", []string{"Raspberry Pi 4"}},
		{"a,b\x00c,d\x00", []string{"a,b", "c,d"}},
		{"", nil}, {"no end", nil}, {"\x00", nil}, {"a\x00\x00", nil}, {"a\nb\x00", nil}, {"\xff\x00", nil}, {strings.Repeat("a", maxStrings) + "\x00", nil},
	} {
		got, err := parseStrings([]byte(tt.in))
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%.20q: %q, %v", tt.in, got, err)
		}
	}
}

func TestParseCPUInfo(t *testing.T) {
	for _, tt := range []struct {
		in, want string
	}{
		{"processor : 0\nCPU implementer : 0x41\nCPU part : 0xd0b\nFeatures : fp asimd\n\nHardware : x\n", "Cortex-A76"},
		{"processor : 0\nCPU implementer : 0x41\nCPU part : 0xfff\n", "implementer 0x41 part 0xfff"},
		{"processor : 0\nmodel name : ARMv7\n", "ARMv7"},
		{"processor : 0\n", "unknown core"},
		{"processor : 0\n\nmodel name : of the board\n", "unknown core"},
		{"", ""}, {"model name : x\n", ""}, {"processor : x\n", ""}, {"processor : 5000\n", ""}, {"processor : -1\n", ""}, {"processor : 0\nprocessor : 0\n", ""}, {"processor : 0\nCPU part : 0x41d0b\n", ""},
		{"processor : 0\nno colon\n", ""},
	} {
		got, err := parseCPUInfo(tt.in)
		if err != nil {
			if tt.want != "" {
				t.Errorf("%.40q: %v", tt.in, err)
			}
			continue
		}
		if len(got) != 1 || got[0].name() != tt.want {
			t.Errorf("%.40q: %+v, want %q", tt.in, got, tt.want)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const ok = "27 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw\n28 27 0:3 / /mnt/a\\040b rw - tmpfs none rw\n29 27 8:1 / /mnt rw - ext4 /dev/sda1 rw\n"
	all, err := parseMounts(ok)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{{"/x", "/"}, {"/mnt", "/mnt"}, {"/mnt/a b/c", "/mnt/a b"}, {"/mntx", "/"}, {"/mnt/x", "/mnt"}} {
		if m, ok := mountOf(all, tt.path); !ok || m.point != tt.want {
			t.Errorf("%s lies on %s, want %s", tt.path, m.point, tt.want)
		}
	}
	for _, in := range []string{"", "27 1 179:2 / / rw\n", "27 1 179 / / rw - ext4 /dev/root rw\n", "27 1 -1:2 / / rw - ext4 /dev/root rw\n", "27 1 1:2 / x rw - ext4 /dev/root rw\n", strings.Repeat(ok, maxMounts/3+1)} {
		if _, err := parseMounts(in); err == nil {
			t.Errorf("%.40q passes", in)
		}
	}
}

func TestParseCPUList(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // 0: an error
	}{{"0", 1}, {"0-3", 4}, {"0-1,4,6-7", 5}, {"", 0}, {"3-1", 0}, {"0-99999", 0}, {"-1", 0}, {"0-4095", 4096}, {"0-4095,0", 0}, {"0-5000", 0}, {"a", 0}, {"0,", 0}} {
		if got, err := parseCPUList(tt.in); got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("%q: %d, %v", tt.in, got, err)
		}
	}
}

func TestParseSizes(t *testing.T) {
	m, err := parseMemInfo("MemTotal:  100 kB\nHugePages_Total:  3\nMemAvailable: 50 kB")
	if err != nil || m["MemTotal"] != 100<<10 || m["MemAvailable"] != 50<<10 || len(m) != 2 {
		t.Errorf("%v, %v", m, err)
	}
	for _, in := range []string{"", "MemTotal", "MemTotal: kB", "MemTotal: -1 kB", "MemTotal: 99999999999999999999 kB", "MemTotal: 1 MB", "MemTotal: 1 kB kB"} {
		if _, err := parseMemInfo(in); err == nil {
			t.Errorf("%q passes", in)
		}
	}
	s, err := parseSwaps("Filename Type Size Used Priority\n/var/my\\040swap file 100 5 -2\n")
	if err != nil || len(s) != 1 || s[0] != (Swap{"/var/my swap", "file", 100 << 10, 5 << 10}) {
		t.Errorf("%v, %v", s, err)
	}
	for _, in := range []string{"Filename\n/var/swap file\n", "Filename\n/var/swap file x 0 0\n", "Filename\nvar file 1 0 0\n"} {
		if _, err := parseSwaps(in); err == nil {
			t.Errorf("%q passes", in)
		}
	}
}

func FuzzParseCPUInfo(f *testing.F) {
	for _, name := range []string{"pi-zero-2w", "arm64", "x86", "qemu-pi-3"} {
		f.Add(string(board(f, name)["proc/cpuinfo"].Data))
	}
	f.Add("processor : 0\nCPU part : 0xfff\nFeatures :\n")
	f.Fuzz(func(t *testing.T, s string) {
		all, err := parseCPUInfo(s)
		if (err == nil) != (len(all) > 0) {
			t.Errorf("%d processors, %v", len(all), err)
		}
		for _, p := range all {
			if p.number < 0 || p.number >= maxCPUs || p.name() == "" || p.part > 0xfff || p.implementer > 0xff {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzParseStrings(f *testing.F) {
	f.Add([]byte("raspberrypi,4-model-b\x00brcm,bcm2711\x00"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseStrings(b)
		if err == nil && strings.Join(list, "\x00")+"\x00" != string(b) {
			t.Errorf("%q became %q", b, list)
		}
		lookup(string(b), list)
	})
}

func FuzzParseMounts(f *testing.F) {
	f.Add(string(board(f, "pi-5")["proc/self/mountinfo"].Data), "/a/b")
	f.Add(string(board(f, "qemu-pi-3")["proc/self/mountinfo"].Data), "/boot/firmware/x")
	f.Add("1 1 1:1 / /a\\040\\ rw - x y\n", "/")
	f.Fuzz(func(t *testing.T, s, path string) {
		all, err := parseMounts(s)
		if (err == nil) != (len(all) > 0) {
			t.Errorf("%d mounts, %v", len(all), err)
		}
		if m, ok := mountOf(all, path); ok && m.point != "/" && !strings.HasPrefix(path, m.point) {
			t.Errorf("%q lies on %q", path, m.point)
		}
	})
}

func FuzzParseSizes(f *testing.F) {
	f.Add("MemTotal: 100 kB", "Filename\n/var/swap file 100 5 -2\n", "0-3,5")
	f.Fuzz(func(t *testing.T, mem, swaps, list string) {
		sizes, _ := parseMemInfo(mem)
		for k, n := range sizes {
			if n < 0 {
				t.Errorf("%q is %d", k, n)
			}
		}
		all, _ := parseSwaps(swaps)
		for _, s := range all {
			if s.Size < 0 || s.Used < 0 || s.Name == "" {
				t.Errorf("%+v", s)
			}
		}
		if n, err := parseCPUList(list); n < 0 || n > maxCPUs || (err == nil) != (n > 0) {
			t.Errorf("%q: %d, %v", list, n, err)
		}
	})
}
