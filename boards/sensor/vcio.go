package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The firmware's devices. Newer kernels have the first, which passes on commands only; it needs fewer rights.
var mailboxes = []string{"dev/vcio_gencmd", "dev/vcio"}

// vcioProperty is _IOWR(100, 0, char *): its size is that of a pointer.
const vcioProperty = 3<<30 | uint(unsafe.Sizeof(uintptr(0)))<<16 | 100<<8

type vcio int

// OpenMailbox opens /dev/vcio_gencmd or /dev/vcio. The error says what to do about it.
func OpenMailbox() (Mailbox, error) {
	var first error
	for _, name := range mailboxes {
		fd, err := unix.Open("/"+name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			return vcio(fd), nil
		}
		if first == nil || errors.Is(first, fs.ErrNotExist) {
			first = &fs.PathError{Op: "open", Path: "/" + name, Err: err}
		}
	}
	return nil, first
}

func (v vcio) Property(msg []uint32) error {
	if len(msg) < 3 || uint64(msg[0]) != 4*uint64(len(msg)) {
		return fmt.Errorf("a message of %d words says that it has %d bytes", len(msg), msg[0])
	}
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(v), uintptr(vcioProperty), uintptr(unsafe.Pointer(&msg[0])))
		runtime.KeepAlive(msg)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		case unix.ENOTTY: // a 64-bit kernel knows another number for 32-bit programs
			return errors.New("the mailbox does not know its own ioctl: is this a 32-bit program on another kernel?")
		default:
			return fmt.Errorf("mailbox: %w", e)
		}
	}
}

func (v vcio) Close() error { return unix.Close(int(v)) }
