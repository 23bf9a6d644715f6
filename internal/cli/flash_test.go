package cli

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"bimamba/boards/flash"
	"bimamba/internal/testmodel"
)

// usbDisk is a made-up /sys with a disk sdz on USB.
func usbDisk(number string, size int64, mounts string) fstest.MapFS {
	const usb = "sys/devices/pci0/usb1/1-1/"
	return fstest.MapFS{
		"sys/dev/block/" + number:                  {Data: []byte("../../devices/pci0/usb1/1-1/block/sdz"), Mode: fs.ModeSymlink | 0o777},
		"sys/block/sdz":                            {Data: []byte("../devices/pci0/usb1/1-1/block/sdz"), Mode: fs.ModeSymlink | 0o777},
		usb + "idVendor":                           {Data: []byte("05e3\n")},
		usb + "serial":                             {Data: []byte("000000001206\n")},
		usb + "block/sdz/dev":                      {Data: []byte(number)},
		usb + "block/sdz/size":                     {Data: fmt.Append(nil, size/512)},
		usb + "block/sdz/device/vendor":            {Data: []byte("Generic ")},
		usb + "block/sdz/device/model":             {Data: []byte("STORAGE DEVICE  ")},
		usb + "block/sdz/queue/logical_block_size": {Data: []byte("512")},
		"proc/self/mountinfo":                      {Data: []byte(mounts)},
	}
}

func TestListDisks(t *testing.T) {
	for _, test := range []struct {
		mounts, want string
		size         int64
		json         bool
	}{
		{"", "DEVICE    SIZE      MODEL                   BUS  SERIAL        REFUSED\n" +
			"/dev/sdz  41.94 MB  Generic STORAGE DEVICE  usb  000000001206  \n", 1 << 20, false},
		{"", `[{"device":"/dev/sdz","bytes":41943040,"vendor":"Generic","model":"STORAGE DEVICE","serial":"000000001206","bus":"usb","uses":[],` +
			`"refused":"the image has 1073.7 MB, and /dev/sdz only 41.9 MB"}]` + "\n", 1 << 30, true},
		{"41 22 8:16 / /mnt rw - vfat /dev/sdz rw\n", `[{"device":"/dev/sdz","bytes":41943040,"vendor":"Generic","model":"STORAGE DEVICE","serial":"000000001206","bus":"usb",` +
			`"uses":["/dev/sdz is mounted at /mnt"],"refused":"/dev/sdz is in use: /dev/sdz is mounted at /mnt; unmount it, or eject it in the file manager and put it in again"}]` + "\n", 0, true},
	} {
		var out bytes.Buffer
		e := &env{stdout: &out, stderr: &out}
		if err := e.listDisks(usbDisk("8:16", 40<<20, test.mounts), test.size, &flashFlags{json: test.json}); err != nil || out.String() != test.want {
			t.Errorf("got %s\nwant %s\n%v", out.String(), test.want, err)
		}
	}
}

// TestFlashDevice asks, and writes to a loop device that the made-up /sys has be on USB.
func TestFlashDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	prog, err := exec.LookPath("losetup")
	if err != nil {
		t.Skip("losetup is not here (Debian package mount)")
	}
	dir := t.TempDir()
	image, card := filepath.Join(dir, "base.img"), filepath.Join(dir, "card")
	if err := unzip(filepath.Join(testmodel.Root(), "boards/image/testdata/base.img.gz"), image); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(card, bytes.Repeat([]byte{0xff}, 40<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command(prog, "--find", "--show", card).Output()
	if err != nil {
		t.Skipf("there is no loop device to be had: %v", err)
	}
	dev := strings.TrimSpace(string(b))
	defer exec.Command(prog, "--detach", dev).Run()
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	img, err := flash.Open(image, "")
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	const question = "/dev/sdz: 41.9 MB, Generic STORAGE DEVICE, usb, serial 000000001206\nall that is on it will be lost; type sdz to write to it: "
	for _, test := range []struct {
		typed  string
		flags  flashFlags
		mounts string
		err    string // "" if it is written
		asks   bool
		out    string
	}{
		{"", flashFlags{}, "", "there is no terminal to ask at: --yes 000000001206 writes to /dev/sdz", false, ""},
		{"sda\n", flashFlags{}, "", `"sda" is not sdz: nothing was written`, true, ""},
		{"\n", flashFlags{}, "", `"" is not sdz: nothing was written`, true, ""},
		{"", flashFlags{serial: "1"}, "", "/dev/sdz has the serial number 000000001206, not 1: nothing was written", false, ""},
		{"", flashFlags{serial: "000000001206", force: true}, "", "--force is for files", false, ""},
		{"sdz\n", flashFlags{}, "41 22 " + number + " / / rw - ext4 /dev/sdz rw\n", "/dev/sdz holds the running system: /dev/sdz is mounted at /", false, ""},
		{"sdz\n", flashFlags{}, "", "", true, "20.97 MB written in"},
		{"", flashFlags{serial: "000000001206"}, "", "", false, "/dev/sdz holds the image: 20.97 MB, SHA-256"},
		{"sdz", flashFlags{}, "", "", true, "20.97 MB were there already and compared"},
	} {
		var out, asked bytes.Buffer
		e := &env{stdin: strings.NewReader(test.typed), stdout: &out, stderr: &asked, typed: test.typed != ""}
		err := e.flash(t.Context(), usbDisk(number, 40<<20, test.mounts), img, dev, &test.flags)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q, %+v: %v, not %q", test.typed, test.flags, err, test.err)
		}
		if (asked.String() == question) != test.asks || !strings.Contains(out.String(), test.out) {
			t.Errorf("%q, %+v: asked %q, printed %q", test.typed, test.flags, asked.String(), out.String())
		}
	}
	want, _ := os.ReadFile(image)
	if got, err := os.ReadFile(card); err != nil || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("the card holds something else: %v", err)
	}
}
