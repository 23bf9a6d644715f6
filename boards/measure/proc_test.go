package measure

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"bimamba/memmap"
)

func TestMemory(t *testing.T) {
	p := process{root: fakeRoot}
	m := p.memory()
	if *m.PSS != 1000<<10 || *m.RSS != 2000<<10 || *m.Peak != 3000<<10 || *m.Cgroup != 5e6 || *m.CgroupPeak != 6e6 || m.Missing != "" {
		t.Errorf("%+v", m)
	}
	change := func(name, text string) *Memory {
		root := maps.Clone(fakeRoot)
		if delete(root, name); text != "" {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		p := process{root: root}
		return p.memory()
	}
	for _, c := range []struct{ name, text, want string }{
		{"proc/self/smaps_rollup", "", "PSS: /proc/self/smaps_rollup: file does not exist"},
		{"proc/self/smaps_rollup", "Pss: 10", ""},
		{"proc/self/smaps_rollup", "Rss: 10 kB\n", "there is no line Pss"},
		{"proc/self/smaps_rollup", "Pss: -10 kB\n", `"-10 kB" is no number of kB`},
		{"proc/self/smaps_rollup", "Pss: 9223372036854775807 kB\n", "is no number of kB"},
		{"proc/self/smaps_rollup", strings.Repeat("x", maxProc+1), "has more than"},
		{"proc/self/status", "VmHWM: 1 kB\n", "RSS: /proc/self/status: there is no line VmRSS"},
		{"sys/fs/cgroup/user.slice/memory.peak", "", "control group's peak: /sys/fs/cgroup/user.slice/memory.peak: file does not exist"},
		{"sys/fs/cgroup/user.slice/cgroup.procs", "", "control group: /sys/fs/cgroup/user.slice/cgroup.procs: file does not exist"},
		{"sys/fs/cgroup/user.slice/cgroup.procs", "1\n23\n", "control group: another process is in it, and its memory"},
		{"sys/fs/cgroup/user.slice/cgroup.procs", "0\n1\n23\n", "control group: 2 other processes are in it, and their memory"},
		{"sys/fs/cgroup/user.slice/below/cgroup.procs", "23\n", "control group: there are groups below it, and their memory is in it"},
		{"proc/self/cgroup", "3:cpu:/x\n", "control group: /proc/self/cgroup names no group"},
		{"proc/self/cgroup", "0::/../../etc\n", "control group: /proc/self/cgroup names no group"},
		{"sys/fs/cgroup/user.slice/memory.peak", "max\n", `control group's peak: /sys/fs/cgroup/user.slice/memory.peak: "max" is no number`},
	} {
		m := change(c.name, c.text)
		if c.want == "" && m.Missing != "" || !strings.Contains(m.Missing, c.want) {
			t.Errorf("%s: %.60q: %.300q, want %q", c.name, c.text, m.Missing, c.want)
		}
		if strings.HasPrefix(c.want, "control group: ") && (m.Cgroup != nil || m.CgroupPeak != nil) || strings.HasPrefix(c.want, "control group") && m.noPeak == "" {
			t.Errorf("%s: %+v", c.name, m)
		}
		if strings.HasPrefix(c.want, "PSS") && m.PSS != nil {
			t.Errorf("%s: PSS %d", c.name, *m.PSS)
		}
	}
	// Version 1 of control groups, as JetPack 4 has it; and a container, which sees its group as the root.
	root := maps.Clone(fakeRoot)
	root["proc/self/cgroup"] = &fstest.MapFile{Data: []byte("5:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/docker/abc\n")}
	root["sys/fs/cgroup/memory/memory.usage_in_bytes"] = &fstest.MapFile{Data: []byte("7\n")}
	root["sys/fs/cgroup/memory/memory.max_usage_in_bytes"] = &fstest.MapFile{Data: []byte("8\n")}
	root["sys/fs/cgroup/memory/cgroup.procs"] = &fstest.MapFile{Data: []byte("1\n")}
	p = process{root: root}
	if m := p.memory(); m.Cgroup == nil || *m.Cgroup != 7 || *m.CgroupPeak != 8 {
		t.Errorf("%+v", m)
	}
}

func TestFaults(t *testing.T) {
	root := maps.Clone(fakeRoot)
	root["proc/self/io"] = &fstest.MapFile{Data: []byte("rchar: 1\nread_bytes: 4096\n")}
	p := process{root: root}
	before, err := p.faults()
	if err != nil || before.Minor != 100 || before.Major != 7 || *before.Read != 4096 {
		t.Fatalf("%+v, %v", before, err)
	}
	root["proc/self/stat"] = &fstest.MapFile{Data: []byte("1 (x) R 1 1 1 0 -1 0 150 0 9 0 0\n")}
	root["proc/self/io"] = &fstest.MapFile{Data: []byte("read_bytes: 8192\n")}
	after, err := p.faults()
	if err != nil {
		t.Fatal(err)
	}
	if d := after.since(before); d.Minor != 50 || d.Major != 2 || *d.Read != 4096 {
		t.Errorf("%+v", d)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 (x) R 1 1 1", "1 (x) R 1 1 1 0 -1 0 x 0 9 0 0", "1 (x) R 1 1 1 0 -1 0 -1 0 9 0 0", ") )"} {
		root["proc/self/stat"] = &fstest.MapFile{Data: []byte(bad)}
		if f, err := p.faults(); err == nil {
			t.Errorf("%q: %+v", bad, f)
		}
	}
}

// TestOwn reads what the kernel says of this process.
func TestOwn(t *testing.T) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		t.Skip(err)
	}
	p := process{root: os.DirFS("/")}
	m := p.memory()
	if m.PSS == nil || m.RSS == nil || m.Peak == nil || *m.PSS > *m.RSS || *m.RSS > *m.Peak || *m.PSS < 1<<20 {
		t.Errorf("%+v", m)
	}
	if f, err := p.faults(); err != nil || f.Minor == 0 {
		t.Errorf("%+v, %v", f, err)
	}
}

// FuzzProc: whatever the files say, nothing is negative.
func FuzzProc(f *testing.F) {
	for _, name := range []string{"proc/self/smaps_rollup", "proc/self/status", "proc/self/cgroup", "proc/self/stat"} {
		f.Add(string(fakeRoot[name].Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		root := fstest.MapFS{}
		for _, name := range []string{"proc/self/smaps_rollup", "proc/self/status", "proc/self/cgroup", "proc/self/stat", "proc/self/io", "proc/cpuinfo"} {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		p := process{root: root}
		m := p.memory()
		for _, n := range []*int64{m.PSS, m.RSS, m.Peak, m.Cgroup, m.CgroupPeak} {
			if n != nil && *n < 0 {
				t.Errorf("%+v", m)
			}
		}
		if f, err := p.faults(); err == nil && (f.Major < 0 || f.Minor < 0) {
			t.Errorf("%+v", f)
		}
		machine(root, "", text)
	})
}

func TestMachine(t *testing.T) {
	file := func(name, text string) fs.FS { return fstest.MapFS{name: {Data: []byte(text)}} }
	for _, c := range []struct {
		name                 string
		root                 fs.FS
		emulated, hypervisor string
		want                 string
	}{
		{"a Raspberry Pi", file("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n"), "", "", Hardware},
		{"a PC", file("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2\n"), "", "", Hardware},
		{"QEMU's virt", fstest.MapFS{}, "its device tree says so", "", Emulator},
		{"QEMU's PC without KVM", file("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor\n"), "", "TCGTCGTCGTCG", Emulator},
		{"KVM", file("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor avx2\n"), "", "KVMKVMKVM\x00\x00\x00", Virtual},
		{"an arm64 machine of a cloud", file("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"), "", "", Virtual},
		{"KVM on a board", fstest.MapFS{"sys/firmware/devicetree/base/hypervisor/compatible": {Data: []byte("xen,xen\x00")}}, "", "", Virtual},
	} {
		if m := machine(c.root, c.emulated, c.hypervisor); m.Kind != c.want || (m.Evidence == "") != (m.Kind == Hardware) || strings.ContainsRune(m.Evidence, 0) {
			t.Errorf("%s: %+v, want %s", c.name, m, c.want)
		}
	}
}

// TestEvidence: the name of a hypervisor or of a machine is said once.
func TestEvidence(t *testing.T) {
	for _, c := range []struct{ hypervisor, vendor, product, want string }{
		{"bhyve bhyve ", "", "", "bhyve"}, {"bhyve bhyve", "", "", "bhyve"}, {"KVMKVMKVM\x00\x00\x00", "", "", "KVM"}, {"VMwareVMware", "", "", "VMware"},
		{"Microsoft Hv", "", "", "Microsoft Hv"}, {" lrpepyh  vr", "", "", "lrpepyh  vr"}, {"", "", "", "hypervisor"},
		{"", "QEMU\n", "QEMU Virtual Machine\n", "machine QEMU Virtual Machine"}, {"", "Amazon EC2\n", "a1.medium\n", "machine Amazon EC2 a1.medium"},
	} {
		root := fstest.MapFS{"sys/class/dmi/id/sys_vendor": {Data: []byte(c.vendor)}, "sys/class/dmi/id/product_name": {Data: []byte(c.product)}}
		if c.vendor == "" {
			root["proc/cpuinfo"] = &fstest.MapFile{Data: []byte("flags\t\t: fpu hypervisor\n")}
		}
		if m := machine(root, "", c.hypervisor); m.Kind != Virtual || !strings.HasSuffix(m.Evidence, " "+c.want) || strings.Count(m.Evidence, c.want) != 1 {
			t.Errorf("%q, %q, %q: %+v, want %s", c.hypervisor, c.vendor, c.product, m, c.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h, o histogram
	if h.times() != nil {
		t.Error("times of nothing")
	}
	for i := range 1000 {
		d := time.Duration(i+1) * time.Millisecond
		if i%2 == 0 {
			h.add(d)
		} else {
			o.add(d)
		}
	}
	h.merge(&o)
	x := h.times()
	near(t, "p50", x.P50, 500, 0.01)
	near(t, "p95", x.P95, 950, 0.01)
	if x.Count != 1000 || x.Max != 1000 {
		t.Errorf("%+v", x)
	}
	h = histogram{}
	h.add(0)
	h.add(24 * time.Hour)
	if x := h.times(); x.P50 > 0.0011 || x.Max != 86400e3 || x.P95 < 1e6 {
		t.Errorf("%+v", x)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   string
	}{{nil, "<nil>"}, {[]float64{5}, "&{5 5 5}"}, {[]float64{9, 2, 4}, "&{4 2 9}"}, {[]float64{8, 2, 4, 5}, "&{4.5 2 8}"}} {
		if got := fmt.Sprint(spread(c.values)); got != c.want {
			t.Errorf("%v: %s, want %s", c.values, got, c.want)
		}
	}
}

func TestPrompts(t *testing.T) {
	list, err := ReadPrompts(strings.NewReader("  a b \r\n\n c\n"))
	if err != nil || fmt.Sprintf("%q", list) != `["a b" "c"]` {
		t.Errorf("%q, %v", list, err)
	}
	for _, c := range []struct{ text, want string }{
		{"", "there is no prompt in it"}, {"\n \n", "there is no prompt in it"}, {"a\n\xff\n", "line 2 is not UTF-8"},
		{"a\n" + strings.Repeat("x", maxPrompt+1), "line 2 has more than"}, {strings.Repeat("a\n", maxPrompts+1), "line 10001: more than 10000 prompts"},
	} {
		if _, err := ReadPrompts(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v, want %q", c.text, err, c.want)
		}
	}
	for _, kind := range []memmap.Kind{memmap.KindIntent, memmap.KindBase} {
		if n := len(builtIn(kind)); n < 8 {
			t.Errorf("%s: %d prompts", kind, n)
		}
	}
}
