package detect

import (
	"fmt"
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// Severities. An error keeps a model from running, or its answers from being right; a warning costs speed or safety; a note is for knowing.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is something about a board that its owner should know.
type Finding struct {
	ID       string   `json:"id"` // a name that stays
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Why      string   `json:"why"`            // it matters
	Mend     string   `json:"mend,omitempty"` // the command, or what to do
}

// Need is what a model asks of a board.
type Need struct {
	File     string `json:"file"`
	Bytes    int64  `json:"file_bytes"`     // of the file, which is mapped
	Resident int64  `json:"resident_bytes"` // in memory when it is served
}

// Examine looks for what keeps the board from running models well. k and need may be nil. The worst comes first.
func Examine(b *Board, k *Kernels, need *Need) []Finding {
	e := &examiner{b: b, all: []Finding{}}
	e.emulated()
	e.kernels(k)
	e.throttling()
	e.memory(need)
	e.cgroup()
	e.bits()
	e.cores()
	e.storage(need)
	e.swap()
	e.devices()
	e.pages()
	order := []Severity{Error, Warning, Note}
	slices.SortStableFunc(e.all, func(x, y Finding) int { return slices.Index(order, x.Severity) - slices.Index(order, y.Severity) })
	return e.all
}

type examiner struct {
	b   *Board
	all []Finding
}

func (e *examiner) add(s Severity, id, what, why, mend string) {
	e.all = append(e.all, Finding{id, s, what, why, mend})
}

func (e *examiner) emulated() {
	if s := e.b.Emulated; s != "" {
		e.add(Note, "emulated", "this board is emulated: "+s, "its speed, power and temperature say nothing about a real board; do not publish them", "")
	}
}

func (e *examiner) kernels(k *Kernels) {
	if k == nil {
		return
	}
	if k.Error != "" {
		e.add(Error, "kernel-not-here", k.Error, "no model opens", "unset BIMAMBA_KERNEL")
	} else if fastest := k.Sets[len(k.Sets)-1]; k.InUse != fastest {
		e.add(Warning, "kernel-forced", fmt.Sprintf("BIMAMBA_KERNEL=%s keeps the kernels %s from being used", k.Forced, fastest), "the results are the same, only slower", "unset BIMAMBA_KERNEL")
	}
	if len(k.Sets) == 1 {
		const why = "the portable kernels give the same results, many times slower"
		switch b := e.b; {
		case b.Arch == "aarch64", b.Arch == "x86_64" && slices.Contains(b.Features, "avx2"):
			e.add(Warning, "program-portable", "this program was built without the kernels that this CPU can run", why, "take the build for this system ("+b.Arch+", 64 bits)")
		case b.Arch == "x86_64":
			e.add(Note, "cpu-portable", "this CPU has no AVX2", why, "")
		}
	}
	if len(k.Faults) == 0 {
		return
	}
	f := k.Faults[0]
	what := fmt.Sprintf("kernel %s of the set %s computes something else than it should", f.Name, f.Kernels)
	if f.CPU >= 0 {
		what += fmt.Sprintf(" on CPU %d", f.CPU)
	}
	if n := len(k.Faults) - 1; n > 0 {
		what += fmt.Sprintf(", and %d more do so", n)
	}
	mend := "set the clock and the voltage back to what the maker ships, cool the board, replace its power supply; then install this program anew"
	if f.Kernels != "portable" && !slices.ContainsFunc(k.Faults, func(f Fault) bool { return f.Kernels == "portable" }) {
		mend += "; BIMAMBA_KERNEL=portable helps until then"
	}
	e.add(Error, "self-test", what, "answers are wrong: the CPU is overclocked, starved of power or broken, or this program's file is damaged", mend)
}

func (e *examiner) throttling() {
	t := e.b.Throttle
	if t == nil {
		return
	}
	const why = "the firmware lowers the clock, and memory or the SD card may be corrupted"
	const mend = "use the board's own power supply and a short cable, and take other loads off its USB ports"
	switch {
	case t.Bits&UnderVoltage != 0:
		e.add(Error, "under-voltage", "the supply voltage is too low now", why, mend)
	case t.Bits>>16&UnderVoltage != 0:
		e.add(Warning, "under-voltage-before", "the supply voltage was too low at some time since boot", why, mend)
	}
	const heat = "tokens come slower than they could, and measurements cannot be compared"
	switch slow := FrequencyCapped | Throttled | SoftTempLimit; {
	case t.Bits&slow != 0:
		e.add(Warning, "throttled", "the firmware slows the CPU down now: "+strings.Join((t.Bits&slow).names(), ", "), heat, "cool the board: a heat sink or a fan")
	case t.Bits>>16&slow != 0:
		e.add(Note, "throttled-before", "the firmware has slowed the CPU down since boot: "+strings.Join((t.Bits>>16&slow).names(), ", "), heat, "cool the board: a heat sink or a fan")
	}
}

// mib writes bytes in MiB.
func mib(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }

func (e *examiner) memory(need *Need) {
	m := e.b.Memory
	if need == nil || m.Total == 0 {
		return
	}
	mend := fmt.Sprintf("bimamba plan %s shows what would fit", need.File)
	switch {
	case need.Resident > m.Total:
		e.add(Error, "memory", fmt.Sprintf("%s takes %s, and this board has %s in all", need.File, mib(need.Resident), mib(m.Total)), "each token would read weights from storage", mend)
	case m.Available > 0 && need.Resident > m.Available:
		e.add(Warning, "memory-taken", fmt.Sprintf("%s takes %s, and of %s only %s are free", need.File, mib(need.Resident), mib(m.Total), mib(m.Available)),
			"weights are dropped from memory and read again, or other programs are killed", "stop other programs (a desktop takes 300 MiB and more: sudo systemctl set-default multi-user.target), or "+mend)
	}
}

func (e *examiner) cgroup() {
	b := e.b
	const why = "MemoryMax= and MemoryMin= of the daemon's unit do nothing: it is not protected from other programs, nor they from it"
	switch {
	case b.Cgroup.Version == 0 || b.Cgroup.Version == 2 && slices.Contains(b.Cgroup.Controllers, "memory"):
	case b.Cgroup.Version == 1:
		e.add(Warning, "cgroup-v1", "this system limits programs with cgroups v1", "MemoryMin=, which keeps the weights in memory, needs cgroups v2",
			"add systemd.unified_cgroup_hierarchy=1 to the kernel's command line"+e.where()+" and reboot")
	case b.Vendor == RaspberryPi:
		mend := "add cgroup_enable=memory to the one line of cmdline.txt on the boot partition and reboot"
		switch {
		case strings.Contains(b.Cmdline, enableMemory):
			mend = "take Raspberry Pi's own kernel: this one was asked with cgroup_enable=memory, and does not know it"
		case b.bootAsks:
			mend = fmt.Sprintf("sudo reboot (%s has %s already)", b.bootFile, enableMemory)
		case strings.HasSuffix(b.bootFile, "cmdline.txt"):
			mend = fmt.Sprintf("sudo sed -i '1s/$/ %s/' %s && sudo reboot", enableMemory, b.bootFile)
		}
		e.add(Warning, "cgroup-memory", "the kernel runs without its memory controller, as Raspberry Pi's firmware asks for (cgroup_disable=memory)", why, mend)
	case strings.Contains(b.Cmdline, "cgroup_disable=memory"):
		e.add(Warning, "cgroup-memory", "the kernel's command line has cgroup_disable=memory", why, "remove it"+e.where()+" and reboot")
	default:
		e.add(Warning, "cgroup-memory", "there is no memory controller in /sys/fs/cgroup/cgroup.controllers", why,
			"in a container, let its host delegate it; else take a kernel with CONFIG_MEMCG")
	}
}

// where names the file that holds the kernel's command line.
func (e *examiner) where() string {
	switch f := e.b.bootFile; {
	case f == "":
		return ""
	case strings.HasSuffix(f, "grub"):
		return fmt.Sprintf(" (GRUB_CMDLINE_LINUX in %s, then sudo update-grub)", f)
	case strings.HasSuffix(f, "extlinux.conf"):
		return fmt.Sprintf(" (the line APPEND in %s)", f)
	default:
		return fmt.Sprintf(" (the one line of %s)", f)
	}
}

func (e *examiner) bits() {
	b := e.b
	wide := slices.ContainsFunc(b.Cores, func(c CoreType) bool { return strings.HasPrefix(c.Name, "Cortex-A") && c.Name != "Cortex-A7" })
	switch {
	case (b.Arch == "armv7l" || b.Arch == "armv8l") && wide:
		mend := "install a 64-bit system"
		if b.Vendor == RaspberryPi {
			mend = "install the 64-bit Raspberry Pi OS (arm_64bit=1 in config.txt gives the kernel alone 64 bits)"
		}
		e.add(Warning, "kernel-32", "a 32-bit kernel on a 64-bit CPU", "the kernels in assembly need 64 bits: the portable ones run, many times slower", mend)
	case b.Userland == 32 && (b.Arch == "aarch64" || b.Arch == "x86_64"):
		e.add(Warning, "userland-32", "32-bit programs on a 64-bit kernel", "packages of this system have 32 bits, so that apt would install a daemon without the fast kernels; the static 64-bit program runs",
			"take the static arm64 program, or install a 64-bit system")
	}
}

func (e *examiner) cores() {
	b := e.b
	if b.Present > b.Online && b.Online > 0 {
		mend := "echo 1 | sudo tee /sys/devices/system/cpu/cpu*/online"
		if b.Vendor == NVIDIA {
			mend = "sudo nvpmodel -m 0 (nvpmodel -q shows the mode)"
		}
		e.add(Note, "cores-off", fmt.Sprintf("%d of %d cores are off", b.Present-b.Online, b.Present), "reading a prompt takes all cores", mend)
	}
	for _, c := range b.Cores {
		// These drivers leave the clock to the CPU under every governor.
		itself := strings.HasPrefix(c.Driver, "intel_pstate") || strings.HasPrefix(c.Driver, "amd-pstate")
		const mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor (until the next boot)"
		switch c.Governor {
		case "powersave", "userspace":
			if !itself {
				e.add(Warning, "governor", fmt.Sprintf("the governor %s keeps %s from their full clock", c.Governor, c.String()), "the lowest clock can be a fifth of the highest", mend)
			}
		case "ondemand", "conservative":
			e.add(Note, "governor", fmt.Sprintf("the governor of %s is %s", c.String(), c.Governor), "the first tokens after a pause come slower, and measurements vary; schedutil and performance do better", mend)
		}
		if c.LimitMHz > 0 && c.LimitMHz < c.MaxMHz {
			e.add(Note, "clock-limit", fmt.Sprintf("%s may run at %d MHz at most", c.String(), c.LimitMHz), "reading a prompt is bound by the clock",
				fmt.Sprintf("echo %d | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq", c.MaxMHz*1000))
		}
	}
}

// slowStorage is the speed, in bytes a second, below which storage counts as slow: a sound SD card gives 20 MB/s in the slowest of the boards.
const slowStorage = 15e6

func (e *examiner) storage(need *Need) {
	for _, s := range e.b.Storage {
		holds := need != nil && s.Path == need.File
		switch {
		case s.Bandwidth == nil:
		case s.Bandwidth.BytesPerSecond < slowStorage:
			what := fmt.Sprintf("%s (%s) reads %.1f MB/s", s.Path, s.Kind, s.Bandwidth.BytesPerSecond/1e6)
			if holds {
				what += fmt.Sprintf(": %.0f s until the model is in memory", float64(need.Bytes)/s.Bandwidth.BytesPerSecond)
			}
			e.add(Warning, "storage-slow", what, "the first answer waits for the weights, and a worn-out or counterfeit card reads like this", "move the model to another card, a USB 3 disk or NVMe")
		}
		switch {
		case holds && s.Kind == "network":
			e.add(Warning, "storage-network", fmt.Sprintf("%s lies on another machine (%s)", s.Path, s.FS), "weights are mapped: when the network is gone, requests fail", "copy it to this board's own storage")
		case holds && s.Kind == "memory":
			e.add(Note, "storage-memory", fmt.Sprintf("%s lies in memory (%s)", s.Path, s.FS), "the file takes RAM even when nobody asks the model, and is gone after a reboot", "copy it to storage")
		}
	}
}

func (e *examiner) swap() {
	for _, s := range e.b.Swap {
		switch s.Kind {
		case "sd", "emmc", "usb":
			e.add(Warning, "swap", fmt.Sprintf("%s of swap in %s, on flash memory (%s)", mib(s.Size), s.Name, s.Kind), "a program that swaps stalls for seconds and wears the card out; weights need no swap, for they are dropped and read again",
				fmt.Sprintf("sudo swapoff %s, and keep what made it (/etc/fstab, dphys-swapfile, rpi-swap) from making it at the next boot", s.Name))
		case "zram":
			e.add(Note, "zram", fmt.Sprintf("%s of compressed swap in memory (%s)", mib(s.Size), s.Name), "it is of use for other programs; states and weights hardly shrink", "")
		}
	}
}

func (e *examiner) devices() {
	b := e.b
	var groups []string
	vcio := false
	for _, d := range b.Devices {
		vcio = vcio || strings.HasPrefix(d.Path, "/dev/vcio")
		if !d.Allowed && !slices.Contains(groups, d.Group) {
			groups = append(groups, d.Group)
		}
	}
	if len(groups) > 0 {
		list := strings.Join(groups, ",")
		e.add(Warning, "groups", "this user is not in the group "+strings.Join(groups, " and "), "sensors of power, temperature and throttling cannot be read",
			fmt.Sprintf("sudo usermod -aG %s $USER, and log in anew; for the daemon: bimamba units FILE --sensors", list))
	}
	if b.Vendor == RaspberryPi && !vcio && b.UID >= 0 {
		e.add(Note, "vcio", "there is no /dev/vcio", "throttling and, on a Pi 5, power cannot be asked for: kernels other than Raspberry Pi's lack it, and containers hide it", "")
	}
}

func (e *examiner) pages() {
	if n := e.b.PageSize; n > 4096 {
		e.add(Note, "page-size", fmt.Sprintf("pages have %d KiB", n>>10), "that is fine: a model's file is laid out for pages of up to 64 KiB", "")
	}
}
