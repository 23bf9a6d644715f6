package detect

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// knownBoard is a board, or a family of boards that differ in nothing that counts here.
type knownBoard struct {
	id, name, vendor, soc string

	compatible []string // beginnings of strings in the device tree's root
	model      string   // else, a part of the device tree's model
}

// The vendors of known boards.
const (
	RaspberryPi = "Raspberry Pi"
	NVIDIA      = "NVIDIA"
)

// known is searched from the front. Sources: the root nodes of arch/arm/boot/dts/broadcom and arch/arm64/boot/dts/{broadcom,nvidia} of Linux and of Raspberry Pi's
// kernel. JetPack's device trees put the carrier board first (nvidia,p3509-0000+p3668-0000), so that modules are also found behind a plus.
var known = []knownBoard{
	{"pi-zero-2w", "Raspberry Pi Zero 2 W", RaspberryPi, "BCM2837 (RP3A0)", []string{"raspberrypi,model-zero-2"}, "Raspberry Pi Zero 2"},
	{"pi-cm3", "Raspberry Pi Compute Module 3", RaspberryPi, "BCM2837", []string{"raspberrypi,3-compute-module"}, "Compute Module 3"},
	{"pi-3", "Raspberry Pi 3", RaspberryPi, "BCM2837", []string{"raspberrypi,3-model"}, "Raspberry Pi 3"},
	{"pi-400", "Raspberry Pi 400", RaspberryPi, "BCM2711", []string{"raspberrypi,400"}, "Raspberry Pi 400"},
	{"pi-cm4", "Raspberry Pi Compute Module 4", RaspberryPi, "BCM2711", []string{"raspberrypi,4-compute-module"}, "Compute Module 4"},
	{"pi-4", "Raspberry Pi 4", RaspberryPi, "BCM2711", []string{"raspberrypi,4-model"}, "Raspberry Pi 4"},
	{"pi-500", "Raspberry Pi 500", RaspberryPi, "BCM2712", []string{"raspberrypi,500"}, "Raspberry Pi 500"},
	{"pi-cm5", "Raspberry Pi Compute Module 5", RaspberryPi, "BCM2712", []string{"raspberrypi,5-compute-module"}, "Compute Module 5"},
	{"pi-5", "Raspberry Pi 5", RaspberryPi, "BCM2712", []string{"raspberrypi,5-model"}, "Raspberry Pi 5"},
	{"jetson-nano", "Jetson Nano", NVIDIA, "Tegra X1 (T210)", []string{"nvidia,p3450", "nvidia,p3541", "nvidia,jetson-nano", "nvidia,p3448"}, "Jetson Nano"},
	{"xavier-nx", "Jetson Xavier NX", NVIDIA, "Tegra Xavier (T194)", []string{"nvidia,p3668"}, "Xavier NX"},
	{"agx-xavier", "Jetson AGX Xavier", NVIDIA, "Tegra Xavier (T194)", []string{"nvidia,p2972", "nvidia,p2888"}, "AGX Xavier"},
	{"orin-nx", "Jetson Orin NX", NVIDIA, "Tegra Orin (T234)", []string{"nvidia,p3767-0000", "nvidia,p3767-0001"}, "Orin NX"},
	{"orin-nano", "Jetson Orin Nano", NVIDIA, "Tegra Orin (T234)", []string{"nvidia,p3767-0003", "nvidia,p3767-0004", "nvidia,p3767-0005"}, "Orin Nano"},
	{"agx-orin", "Jetson AGX Orin", NVIDIA, "Tegra Orin (T234)", []string{"nvidia,p3701"}, "AGX Orin"},
}

// lookup finds a known board by its device tree: a compatible string is a surer sign than the model's name, which people change.
func lookup(model string, compatible []string) (knownBoard, bool) {
	for _, c := range compatible {
		_, module, plus := strings.Cut(c, "+") // a carrier board and a module on it
		for _, k := range known {
			for _, prefix := range k.compatible {
				if strings.HasPrefix(c, prefix) || plus && strings.HasPrefix("nvidia,"+module, prefix) {
					return k, true
				}
			}
		}
	}
	for _, k := range known {
		if strings.Contains(model, k.model) {
			return k, true
		}
	}
	return knownBoard{}, false
}

// treeDirs is where the device tree may lie; the second is a link to the first.
var treeDirs = []string{"sys/firmware/devicetree/base", "proc/device-tree"}

// maxStrings is more bytes than a list of strings in a device tree has.
const maxStrings = 4096

// parseStrings is a device tree's list of strings, each ended by a NUL.
func parseStrings(b []byte) ([]string, error) {
	if len(b) == 0 || len(b) > maxStrings {
		return nil, fmt.Errorf("%d bytes are no list of strings", len(b))
	}
	if b[len(b)-1] != 0 {
		return nil, errors.New("the last string has no end")
	}
	list := strings.Split(string(b[:len(b)-1]), "\x00")
	for i, s := range list {
		if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, fmt.Errorf("string %d is empty or no text", i)
		}
	}
	return list, nil
}

// Model is the board's own name, [Board.Model], and "" if it has none. It reads no more than that takes.
func Model(root fs.FS) string {
	r, b := &reader{root: root}, &Board{}
	r.identity(b)
	return b.Model
}

// identity finds out which board this is.
func (r *reader) identity(b *Board) {
	var model, compatible []string
	err := errors.New("there is no device tree, and no name in /sys/class/dmi/id")
	for _, dir := range treeDirs {
		raw, e := r.bytes(dir + "/model")
		if e != nil {
			continue
		}
		if model, err = parseStrings(raw); err != nil {
			err = fmt.Errorf("/%s/model: %w", dir, err)
		}
		if raw, e = r.bytes(dir + "/compatible"); e == nil {
			if compatible, e = parseStrings(raw); e != nil {
				r.miss("compatible", fmt.Errorf("/%s/compatible: %w", dir, e))
			}
		}
		raw, e = r.bytes(dir + "/serial-number")
		b.Serial = e == nil && len(raw) > 1
		break
	}
	b.Compatible = compatible
	if len(model) > 0 {
		b.Model = model[0]
	}
	if b.Model == "" {
		b.Model = r.firmwareName(b)
	}
	if k, ok := lookup(b.Model, compatible); ok {
		b.ID, b.Name, b.Vendor, b.SoC = k.id, k.name, k.vendor, k.soc
	} else {
		r.generic(b)
	}
	if b.Model == "" {
		r.miss("model", err)
	}
}

// firmwareName is what a PC's firmware, or that of a board which starts like one, calls the machine.
func (r *reader) firmwareName(b *Board) string {
	vendor, err := r.word("sys/class/dmi/id/sys_vendor")
	if err == nil {
		b.Vendor = vendor
	}
	product, _ := r.word("sys/class/dmi/id/product_name")
	return strings.TrimSpace(vendor + " " + product)
}

// generic names a board that is not known: by its architecture, and its device tree's vendor and SoC.
func (r *reader) generic(b *Board) {
	switch b.Arch {
	case "aarch64":
		b.ID = "arm64"
	case "x86_64", "i686":
		b.ID = "x86"
	case "":
		b.ID = "unknown"
	default:
		b.ID = b.Arch
	}
	if n := len(b.Compatible); n > 0 { // from the board to the SoC
		b.Vendor, _, _ = strings.Cut(b.Compatible[0], ",")
		b.SoC = b.Compatible[n-1]
	}
}
