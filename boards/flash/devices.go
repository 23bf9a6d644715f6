package flash

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a whole disk as the kernel describes it in /sys (Linux: Documentation/ABI/{stable,testing}/sysfs-block).
type Device struct {
	Name      string // as in /dev
	Size      int64  // bytes, 0 for a reader without a card
	Vendor    string // "" if it is not known, as Model and Serial
	Model     string
	Serial    string // of a card, or of the USB reader or disk
	Bus       string // "usb", "sd", "emmc", "nvme", "ata", "virtio", or ""
	Removable bool   // it can be taken out: the kernel says so, or it is on USB or an SD card
	ReadOnly  bool
	Sector    int      // bytes of a logical block
	System    bool     // the running system is on it
	Uses      []string // what it is used for just now, one clause each

	file   string // what is opened
	number string // MAJOR:MINOR
	seq    string // another one when another disk takes the name; "" on kernels before 5.15
}

// Path is the device's file.
func (d *Device) Path() string { return "/dev/" + d.Name }

// String names the device for people.
func (d *Device) String() string {
	parts := []string{mega(d.Size)}
	for _, s := range []string{strings.TrimSpace(d.Vendor + " " + d.Model), d.Bus} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if d.Serial != "" {
		parts = append(parts, "serial "+d.Serial)
	}
	return d.Path() + ": " + strings.Join(parts, ", ")
}

// What is in /sys/block and no disk that somebody puts in: loops, RAM, device mapper, RAID, optical drives, floppies, network disks, and the small partitions of eMMC.
var otherRE = regexp.MustCompile(`^(loop|ram|zram|dm-|md|sr|fd|nbd|rbd|drbd|zd)\d|^mmcblk\d+(boot|rpmb|gp)`)

// Devices lists the disks that have something in them. root is the root of the file system: os.DirFS("/").
func Devices(root fs.FS) ([]Device, error) {
	entries, err := fs.ReadDir(root, "sys/block")
	if err != nil {
		return nil, fmt.Errorf("listing the disks: %w", err)
	}
	use, err := readUses(root)
	if err != nil {
		return nil, err
	}
	var list []Device
	for _, e := range entries {
		if otherRE.MatchString(e.Name()) {
			continue
		}
		if d := use.device(e.Name()); d.Size > 0 {
			list = append(list, d)
		}
	}
	return list, nil
}

// Find is the disk of a device file, or of a link to one. A partition is an error that names its disk.
func Find(root fs.FS, file string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return Device{}, &fs.PathError{Op: "find", Path: file, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Device{}, fmt.Errorf("%s is no block device", file)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	to, err := fs.ReadLink(root, "sys/dev/block/"+number)
	if err != nil {
		return Device{}, fmt.Errorf("%s: the kernel knows no disk with the numbers %s", file, number)
	}
	name := path.Base(to)
	if _, err := fs.Stat(root, "sys/dev/block/"+number+"/partition"); err == nil {
		return Device{}, fmt.Errorf("%s is one partition, and an image is for a whole disk: name /dev/%s", file, path.Base(path.Dir(to)))
	}
	use, err := readUses(root)
	if err != nil {
		return Device{}, err
	}
	d := use.device(name)
	d.file = file
	return d, nil
}

// device reads one disk.
func (u *uses) device(name string) Device {
	dir := "sys/block/" + name
	text := func(file string) string { return attr(u.root, dir+"/"+file) }
	sectors, _ := strconv.ParseInt(text("size"), 10, 64)
	d := Device{
		Name: name, file: "/dev/" + name, Size: min(max(sectors, 0), 1<<53) * 512, Vendor: text("device/vendor"), Model: text("device/model"), Serial: text("device/serial"),
		ReadOnly: text("ro") == "1", number: text("dev"), seq: text("diskseq"),
	}
	d.Sector, _ = strconv.Atoi(text("queue/logical_block_size"))
	where := dir // where it hangs in the tree of devices
	if to, err := fs.ReadLink(u.root, dir); err == nil {
		where = path.Join("sys/block", to)
	}
	switch usb, serial := usbSerial(u.root, where); {
	case usb:
		d.Bus = "usb"
		if serial != "" {
			d.Serial = serial
		}
	case strings.HasPrefix(name, "mmcblk"):
		d.Bus, d.Model = "emmc", text("device/name")
		if text("device/type") == "SD" {
			d.Bus = "sd"
		}
	case strings.HasPrefix(name, "nvme"):
		d.Bus = "nvme"
	case strings.Contains(where, "/ata"):
		d.Bus, d.Vendor = "ata", "" // it is "ATA" for each
	case strings.Contains(where, "/virtio"):
		d.Bus, d.Vendor, d.Serial = "virtio", "", text("serial")
	}
	d.Removable = (text("removable") == "1" || d.Bus == "usb" || d.Bus == "sd") && d.Bus != "emmc" && !otherRE.MatchString(name)
	d.Uses, d.System = u.of(name)
	return d
}

// usbSerial looks for the USB device that a device hangs on, and its serial number.
func usbSerial(root fs.FS, where string) (usb bool, serial string) {
	for dir := where; strings.HasPrefix(dir, "sys/devices/"); dir = path.Dir(dir) {
		if attr(root, dir+"/idVendor") != "" {
			return true, attr(root, dir+"/serial")
		}
	}
	return false, ""
}

// maxAttr is more than a file of /sys holds: they are of one page.
const maxAttr = 64 << 10

// attr is a file of one line, "" if there is none. What a device says of itself may hold anything, and is printed to a terminal.
func attr(root fs.FS, name string) string {
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAttr))
	if err != nil {
		return ""
	}
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, string(b))
	return strings.Join(strings.Fields(s), " ")
}

// Refuse says why an image of size bytes is not to be written to d; nil if it may be.
func (d *Device) Refuse(size int64) error {
	uses := strings.Join(d.Uses, "; ")
	switch {
	case d.System:
		return fmt.Errorf("%s holds the running system: %s", d.Path(), uses)
	case !d.Removable && d.Bus == "emmc":
		return fmt.Errorf("%s is soldered in (eMMC), and only removable disks are written to", d.Path())
	case strings.HasPrefix(d.Name, "loop"):
		return fmt.Errorf("%s is a loop device: name its file instead", d.Path())
	case !d.Removable:
		return fmt.Errorf("%s is not removable, and only removable disks are written to: SD cards and what is on USB", d.Path())
	case d.Size == 0:
		return fmt.Errorf("%s has no card in it", d.Path())
	case len(d.Uses) > 0:
		return fmt.Errorf("%s is in use: %s; unmount it, or eject it in the file manager and put it in again", d.Path(), uses)
	case d.ReadOnly:
		return fmt.Errorf("%s is write-protected: move the switch at the side of the card", d.Path())
	case d.Sector != Sector:
		return fmt.Errorf("%s has sectors of %d bytes, and images of cards are made for %d", d.Path(), d.Sector, Sector)
	case size > d.Size:
		return fmt.Errorf("the image has %s, and %s only %s", mega(size), d.Path(), mega(d.Size))
	}
	return nil
}

// same tells whether d is the disk that e was, unused as before.
func (d *Device) same(e *Device) bool {
	return d.Name == e.Name && d.Size == e.Size && d.Vendor == e.Vendor && d.Model == e.Model && d.Serial == e.Serial && d.number == e.number && d.seq == e.seq &&
		slices.Equal(d.Uses, e.Uses)
}
