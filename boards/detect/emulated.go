package detect

import (
	"io/fs"
	"path"
	"slices"
)

// emulated says what tells that the board is a program: one of QEMU has whatever name and cores it was given, but not their speed, power or temperature.
// Virtual machines that run on the CPU itself are not meant, but those of arm64 look the same.
func (r *reader) emulated(b *Board) string {
	if b.exe == "aarch64" && b.Arch == "x86_64" { // user-mode emulation passes the host's /proc through
		return "an arm64 program under the kernel of an x86-64 machine"
	}
	// hw/arm/virt.c of QEMU.
	if slices.Contains(b.Compatible, "linux,dummy-virt") {
		return "its device tree says linux,dummy-virt, as that of QEMU's board virt does"
	}
	for _, dir := range treeDirs {
		if nodes, _ := fs.Glob(r.root, dir+"/fw-cfg@*"); len(nodes) > 0 {
			return "its device tree has QEMU's " + path.Base(nodes[0])
		}
	}
	// hw/sd/sd.c of QEMU: the name in the card's identification register. Its Raspberry Pis have the device tree of real ones.
	cards, _ := fs.Glob(r.root, "sys/class/block/mmcblk*/device/name")
	for _, name := range cards {
		if s, err := r.word(name); err == nil && s == "QEMU!" {
			return "its SD card is one of QEMU's"
		}
	}
	return ""
}
