package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// OpenINA opens bus n, /dev/i2c-n, and reads a chip there. A chip that the kernel's driver has is refused: it is found under hwmon.
// The error says what to do about it.
func OpenINA(n int, c INA) (Sensor, error) {
	addr := c.Addr
	if addr == 0 {
		addr = 0x40
	}
	if _, err := os.Lstat(fmt.Sprintf("/sys/bus/i2c/devices/%d-%04x/driver", n, addr)); err == nil {
		return nil, fmt.Errorf("the kernel has a driver for the chip at %#x of I2C bus %d: use its hwmon sensor", addr, n)
	}
	bus, err := openI2C(n)
	if err != nil {
		return nil, err
	}
	s, err := newINA(bus, c)
	if err != nil {
		bus.Close()
		return nil, err
	}
	s.close = bus.Close
	return s, nil
}

// i2cDev is a bus of the kernel's i2c-dev.
//
// periph's own (host/v3/sysfs) keeps addresses of the stack as integers across calls; they are stale when the stack has grown meanwhile.
// Here what the kernel gets the address of is on the heap.
type i2cDev struct {
	fd   int
	n    int
	mu   sync.Mutex
	msgs [2]i2cMsg
	data i2cData
	w, r [8]byte
}

// struct i2c_msg and struct i2c_rdwr_ioctl_data of include/uapi/linux/i2c.h and i2c-dev.h
type i2cMsg struct {
	addr, flags, len uint16
	buf              unsafe.Pointer
}

type i2cData struct {
	msgs unsafe.Pointer
	n    uint32
}

const (
	i2cRDWR = 0x0707
	i2cRead = 1
)

var _ i2c.BusCloser = (*i2cDev)(nil)

func openI2C(n int) (*i2cDev, error) {
	name := fmt.Sprintf("/dev/i2c-%d", n)
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is not there: switch I2C on (Raspberry Pi: sudo raspi-config nonint do_i2c 0), or name another bus", name)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w: sudo usermod -aG i2c $USER, then log in again; in a unit of systemd: SupplementaryGroups=i2c", name, err)
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &i2cDev{fd: fd, n: n}, nil
}

func (d *i2cDev) String() string { return fmt.Sprintf("I2C%d", d.n) }
func (d *i2cDev) Close() error   { return unix.Close(d.fd) }

// SetSpeed cannot: the bus's speed is in the device tree.
func (d *i2cDev) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("%v: the speed is set in the device tree", d)
}

// Tx writes w, then reads r after a repeated start. Each has 8 bytes at most.
func (d *i2cDev) Tx(addr uint16, w, r []byte) error {
	if len(w) > len(d.w) || len(r) > len(d.r) {
		return fmt.Errorf("%v: %d bytes to write and %d to read; %d are the most", d, len(w), len(r), len(d.w))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	if len(w) > 0 {
		copy(d.w[:], w)
		d.msgs[n] = i2cMsg{addr: addr, len: uint16(len(w)), buf: unsafe.Pointer(&d.w)}
		n++
	}
	if len(r) > 0 {
		d.msgs[n] = i2cMsg{addr: addr, flags: i2cRead, len: uint16(len(r)), buf: unsafe.Pointer(&d.r)}
		n++
	}
	if n == 0 {
		return nil
	}
	d.data = i2cData{msgs: unsafe.Pointer(&d.msgs), n: uint32(n)}
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(d.fd), i2cRDWR, uintptr(unsafe.Pointer(&d.data)))
		switch e {
		case 0:
			copy(r, d.r[:])
			return nil
		case unix.EINTR:
		case unix.ENXIO, unix.EREMOTEIO:
			return fmt.Errorf("no chip answers at %#x of I2C bus %d (%w)", addr, d.n, e)
		default:
			return fmt.Errorf("I2C bus %d, address %#x: %w", d.n, addr, e)
		}
	}
}
