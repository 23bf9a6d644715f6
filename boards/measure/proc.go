package measure

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// process reads what the kernel accounts to this process, from files below root: os.DirFS("/") (proc(5), cgroups(7)).
type process struct {
	root   fs.FS
	forget func() // makes the kernel forget the peak of the resident set; nil where that cannot be
}

// maxProc is more bytes than any of these files has.
const maxProc = 64 << 10

func (p *process) text(name string) (string, error) {
	f, err := p.root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProc+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxProc {
		return "", fmt.Errorf("/%s has more than %d bytes", name, maxProc)
	}
	return string(b), nil
}

// field is a line "Key:   123 kB" of a file, in bytes.
func field(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, key+":")
		if !ok {
			continue
		}
		number, kB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 || kB && n > 1<<50 {
			return 0, fmt.Errorf("%s: %.40q is no number of kB", key, strings.TrimSpace(value))
		}
		if kB {
			n <<= 10
		}
		return n, nil
	}
	return 0, fmt.Errorf("there is no line %s", key)
}

// Memory is what the process has in RAM. A part that could not be read is null, and Missing says why.
type Memory struct {
	PSS        *int64 `json:"pss_bytes"`         // its pages, shared ones by their share
	RSS        *int64 `json:"rss_bytes"`         // its pages, shared ones in full
	Peak       *int64 `json:"peak_rss_bytes"`    // the most since the phase began, or since the process did where the kernel does not forget
	Cgroup     *int64 `json:"cgroup_bytes"`      // charged to the process's control group if nothing else is in it, the page cache that it was the first to read included
	CgroupPeak *int64 `json:"cgroup_peak_bytes"` // the most since the group was made
	Missing    string `json:"missing,omitempty"`

	noPeak string // while it is measured: why CgroupPeak is null
}

// memory reads all parts of Memory.
func (p *process) memory() *Memory {
	m := &Memory{}
	var missing []string
	set := func(to **int64, what string, n int64, err error) {
		if err != nil {
			missing = append(missing, what+": "+plain(err))
			return
		}
		*to = &n
	}
	n, err := p.field("proc/self/smaps_rollup", "Pss")
	set(&m.PSS, "PSS", n, err)
	n, err = p.field("proc/self/status", "VmRSS")
	set(&m.RSS, "RSS", n, err)
	n, err = p.field("proc/self/status", "VmHWM")
	set(&m.Peak, "peak", n, err)
	now, peak, err := p.cgroup()
	if err == nil {
		err = p.alone(path.Dir(now))
	}
	if err != nil {
		set(nil, "control group", 0, err)
	} else {
		n, err = p.number(now)
		set(&m.Cgroup, "control group", n, err)
		n, err = p.number(peak)
		set(&m.CgroupPeak, "control group's peak", n, err)
	}
	if err != nil {
		m.noPeak = plain(err)
	}
	m.Missing = strings.Join(missing, "; ")
	return m
}

func (p *process) field(name, key string) (int64, error) {
	text, err := p.text(name)
	if err != nil {
		return 0, err
	}
	n, err := field(text, key)
	if err != nil {
		return 0, fmt.Errorf("/%s: %w", name, err)
	}
	return n, nil
}

func (p *process) number(name string) (int64, error) {
	text, err := p.text(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("/%s: %.40q is no number of bytes", name, strings.TrimSpace(text))
	}
	return n, nil
}

// cgroup is the files of the memory of the process's control group: of version 2, or of version 1 if that has the memory.
func (p *process) cgroup() (now, peak string, err error) {
	text, err := p.text("proc/self/cgroup")
	if err != nil {
		return "", "", err
	}
	err = errors.New("/proc/self/cgroup names no group that accounts memory")
	for line := range strings.Lines(text) {
		id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, group, ok := strings.Cut(rest, ":")
		var dir, a, b string
		switch {
		case !ok:
			continue
		case id == "0" && controllers == "":
			dir, a, b = "sys/fs/cgroup", "memory.current", "memory.peak"
		case controllers == "memory":
			dir, a, b = "sys/fs/cgroup/memory", "memory.usage_in_bytes", "memory.max_usage_in_bytes"
		default:
			continue
		}
		// A container may see its own group as the root, but be told of it by the host's name.
		for _, g := range []string{group, "/"} {
			file := path.Join(dir, g, a)
			if !fs.ValidPath(file) {
				continue
			}
			if _, e := fs.Stat(p.root, file); e == nil {
				return file, path.Join(dir, g, b), nil
			}
		}
	}
	return "", "", err
}

// alone is an error if the control group in a folder has memory of others: of processes in it, or in groups below it.
func (p *process) alone(dir string) error {
	stat, err := p.text("proc/self/stat")
	if err != nil {
		return err
	}
	self, _, _ := strings.Cut(stat, " ")
	procs, err := p.text(path.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	others := 0
	for id := range strings.FieldsSeq(procs) {
		if id != self {
			others++
		}
	}
	switch {
	case others == 1:
		return errors.New("another process is in it, and its memory")
	case others > 1:
		return fmt.Errorf("%d other processes are in it, and their memory", others)
	}
	list, err := fs.ReadDir(p.root, dir)
	if err == nil && slices.ContainsFunc(list, fs.DirEntry.IsDir) {
		err = errors.New("there are groups below it, and their memory is in it")
	}
	return err
}

// Faults counts page faults of a phase, and what it had read from storage.
type Faults struct {
	Major int64  `json:"major"`      // that waited for storage
	Minor int64  `json:"minor"`      // that found the page in memory
	Read  *int64 `json:"read_bytes"` // fetched from storage, reading ahead included; null if the kernel does not count it
}

// faults reads what was counted since the process began.
func (p *process) faults() (*Faults, error) {
	text, err := p.text("proc/self/stat")
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(text[min(len(text), strings.LastIndexByte(text, ')')+1):], " ") // behind the name, which may hold anything
	f := strings.Fields(rest)
	if !ok || len(f) < 10 {
		return nil, errors.New("/proc/self/stat is cut off")
	}
	minor, err1 := strconv.ParseInt(f[7], 10, 64)
	major, err2 := strconv.ParseInt(f[9], 10, 64)
	if errors.Join(err1, err2) != nil || minor < 0 || major < 0 {
		return nil, fmt.Errorf("/proc/self/stat: %.20q and %.20q are no numbers of page faults", f[7], f[9])
	}
	out := &Faults{Major: major, Minor: minor}
	if n, err := p.field("proc/self/io", "read_bytes"); err == nil {
		out.Read = &n
	}
	return out, nil
}

// since is what was counted after before.
func (f *Faults) since(before *Faults) *Faults {
	out := &Faults{Major: f.Major - before.Major, Minor: f.Minor - before.Minor}
	if f.Read != nil && before.Read != nil {
		n := *f.Read - *before.Read
		out.Read = &n
	}
	return out
}

// plain is an error with the path of a file as people know it.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return "/" + p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

// Kinds of machines.
const (
	Hardware = "hardware"
	Virtual  = "virtual machine"
	Emulator = "emulator"
)

// Machine says what the measurement ran on.
type Machine struct {
	Kind     string `json:"kind"`               // hardware, virtual machine or emulator
	Evidence string `json:"evidence,omitempty"` // of a machine that is no hardware
}

// hypervisors is parts of the names that firmware gives to virtual machines.
var hypervisors = []string{"QEMU", "KVM", "Virtual", "VMware", "Xen", "Amazon EC2", "Google Compute Engine", "Hetzner", "OpenStack"}

// machine tells a board from a machine that only looks like one. emulated is what package detect says, hypervisor what the CPU says of its own; "" if nothing.
func machine(root fs.FS, emulated, hypervisor string) Machine {
	if emulated == "" && strings.HasPrefix(hypervisor, "TCG") {
		emulated = "the CPU says that QEMU's TCG translates for it"
	}
	if emulated != "" {
		return Machine{Emulator, emulated}
	}
	p := process{root: root}
	cpu, _ := p.text("proc/cpuinfo")
	for line := range strings.Lines(cpu) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "flags" && slices.Contains(strings.Fields(value), "hypervisor") {
			return Machine{Virtual, strings.TrimSpace("the CPU says that it is below a hypervisor " + once(hypervisor))}
		}
	}
	vendor, _ := p.text("sys/class/dmi/id/sys_vendor")
	product, _ := p.text("sys/class/dmi/id/product_name")
	vendor, product = strings.TrimSpace(vendor), strings.TrimSpace(product)
	name := printable(product)
	if !strings.HasPrefix(product, vendor) {
		name = printable(strings.TrimSpace(vendor + " " + product))
	}
	if slices.ContainsFunc(hypervisors, func(h string) bool { return strings.Contains(name, h) }) {
		return Machine{Virtual, "the firmware calls the machine " + name}
	}
	if _, err := fs.Stat(root, "sys/firmware/devicetree/base/hypervisor"); err == nil {
		return Machine{Virtual, "the device tree has a hypervisor"}
	}
	return Machine{Kind: Hardware}
}

// once is the name of a hypervisor, which repeats it to fill the 12 bytes that CPUID has for it: "bhyve bhyve ", "KVMKVMKVM".
func once(name string) string {
	name = strings.TrimSpace(printable(name))
	for _, s := range []string{name, name + " "} {
		for n := 2; n <= len(s)/2; n++ {
			if strings.Repeat(s[:n], len(s)/n) == s {
				return strings.TrimSpace(s[:n])
			}
		}
	}
	return name
}

// printable is the printable part of a text from elsewhere.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}
