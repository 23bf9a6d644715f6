package detect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Storage is what a path lies on.
type Storage struct {
	Path      string `json:"path"`
	Mount     string `json:"mount"`
	FS        string `json:"fs"`
	Device    string `json:"device,omitempty"`     // the block device, /dev/mmcblk0p2
	Kind      string `json:"kind"`                 // sd, emmc, usb, nvme, disk, virtual, network, memory, overlay, zram, loop, mapped or unknown
	Model     string `json:"model,omitempty"`      // what the device calls itself
	Size      int64  `json:"size_bytes,omitempty"` // of the device
	Bandwidth *Speed `json:"read,omitempty"`       // measured, see ReadSpeed
	NoSpeed   string `json:"no_read,omitempty"`    // why not
}

// mount is a line of /proc/self/mountinfo.
type mount struct {
	major, minor      int
	point, fs, source string
}

// maxMounts is more mounts than a system that is no container host has; those behind are not seen.
const maxMounts = 10000

// parseMounts reads /proc/self/mountinfo, proc(5):
//
//	36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw
func parseMounts(text string) ([]mount, error) {
	var all []mount
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		n := len(all) + 1
		if n > maxMounts {
			return nil, fmt.Errorf("there are more than %d mounts", maxMounts)
		}
		left, right, ok := strings.Cut(line, " - ")
		l, f := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(f) < 2 {
			return nil, fmt.Errorf("line %d has too few fields", n)
		}
		major, minor, ok := strings.Cut(l[2], ":")
		a, err1 := strconv.ParseUint(major, 10, 31)
		b, err2 := strconv.ParseUint(minor, 10, 31)
		if !ok || err1 != nil || err2 != nil {
			return nil, fmt.Errorf("line %d: %.30q is no device", n, l[2])
		}
		m := mount{int(a), int(b), unescape(l[4]), f[0], unescape(f[1])}
		if !strings.HasPrefix(m.point, "/") {
			return nil, fmt.Errorf("line %d: %.40q is no path", n, m.point)
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no mount in it")
	}
	return all, nil
}

// unescape replaces the kernel's octal escapes of spaces and the like, \040.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (r *reader) mounts() []mount {
	text, err := r.text("proc/self/mountinfo")
	if err == nil {
		var all []mount
		if all, err = parseMounts(text); err == nil {
			return all
		}
		err = fmt.Errorf("/proc/self/mountinfo: %w", err)
	}
	r.miss("storage", err)
	return nil
}

// mountOf is where a path lies: the last of the deepest mounts above it, which covers the others.
func mountOf(all []mount, p string) (best mount, ok bool) {
	for _, m := range all {
		if (m.point == "/" || p == m.point || strings.HasPrefix(p, m.point+"/")) && (!ok || len(m.point) >= len(best.point)) {
			best, ok = m, true
		}
	}
	return best, ok
}

func (r *reader) storage(b *Board, mounts []mount, paths []string) {
	if mounts == nil {
		return
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, p := range paths {
		m, ok := mountOf(mounts, p)
		if !ok {
			r.miss("storage", fmt.Errorf("%s lies below no mount", p))
			continue
		}
		s := r.below(m)
		s.Path = p
		b.Storage = append(b.Storage, s)
	}
}

// below is what a mount lies on.
func (r *reader) below(m mount) Storage {
	s := Storage{Mount: m.point, FS: m.fs, Kind: "unknown"}
	switch {
	case strings.HasPrefix(m.fs, "nfs"), m.fs == "cifs", m.fs == "smb3", m.fs == "9p", m.fs == "virtiofs", m.fs == "ceph", m.fs == "fuse.sshfs":
		s.Kind = "network"
		return s
	case m.fs == "tmpfs", m.fs == "ramfs", m.fs == "rootfs":
		s.Kind = "memory"
		return s
	case m.fs == "overlay":
		s.Kind = "overlay"
		return s
	}
	name := r.blockName(m.major, m.minor)
	if name == "" && strings.HasPrefix(m.source, "/dev/") { // btrfs mounts have a number of their own
		name = path.Base(m.source)
	}
	if name != "" {
		r.block(&s, name)
	}
	return s
}

// blockName is the name of a block device by its number.
func (r *reader) blockName(major, minor int) string {
	names, _ := fs.Glob(r.root, "sys/class/block/*/dev")
	for _, n := range names {
		if s, err := r.word(n); err == nil && s == strconv.Itoa(major)+":"+strconv.Itoa(minor) {
			return path.Base(path.Dir(n))
		}
	}
	return ""
}

// block fills in a block device, a partition or a whole one.
func (r *reader) block(s *Storage, name string) {
	dir := "sys/class/block/" + name
	if _, err := fs.Stat(r.root, dir); err != nil || !fs.ValidPath(dir) {
		return
	}
	s.Device = "/dev/" + name
	if n, err := r.number(dir+"/size", 0, 1<<53); err == nil {
		s.Size = n * 512 // the unit, whatever the device's sectors are
	}
	if _, err := fs.Stat(r.root, dir+"/partition"); err == nil {
		name = strings.TrimRight(name, "0123456789")
		if n, ok := strings.CutSuffix(name, "p"); ok && n != "" && n[len(n)-1] >= '0' && n[len(n)-1] <= '9' {
			name = n // mmcblk0p2, nvme0n1p1
		}
		dir = "sys/class/block/" + name
	}
	for _, f := range []string{"/device/model", "/device/name"} { // of disks, and of cards
		if v, err := r.word(dir + f); err == nil {
			s.Model = v
			break
		}
	}
	link, _ := fs.ReadLink(r.root, dir) // tells the bus
	switch {
	case strings.HasPrefix(name, "mmcblk"):
		switch t, _ := r.word(dir + "/device/type"); t {
		case "SD":
			s.Kind = "sd"
		case "MMC":
			s.Kind = "emmc"
		}
	case strings.HasPrefix(name, "nvme"):
		s.Kind = "nvme"
	case strings.HasPrefix(name, "sd") && strings.Contains(link, "/usb"):
		s.Kind = "usb"
	case strings.HasPrefix(name, "sd"):
		s.Kind = "disk"
	case strings.HasPrefix(name, "vd"), strings.HasPrefix(name, "xvd"):
		s.Kind = "virtual"
	case strings.HasPrefix(name, "zram"):
		s.Kind = "zram"
	case strings.HasPrefix(name, "loop"):
		s.Kind = "loop"
	case strings.HasPrefix(name, "dm-"), strings.HasPrefix(name, "md"):
		s.Kind = "mapped"
	}
}

// parseMemInfo reads the sizes in /proc/meminfo, in bytes.
func parseMemInfo(text string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for i, line := range strings.Split(text, "\n") {
		key, value, ok := strings.Cut(line, ":")
		f := strings.Fields(value)
		if !ok || len(f) == 0 || len(f) == 2 && f[1] != "kB" || len(f) > 2 {
			return nil, fmt.Errorf("line %d is no size", i+1)
		}
		n, err := strconv.ParseUint(f[0], 10, 50)
		if err != nil {
			return nil, fmt.Errorf("line %d: %.30q is no number of kB", i+1, f[0])
		}
		if len(f) == 2 { // the others are counts, such as HugePages_Total
			sizes[key] = int64(n) << 10
		}
	}
	return sizes, nil
}

func (r *reader) memory(b *Board) {
	text, err := r.text("proc/meminfo")
	var sizes map[string]int64
	if err == nil {
		if sizes, err = parseMemInfo(text); err != nil {
			err = fmt.Errorf("/proc/meminfo: %w", err)
		} else if sizes["MemTotal"] == 0 || sizes["MemAvailable"] > sizes["MemTotal"] {
			err = errors.New("/proc/meminfo: MemTotal is missing, or less than MemAvailable")
		}
	}
	if err != nil {
		r.miss("memory", err)
		return
	}
	b.Memory = Memory{sizes["MemTotal"], sizes["MemAvailable"], sizes["CmaTotal"]}
	if b.Memory.Available == 0 {
		r.miss("memory available", errors.New("/proc/meminfo has no MemAvailable"))
	}
}

// parseSwaps reads /proc/swaps: a heading, then name, type, size, used and priority.
func parseSwaps(text string) ([]Swap, error) {
	var all []Swap
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) == 0 {
			continue
		}
		if len(f) < 5 || i > 100 {
			return nil, fmt.Errorf("line %d has too few fields, or is one too many", i+1)
		}
		size, err1 := strconv.ParseUint(f[2], 10, 50)
		used, err2 := strconv.ParseUint(f[3], 10, 50)
		if err1 != nil || err2 != nil || !strings.HasPrefix(f[0], "/") {
			return nil, fmt.Errorf("line %d: no path, or no size", i+1)
		}
		all = append(all, Swap{Name: unescape(f[0]), Kind: f[1], Size: int64(size) << 10, Used: int64(used) << 10})
	}
	return all, nil
}

func (r *reader) swaps(b *Board, mounts []mount) {
	text, err := r.text("proc/swaps")
	if err == nil {
		if b.Swap, err = parseSwaps(text); err != nil {
			err = fmt.Errorf("/proc/swaps: %w", err)
		}
	}
	if err != nil {
		r.miss("swap", err)
		return
	}
	for i := range b.Swap {
		s, on := &b.Swap[i], Storage{Kind: "unknown"}
		if m, ok := mountOf(mounts, s.Name); ok && s.Kind == "file" {
			on = r.below(m)
		} else if s.Kind == "partition" {
			r.block(&on, path.Base(s.Name))
		}
		s.Kind = on.Kind
	}
}
