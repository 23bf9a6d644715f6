package detect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CoreType is the cores of one kind.
type CoreType struct {
	Name     string `json:"name"`                // Cortex-A76, or what the CPU calls itself
	Count    int    `json:"count"`               // that are on
	CPUs     []int  `json:"cpus"`                // their numbers
	MaxMHz   int    `json:"max_mhz,omitempty"`   // the highest clock that the hardware is set up for
	LimitMHz int    `json:"limit_mhz,omitempty"` // the highest that the system allows at present
	Governor string `json:"governor,omitempty"`  // how the clock is chosen
	Driver   string `json:"driver,omitempty"`    // of the clock
	Capacity int    `json:"capacity,omitempty"`  // relative speed, 1024 for the fastest
}

func (c CoreType) String() string {
	s := fmt.Sprintf("%d x %s", c.Count, c.Name)
	if c.MaxMHz > 0 {
		s += fmt.Sprintf(" at %d MHz", c.MaxMHz)
	}
	return s
}

const (
	maxCPUs = 4096
	maxMHz  = 20000
)

// processor is a block of /proc/cpuinfo.
type processor struct {
	number            int
	implementer, part uint64 // of ARM's MIDR, 0 if absent
	model             string
	features          []string
}

// parseCPUInfo reads /proc/cpuinfo: a block of "key : value" for each processor, and on some kernels one for the board.
func parseCPUInfo(text string) ([]processor, error) {
	var cpus []processor
	seen := map[int]bool{}
	inCPU := false
	for i, line := range strings.Split(text, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			if strings.TrimSpace(line) == "" {
				inCPU = false
				continue
			}
			return nil, fmt.Errorf("line %d has no colon", i+1)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if key == "processor" {
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n >= maxCPUs || seen[n] {
				return nil, fmt.Errorf("line %d: processor %.20q is no number below %d, or there twice", i+1, value, maxCPUs)
			}
			seen[n] = true
			cpus, inCPU = append(cpus, processor{number: n}), true
			continue
		}
		if !inCPU {
			continue
		}
		c, err := &cpus[len(cpus)-1], error(nil)
		switch key {
		case "CPU implementer":
			c.implementer, err = strconv.ParseUint(value, 0, 8)
		case "CPU part":
			c.part, err = strconv.ParseUint(value, 0, 12)
		case "model name":
			if len(value) <= 200 {
				c.model = value
			}
		case "Features", "flags":
			c.features = strings.Fields(value)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %s %.20q is no number of its size", i+1, key, value)
		}
	}
	if len(cpus) == 0 {
		return nil, errors.New("there is no processor in it")
	}
	return cpus, nil
}

// parts names cores by implementer and part. Source: arch/arm64/include/asm/cputype.h of Linux.
var parts = map[[2]uint64]string{
	{0x41, 0xc07}: "Cortex-A7", {0x41, 0xd03}: "Cortex-A53", {0x41, 0xd04}: "Cortex-A35", {0x41, 0xd05}: "Cortex-A55", {0x41, 0xd07}: "Cortex-A57",
	{0x41, 0xd08}: "Cortex-A72", {0x41, 0xd09}: "Cortex-A73", {0x41, 0xd0a}: "Cortex-A75", {0x41, 0xd0b}: "Cortex-A76", {0x41, 0xd0c}: "Neoverse N1",
	{0x41, 0xd0d}: "Cortex-A77", {0x41, 0xd40}: "Neoverse V1", {0x41, 0xd41}: "Cortex-A78", {0x41, 0xd42}: "Cortex-A78AE", {0x41, 0xd44}: "Cortex-X1",
	{0x41, 0xd46}: "Cortex-A510", {0x41, 0xd47}: "Cortex-A710", {0x41, 0xd48}: "Cortex-X2", {0x41, 0xd49}: "Neoverse N2", {0x41, 0xd4b}: "Cortex-A78C",
	{0x41, 0xd4d}: "Cortex-A715", {0x41, 0xd4e}: "Cortex-X3", {0x41, 0xd4f}: "Neoverse V2", {0x41, 0xd80}: "Cortex-A520", {0x41, 0xd81}: "Cortex-A720",
	{0x4e, 0x000}: "NVIDIA Denver", {0x4e, 0x003}: "NVIDIA Denver 2", {0x4e, 0x004}: "NVIDIA Carmel", {0xc0, 0xac3}: "Ampere-1",
}

func (c *processor) name() string {
	if n, ok := parts[[2]uint64{c.implementer, c.part}]; ok {
		return n
	}
	if c.implementer != 0 {
		return fmt.Sprintf("implementer %#02x part %#03x", c.implementer, c.part)
	}
	if c.model != "" {
		return c.model
	}
	return "unknown core"
}

// wanted is the features that kernels of this kind use, now or at their authors' next thought.
var wanted = map[string]bool{
	"asimd": true, "neon": true, "fphp": true, "asimdhp": true, "asimddp": true, "i8mm": true, "bf16": true, "sve": true, "sve2": true,
	"avx2": true, "f16c": true, "fma": true, "avx_vnni": true, "avx512f": true, "avx512bw": true, "avx512dq": true, "avx512vl": true, "avx512_vnni": true, "avx512_bf16": true,
}

// parseCPUList counts the numbers of a list such as 0-3,6.
func parseCPUList(s string) (int, error) {
	n := 0
	for part := range strings.SplitSeq(s, ",") {
		first, last, ok := strings.Cut(part, "-")
		lo, err := strconv.ParseUint(first, 10, 16)
		hi := lo
		if err == nil && ok {
			hi, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil || hi < lo || hi >= maxCPUs {
			return 0, fmt.Errorf("%.40q is no list of processors", s)
		}
		if n += int(hi - lo + 1); n > maxCPUs {
			return 0, fmt.Errorf("%.40q is no list of processors", s)
		}
	}
	return n, nil
}

// cpus reads cores and features.
func (r *reader) cpus(b *Board) {
	for _, l := range []struct {
		name string
		n    *int
	}{{"present", &b.Present}, {"online", &b.Online}} {
		s, err := r.word("sys/devices/system/cpu/" + l.name)
		if err == nil {
			*l.n, err = parseCPUList(s)
		}
		if err != nil {
			r.miss("cores "+l.name, err)
		}
	}
	var cpus []processor
	text, err := r.text("proc/cpuinfo")
	if err == nil {
		if cpus, err = parseCPUInfo(text); err != nil {
			err = fmt.Errorf("/proc/cpuinfo: %w", err)
		}
	}
	if err != nil {
		r.miss("cores", err)
		return
	}
	for _, f := range cpus[0].features {
		if wanted[f] && !slices.Contains(b.Features, f) {
			b.Features = append(b.Features, f)
		}
	}
	for i := range cpus {
		t := r.core(&cpus[i])
		j := slices.IndexFunc(b.Cores, func(o CoreType) bool {
			return o.Name == t.Name && o.MaxMHz == t.MaxMHz && o.LimitMHz == t.LimitMHz && o.Governor == t.Governor && o.Capacity == t.Capacity
		})
		if j < 0 {
			b.Cores = append(b.Cores, t)
			continue
		}
		b.Cores[j].Count++
		b.Cores[j].CPUs = append(b.Cores[j].CPUs, cpus[i].number)
	}
	slices.SortStableFunc(b.Cores, func(x, y CoreType) int {
		return cmp.Or(cmp.Compare(x.Capacity, y.Capacity), cmp.Compare(x.MaxMHz, y.MaxMHz))
	})
	if b.Cores[0].MaxMHz == 0 {
		r.miss("clock", errors.New("/sys/devices/system/cpu: the kernel has no control of the clock (cpufreq)"))
	}
}

// core is a core with what the kernel says about its clock.
func (r *reader) core(c *processor) CoreType {
	dir := "sys/devices/system/cpu/cpu" + strconv.Itoa(c.number)
	t := CoreType{Name: c.name(), Count: 1, CPUs: []int{c.number}}
	for _, f := range []struct {
		name  string
		n     *int
		scale int64
		hi    int64
	}{{"/cpufreq/cpuinfo_max_freq", &t.MaxMHz, 1000, maxMHz * 1000}, {"/cpufreq/scaling_max_freq", &t.LimitMHz, 1000, maxMHz * 1000}, {"/cpu_capacity", &t.Capacity, 1, 1 << 20}} {
		if n, err := r.number(dir+f.name, 1, f.hi); err == nil {
			*f.n = int((n + f.scale/2) / f.scale)
		}
	}
	if s, err := r.word(dir + "/cpufreq/scaling_governor"); err == nil {
		t.Governor = s
	}
	if s, err := r.word(dir + "/cpufreq/scaling_driver"); err == nil {
		t.Driver = s
	}
	return t
}
