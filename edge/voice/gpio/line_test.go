package gpio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// size is the size of its argument in an ioctl's number.
func size(request uint) uintptr { return uintptr(request >> 16 & 0x3fff) }

// TestLayout holds the structures against the sizes that the kernel's header put into the numbers of its calls.
func TestLayout(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  uintptr
		want uintptr
	}{
		{"line request", unsafe.Sizeof(lineRequest{}), size(unix.GPIO_V2_GET_LINE_IOCTL)},
		{"line values", unsafe.Sizeof(lineValues{}), size(unix.GPIO_V2_LINE_GET_VALUES_IOCTL)},
		{"line config", unsafe.Sizeof(lineConfig{}), 0x110},
		{"chip info", unsafe.Sizeof(chipInfo{}), size(unix.GPIO_GET_CHIPINFO_IOCTL)},
	} {
		if tt.got != tt.want {
			t.Errorf("%s has %d bytes, not %d", tt.name, tt.got, tt.want)
		}
	}
}

func TestOpen(t *testing.T) {
	dev := t.TempDir()
	if _, err := open("17", dev); err == nil || !strings.Contains(err.Error(), "no /dev/gpiochip") {
		t.Errorf("without chips: %v", err)
	}
	for _, name := range []string{"gpiochip0", "gpiochip1"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ spec, want string }{
		{"17", "gpiochip0:17"}, {"gpiochip1:4", "gpiochip1:4"},
		{"", ""}, {"-1", ""}, {"pin17", ""}, {"gpiochip0", ""}, {"gpiochip0:", ""}, {"mem:3", ""}, {"gpiochip0/../x:3", ""}, {"99999", ""},
	} {
		l, err := open(tt.spec, dev)
		got := ""
		if err == nil {
			got = l.String()
		}
		if got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.spec, got, err, tt.want)
		}
	}
	// What is no chip says so, and stays harmless.
	l, err := open("gpiochip1:4", dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Out(true); err == nil {
		t.Error("a file took a level")
	}
	if bool(l.Read()) || l.WaitForEdge(0) || l.Halt() != nil {
		t.Error("a line that is not open does something")
	}
}
