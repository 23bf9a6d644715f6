package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"bimamba/boards/internal/regular"
)

// enableMemory makes Raspberry Pi's kernel run its memory controller.
const enableMemory = "cgroup_enable=memory"

// system reads kernel, userland, page size and who we are.
func (r *reader) system(b *Board) {
	if v, err := r.word("proc/sys/kernel/osrelease"); err == nil {
		b.Kernel = v
	} else if v, err := r.word("proc/version"); err != nil {
		r.miss("kernel", err)
	} else if f := strings.Fields(v); len(f) > 2 && f[0] == "Linux" && f[1] == "version" {
		b.Kernel = f[2]
	} else {
		r.miss("kernel", errors.New("/proc/version does not begin with Linux version"))
	}

	machine, class, err := r.elf("proc/self/exe")
	b.exe = machine
	if arch, e := r.word("proc/sys/kernel/arch"); e == nil {
		b.Arch = arch
	} else if err != nil {
		r.miss("arch", err)
	} else {
		b.Arch = machine // kernels before 6.1 do not tell; a 64-bit program has a 64-bit kernel
		if class == 32 {
			r.miss("arch", errors.New("/proc/sys/kernel/arch is not there (Linux 6.1 has it): this 32-bit program's kernel may have 64 bits"))
		}
	}
	if class, name, err := r.userland(); err != nil {
		r.miss("userland_bits", err)
	} else if b.Userland = class; class != 32 && class != 64 {
		r.miss("userland_bits", fmt.Errorf("/%s is no program", name))
	}

	if s, err := r.text("etc/os-release"); err != nil {
		r.miss("os", err)
	} else {
		for line := range strings.SplitSeq(s, "\n") {
			if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok && len(v) < 200 {
				b.OS = strings.Trim(v, `"'`)
			}
		}
	}
	if s, err := r.text("proc/cmdline"); err == nil {
		b.Cmdline = s
	}
	if n, err := r.pageSize(); err != nil {
		r.miss("page_size_bytes", err)
	} else {
		b.PageSize = n
	}
	for _, name := range []string{"boot/firmware/cmdline.txt", "boot/cmdline.txt", "boot/extlinux/extlinux.conf", "etc/default/grub"} {
		if text, err := r.bytes(name); err == nil {
			b.bootFile, b.bootAsks = "/"+name, strings.Contains(string(text), enableMemory)
			break
		}
	}
}

// elf reads the machine and the bits of a program.
func (r *reader) elf(name string) (machine string, class int, err error) {
	f, err := regular.Open(r.root, name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	var h [20]byte
	for n := 0; n < len(h); {
		k, err := f.Read(h[n:])
		if n += k; err != nil && n < len(h) {
			return "", 0, fmt.Errorf("/%s is shorter than a program", name)
		}
	}
	if string(h[:4]) != "\x7fELF" || h[4] != 1 && h[4] != 2 {
		return "", 0, fmt.Errorf("/%s is no program", name)
	}
	names := map[uint16]string{3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64"} // elf(5): e_machine
	return names[binary.LittleEndian.Uint16(h[18:])], int(h[4]) * 32, nil
}

// userland is the bits of the system's shell, or of what else every system has.
func (r *reader) userland() (class int, name string, err error) {
	for _, name := range []string{"bin/sh", "usr/bin/sh", "sbin/init", "bin/busybox"} {
		if _, class, err = r.elf(name); !errors.Is(err, fs.ErrNotExist) {
			return class, name, err
		}
	}
	return 0, "", errors.New("there is no /bin/sh")
}

// pageSize is AT_PAGESZ of the auxiliary vector, getauxval(3).
func (r *reader) pageSize() (int, error) {
	const tag = 6
	b, err := r.bytes("proc/self/auxv")
	if err != nil {
		return 0, err
	}
	word := strconv.IntSize / 8 // the vector is this process's own
	for ; len(b) >= 2*word; b = b[2*word:] {
		if le(b[:word]) == tag {
			if n := le(b[word : 2*word]); n >= 4096 && n <= 1<<20 && n&(n-1) == 0 {
				return int(n), nil
			}
			return 0, fmt.Errorf("/proc/self/auxv: %d is no page size", le(b[word:2*word]))
		}
	}
	return 0, errors.New("/proc/self/auxv does not tell the page size")
}

// le is a little-endian number.
func le(b []byte) (n uint64) {
	for i, v := range b {
		n |= uint64(v) << (8 * i)
	}
	return n
}

// cgroup reads which controllers there are.
func (r *reader) cgroup(b *Board) {
	if s, err := r.bytes("sys/fs/cgroup/cgroup.controllers"); err == nil {
		b.Cgroup = Cgroup{2, strings.Fields(string(s))}
		return
	}
	dirs, err := fs.ReadDir(r.root, "sys/fs/cgroup")
	for _, d := range dirs {
		if _, err := fs.Stat(r.root, path.Join("sys/fs/cgroup", d.Name(), "tasks")); err == nil {
			b.Cgroup.Version = 1
			b.Cgroup.Controllers = append(b.Cgroup.Controllers, strings.Split(d.Name(), ",")...)
		}
	}
	if err == nil && b.Cgroup.Version == 0 {
		err = errors.New("/sys/fs/cgroup holds no controllers")
	}
	if err != nil {
		r.miss("cgroup", err)
	}
	slices.Sort(b.Cgroup.Controllers)
	b.Cgroup.Controllers = slices.Compact(b.Cgroup.Controllers)
}

// ThrottleBits is the state that a Raspberry Pi's firmware tells (get_throttled): bits 0 to 3 are now, 16 to 19 the same at some time since boot.
type ThrottleBits uint32

// The bits of now; shifted left by 16, those of since boot.
const (
	UnderVoltage ThrottleBits = 1 << iota
	FrequencyCapped
	Throttled
	SoftTempLimit
)

// Throttle is whether the board is slowed down.
type Throttle struct {
	Source    string       `json:"source"`     // who says so
	Bits      ThrottleBits `json:"bits"`       //
	Now       []string     `json:"now"`        // under-voltage, frequency-capped, throttled, soft-temperature-limit
	SinceBoot []string     `json:"since_boot"` // the same; null if the source knows of now only
}

func (t ThrottleBits) names() []string {
	list := []string{}
	for i, n := range []string{"under-voltage", "frequency-capped", "throttled", "soft-temperature-limit"} {
		if t>>i&1 != 0 {
			list = append(list, n)
		}
	}
	return list
}

// throttle asks the firmware, or the kernel's driver that polls it.
func (r *reader) throttle(b *Board, read func() (ThrottleBits, error)) {
	if read != nil {
		bits, err := read()
		if err == nil {
			b.Throttle = &Throttle{Source: "firmware", Bits: bits, Now: bits.names(), SinceBoot: (bits >> 16).names()}
			return
		}
		r.miss("throttle", err)
	}
	names, _ := fs.Glob(r.root, "sys/class/hwmon/hwmon*/name")
	for _, name := range names {
		if s, err := r.word(name); err != nil || s != "rpi_volt" {
			continue
		}
		// drivers/hwmon/raspberrypi-hwmon.c: set while under-voltage was seen in the last two seconds.
		n, err := r.number(path.Join(path.Dir(name), "in0_lcrit_alarm"), 0, 1)
		if err != nil {
			r.miss("throttle", err)
			return
		}
		bits := ThrottleBits(n)
		b.Throttle = &Throttle{Source: "hwmon rpi_volt: under-voltage only", Bits: bits, Now: bits.names()}
		return
	}
	if b.Vendor == RaspberryPi && read == nil {
		r.miss("throttle", errors.New("neither the firmware nor a driver rpi_volt in /sys/class/hwmon tells"))
	}
}

// devices lists the sensors' device files, and whether this user may open them. Their groups are those of Raspberry Pi OS and Debian's udev rules.
func (r *reader) devices(b *Board) {
	uid, member, err := r.who()
	if err != nil {
		r.miss("groups", err)
		return
	}
	b.UID = uid
	for _, d := range []struct{ pattern, group string }{{"dev/vcio_gencmd", "video"}, {"dev/vcio", "video"}, {"dev/i2c-*", "i2c"}} {
		names, _ := fs.Glob(r.root, d.pattern)
		for _, name := range names {
			b.Devices = append(b.Devices, Device{"/" + name, d.group, uid == 0 || member[d.group]})
		}
	}
}

// who is this process's effective user and the names of its groups.
func (r *reader) who() (uid int, member map[string]bool, err error) {
	status, err := r.text("proc/self/status")
	if err != nil {
		return 0, nil, err
	}
	uid, ids := -1, map[string]bool{}
	for line := range strings.SplitSeq(status, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 5 && f[0] == "Uid:":
			if n, err := strconv.ParseUint(f[2], 10, 31); err == nil {
				uid = int(n)
			}
		case len(f) == 5 && f[0] == "Gid:":
			ids[f[2]] = true
		case len(f) > 0 && f[0] == "Groups:":
			for _, id := range f[1:] {
				ids[id] = true
			}
		}
	}
	if uid < 0 {
		return 0, nil, errors.New("/proc/self/status does not tell the user")
	}
	group, err := r.text("etc/group")
	if err != nil {
		return uid, nil, err
	}
	member = map[string]bool{}
	for line := range strings.SplitSeq(group, "\n") {
		if f := strings.Split(line, ":"); len(f) == 4 && ids[f[2]] {
			member[f[0]] = true
		}
	}
	return uid, member, nil
}
