package image

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"bimamba/boards/image/internal/ext4"
	"bimamba/boards/image/internal/fat"
	"bimamba/boards/internal/bmap"
	"bimamba/boards/internal/disk"
)

// Format is a way in which a system sets itself up at its first boot.
type Format string

// The formats that are known.
const (
	Firstrun  Format = "firstrun.sh"
	CloudInit Format = "cloud-init"
	Custom    Format = "custom.toml"
	Preseed   Format = "rpi-preseed"
)

// Formats are all formats, in the order in which they are preferred: what the image was made for comes first.
var Formats = []Format{CloudInit, Preseed, Firstrun, Custom}

const maxText = 1 << 20 // bytes of a text file of the image

// System is what there is to know about the operating system in an image.
type System struct {
	Name     string // as it calls itself
	Firmware string // where it mounts the boot partition
	Cmdline  string // the kernel's arguments, from cmdline.txt, without the line's end
	PiKernel bool   // the kernel is Raspberry Pi's, whose firmware turns the memory controller of cgroups off
	Formats  []Format

	boot    *fat.Volume
	root    *ext4.FS
	bootAt  int64  // where the partition starts
	rootAt  int64  // likewise
	label   string // of the boot partition
	seeded  bool   // cloud-init is told by the image where its files are
	release map[string]string
}

// inspect finds the partitions and looks at the system in them.
func inspect(f fat.File, size int64) (*System, error) {
	s, err := find(f, size)
	if err != nil {
		return nil, err
	}
	switch {
	case s.boot == nil:
		return nil, errors.New("there is no FAT partition with a cmdline.txt: this is no image that a Raspberry Pi boots, or one that is not known here")
	case s.root == nil:
		return nil, errors.New("there is no ext4 partition with an /etc/os-release: what the image is cannot be told")
	}
	return s, s.look()
}

// find opens the partitions.
func find(f fat.File, size int64) (*System, error) {
	table, err := disk.Read(f, size)
	if err != nil {
		return nil, err
	}
	s := &System{}
	for _, p := range table.Partitions {
		if err := s.probe(f, p); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p.Number, err)
		}
	}
	return s, nil
}

// probe keeps the first partition with what is looked for.
func (s *System) probe(f fat.File, p disk.Partition) error {
	w := &window{f, p.Start, p.Size}
	if ext4.Is(w) {
		if s.root != nil {
			return nil
		}
		root, err := ext4.Open(w, p.Size)
		if err != nil {
			return err
		}
		if _, err := root.Stat("etc/os-release"); err == nil {
			s.root, s.rootAt = root, p.Start
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if s.boot != nil || !fatTypes[p.Type] {
		return nil
	}
	boot, err := fat.Open(w, p.Size)
	if err != nil {
		return err
	}
	if _, err := boot.Stat("cmdline.txt"); err == nil {
		s.boot, s.bootAt, s.label = boot, p.Start, boot.Label()
	}
	return nil
}

// unused is what may be left out of a disk that the image is written to, ascending.
func (s *System) unused() ([]bmap.Extent, error) {
	var list []bmap.Extent
	add := func(at int64) func(start, end int64) {
		return func(start, end int64) { list = append(list, bmap.Extent{Start: at + start, End: at + end}) }
	}
	s.boot.Unused(add(s.bootAt))
	if s.root != nil {
		if err := s.root.Unused(add(s.rootAt)); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b bmap.Extent) int { return cmp.Compare(a.Start, b.Start) })
	return list, nil
}

// Types of partitions that may hold FAT: MBR's, and GPT's for an EFI system partition and for Microsoft's basic data.
var fatTypes = map[string]bool{
	"04": true, "06": true, "0b": true, "0c": true, "0e": true, "ef": true,
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": true, "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": true,
}

// window is a partition of a disk.
type window struct {
	f           fat.File
	start, size int64
}

func (w *window) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at >= w.size {
		return 0, io.EOF
	}
	if left := w.size - at; int64(len(b)) > left {
		n, err := w.f.ReadAt(b[:left], w.start+at)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return w.f.ReadAt(b, w.start+at)
}

func (w *window) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at > w.size-int64(len(b)) {
		return 0, errors.New("a write beyond the partition") // never into a neighbour
	}
	return w.f.WriteAt(b, w.start+at)
}

// look reads the files that say what the system is and understands.
func (s *System) look() error {
	text, err := s.text("etc/os-release")
	if err != nil {
		return err
	}
	s.release = parseRelease(text)
	if s.Name = s.release["PRETTY_NAME"]; s.Name == "" {
		s.Name = s.release["ID"]
	}
	ids := append(strings.Fields(s.release["ID_LIKE"]), s.release["ID"])
	if !slices.Contains(ids, "debian") && !slices.Contains(ids, "raspbian") {
		return fmt.Errorf("the image is %q, and only Debian and its kin (Raspberry Pi OS, Ubuntu) are known", s.Name)
	}
	line, err := s.boot.ReadFile("cmdline.txt", 64<<10)
	if err != nil {
		return err
	}
	if s.Cmdline, err = parseCmdline(string(line)); err != nil {
		return err
	}
	if err := s.checkCPU(); err != nil {
		return err
	}
	if s.Firmware, err = s.mountPoint(); err != nil {
		return err
	}
	return s.findFormats()
}

// text reads a file of the root, "" if there is none.
func (s *System) text(path string) (string, error) {
	b, err := s.root.ReadFile(path, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// has tells whether any of the files is in the root.
func (s *System) has(paths ...string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { _, err := s.root.Stat(p); return err == nil })
}

// onBoot tells whether any of the files is in the boot partition.
func (s *System) onBoot(paths ...string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { _, err := s.boot.Stat(p); return err == nil })
}

// parseRelease reads os-release(5).
func parseRelease(text string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			m[key] = strings.Trim(value, `"'`)
		}
	}
	return m
}

// parseCmdline is the one line of cmdline.txt: the firmware reads no other.
func parseCmdline(text string) (string, error) {
	line, rest, _ := strings.Cut(strings.TrimLeft(text, "\r\n"), "\n")
	line = strings.TrimRight(line, " \t\r")
	switch {
	case strings.TrimSpace(rest) != "":
		return "", errors.New("cmdline.txt has more than one line, and the firmware reads only the first: join or remove them")
	case line == "" || !plain(line):
		return "", errors.New("cmdline.txt is empty or has control characters")
	case slices.ContainsFunc(strings.Fields(line), func(w string) bool { return strings.HasPrefix(w, "systemd.run=") }):
		return "", errors.New("cmdline.txt has a systemd.run= already: this image is prepared for its first boot by something else; take a fresh one")
	}
	return line, nil
}

// checkCPU has the system be one whose kernel runs programs of arm64.
func (s *System) checkCPU() error {
	var kernels []string
	for _, dir := range []string{"usr/lib/modules", "lib/modules"} {
		names, err := s.root.ReadDir(dir)
		if err == nil {
			kernels = names
			break
		}
	}
	pi := func(k string) bool {
		return strings.Contains(k, "-rpi") || strings.Contains(k, "+rpt") || strings.HasSuffix(k, "-raspi") || strings.HasSuffix(k, "-v8+") || strings.HasSuffix(k, "-v8")
	}
	s.PiKernel = slices.ContainsFunc(kernels, pi)
	head, err := s.root.ReadHead("usr/bin/dpkg", 20)
	if err != nil {
		return fmt.Errorf("the program that tells the processor: %w", err)
	}
	if len(head) < 20 || string(head[:4]) != "\x7fELF" {
		return errors.New("usr/bin/dpkg of the image is no program")
	}
	switch machine := int(head[18]) | int(head[19])<<8; machine {
	case 183: // EM_AARCH64
		return nil
	case 40: // EM_ARM, which a 64-bit kernel runs as well
		if s.onBoot("kernel8.img") || slices.ContainsFunc(kernels, func(k string) bool { return strings.Contains(k, "v8") }) {
			return nil
		}
		return fmt.Errorf("%s has 32 bits and no 64-bit kernel (kernel8.img): take the 64-bit image", s.Name)
	default:
		return fmt.Errorf("%s is for another processor (ELF machine %d), not for arm64", s.Name, machine)
	}
}

// mountPoint is where the boot partition appears: /boot/firmware since bookworm, /boot before.
func (s *System) mountPoint() (string, error) {
	text, err := s.text("etc/fstab")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) >= 3 && f[0][0] != '#' && f[2] == "vfat" && (f[1] == "/boot/firmware" || f[1] == "/boot") {
			return f[1], nil
		}
	}
	return "", errors.New("/etc/fstab of the image mounts no vfat partition at /boot/firmware or /boot: the board would not find its files")
}

const oldFirstboot = "init=/usr/lib/raspberrypi-sys-mods/firstboot"

// findFormats looks at what is installed, not at names and versions: derivatives have either of their own.
func (s *System) findFormats() error {
	systemdRun := s.has("usr/lib/systemd/system-generators/systemd-run-generator", "lib/systemd/system-generators/systemd-run-generator")
	files := s.onBoot("user-data", "meta-data", "network-config")
	understood := map[Format]bool{
		CloudInit: s.has("usr/bin/cloud-init") && !s.has("etc/cloud/cloud-init.disabled"),
		Preseed:   s.has("usr/bin/rpi-preseed", "usr/lib/rpi-preseed/rpi-preseed"),
		Firstrun:  systemdRun,
		// Its reader is the old first boot, which has to be started, and runs no commands: systemd does.
		Custom: systemdRun && s.has("usr/lib/raspberrypi-sys-mods/init_config") && slices.Contains(strings.Fields(s.Cmdline), oldFirstboot),
	}
	for _, f := range Formats {
		if understood[f] {
			s.Formats = append(s.Formats, f)
		}
	}
	if understood[CloudInit] {
		if err := s.findSeed(); err != nil {
			return err
		}
		if !files && !s.seeded && len(s.Formats) > 1 { // it is installed, but the image was not made for it
			s.Formats = append(s.Formats[1:], CloudInit)
		}
	}
	if len(s.Formats) == 0 {
		return fmt.Errorf("%s has no first boot that is known here (cloud-init, rpi-preseed, systemd.run, custom.toml)", s.Name)
	}
	return nil
}

// findSeed looks whether cloud-init's configuration names the boot partition.
func (s *System) findSeed() error {
	const dir = "etc/cloud/cloud.cfg.d"
	names, err := s.root.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".cfg") {
			continue
		}
		text, err := s.text(path.Join(dir, name))
		if err != nil {
			return err
		}
		for _, line := range strings.Split(text, "\n") {
			line, _, _ = strings.Cut(line, "#")
			if strings.Contains(line, "seedfrom:") && strings.Contains(line, s.Firmware) || s.label != "" && strings.Contains(line, "fs_label:") && strings.Contains(strings.ToLower(line), strings.ToLower(s.label)) {
				s.seeded = true
			}
		}
	}
	return nil
}
