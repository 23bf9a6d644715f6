package flash

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// sysfs is a tree from an archive. "links" has symbolic links, and a file "basics" stands for dev, size, removable, ro, logical_block_size and diskseq of a disk.
func sysfs(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := fstest.MapFS{}
	for _, f := range txtar.Parse(raw).Files {
		switch dir, isDisk := strings.CutSuffix(f.Name, "/basics"); {
		case f.Name == "links":
			for line := range strings.Lines(string(f.Data)) {
				from, to, _ := strings.Cut(strings.TrimSpace(line), " ")
				root[from] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
			}
		case isDisk:
			for i, value := range strings.Fields(string(f.Data)) {
				file := []string{"dev", "size", "removable", "ro", "queue/logical_block_size", "diskseq"}[i]
				root[dir+"/"+file] = &fstest.MapFile{Data: []byte(value + "\n")}
			}
		default:
			root[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	return root
}

func TestDevices(t *testing.T) {
	list, err := Devices(sysfs(t, "laptop"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `/dev/mmcblk0: 31915.0 MB, SC32G, sd, serial 0x5a4c1d2e
/dev/mmcblk1: 62537.1 MB, DF4064, emmc: /dev/mmcblk1 is soldered in (eMMC), and only removable disks are written to
/dev/nvme0n1: 512110.2 MB, Fast SSD 512GB, nvme, serial S123456: /dev/nvme0n1 holds the running system: /dev/nvme0n1p1 is mounted at /boot/efi; /dev/nvme0n1p2 is part of /dev/dm-0 (crypt); /dev/dm-0 is part of /dev/dm-1 (vg-root); /dev/dm-1 is mounted at /
/dev/sda: 1000204.9 MB, Big Disk 1TB, ata: /dev/sda is not removable, and only removable disks are written to: SD cards and what is on USB
/dev/sdb: 31915.0 MB, Generic STORAGE DEVICE, usb, serial 000000001206: /dev/sdb is in use: /dev/sdb1 is mounted at /media/me/my card; unmount it, or eject it in the file manager and put it in again
/dev/sdd: 30784.1 MB, SanDisk Ultra, usb, serial 4C530001
/dev/sde: 2000398.9 MB, usb: /dev/sde is in use: /dev/sde1 is mounted at /media/me/backup; unmount it, or eject it in the file manager and put it in again
/dev/sdf: 2000398.9 MB, usb: /dev/sdf is in use: /dev/sdf is part of /dev/md0; /dev/md0 is mounted at /srv; unmount it, or eject it in the file manager and put it in again
/dev/sdg: 8053.1 MB, usb: /dev/sdg is write-protected: move the switch at the side of the card
/dev/sdh: 8053.1 MB, usb: /dev/sdh is in use: /dev/sdh2 is swap; unmount it, or eject it in the file manager and put it in again
`
	var got strings.Builder
	for _, d := range list {
		fmt.Fprint(&got, d.String())
		if err := d.Refuse(1 << 30); err != nil {
			fmt.Fprintf(&got, ": %v", err)
		}
		fmt.Fprintln(&got)
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestRefuse(t *testing.T) {
	ok := Device{Name: "sdz", Size: 1 << 30, Bus: "usb", Removable: true, Sector: 512}
	if err := ok.Refuse(1 << 30); err != nil {
		t.Errorf("it is refused: %v", err)
	}
	for _, test := range []struct {
		change func(*Device)
		want   string
	}{
		{func(d *Device) { d.Size-- }, "the image has 1073.7 MB, and /dev/sdz only 1073.7 MB"},
		{func(d *Device) { d.Size = 0 }, "has no card in it"},
		{func(d *Device) { d.Sector = 4096 }, "has sectors of 4096 bytes"},
		{func(d *Device) { d.Removable = false }, "is not removable"},
		{func(d *Device) { d.System, d.Uses = true, []string{"/dev/sdz1 is mounted at /"} }, "holds the running system"},
		{func(d *Device) { d.Name, d.Removable = "loop1", false }, "is a loop device"},
	} {
		d := ok
		test.change(&d)
		if err := d.Refuse(1 << 30); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, not %q", d, err, test.want)
		}
	}
}

// TestOther has what is no disk be not removable, also where the kernel says so.
func TestOther(t *testing.T) {
	u, err := readUses(sysfs(t, "laptop"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sr0", "loop0", "dm-0", "md0"} {
		if d := u.device(name); d.Removable || d.Refuse(0) == nil {
			t.Errorf("%s is written to", name)
		}
	}
	if d := u.device("sdc"); !d.Removable || d.Refuse(0) == nil {
		t.Error("an empty reader is written to")
	}
}

// TestSystemBelow has the system on a volume in an encrypted partition, and nothing else of that disk mounted.
func TestSystemBelow(t *testing.T) {
	root := sysfs(t, "laptop")
	mounts, _, _ := strings.Cut(string(root["proc/self/mountinfo"].Data), "30 22 ")
	root["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte(mounts)}
	u, err := readUses(root)
	if err != nil {
		t.Fatal(err)
	}
	if d := u.device("nvme0n1"); !d.System {
		t.Errorf("%v", d.Uses)
	}
}

// TestHostile has a device's own words not reach a terminal as they are.
func TestHostile(t *testing.T) {
	root := sysfs(t, "laptop")
	root["sys/devices/pci0000:00/0000:00:14.0/usb2/2-2/2-2:1.0/host7/target7:0:0/7:0:0:0/block/sdd/device/model"] = &fstest.MapFile{Data: []byte("\x1b[2Ja\nb\x00\xff")}
	u, err := readUses(root)
	if err != nil {
		t.Fatal(err)
	}
	if d := u.device("sdd"); d.Model != "[2Ja b" {
		t.Errorf("%q", d.Model)
	}
	delete(root, "proc/self/mountinfo")
	if _, err := Devices(root); err == nil {
		t.Error("disks are listed without knowing what is mounted")
	}
}

func FuzzMounts(f *testing.F) {
	f.Add("41 22 8:17 / /media/me/my\\040card rw,nosuid shared:30 - vfat /dev/sdb1 rw\n")
	f.Add("a - b\n\\777 \\04")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseMounts(text) {
			if m.number == "" || m.point == "" && !strings.Contains(text, "\\") {
				t.Errorf("%q gave %+v", text, m)
			}
		}
		parseSwaps(text)
	})
}
