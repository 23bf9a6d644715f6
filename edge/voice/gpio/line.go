package gpio

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// Line is one line of a chip. It implements [gpio.PinIO]; its methods are for one goroutine at a time.
type Line struct {
	chip   string // path of the device
	offset uint32
	f      *os.File // of the request; nil: none
	pull   gpio.Pull
}

var _ gpio.PinIO = (*Line)(nil)

// Structures of linux/gpio.h, version 2.
type (
	lineAttribute struct {
		id, _ uint32
		value uint64
		mask  uint64
	}
	lineConfig struct {
		flags uint64
		attrs uint32
		_     [5]uint32
		attr  [10]lineAttribute
	}
	lineRequest struct {
		offsets   [64]uint32
		consumer  [32]byte
		config    lineConfig
		lines     uint32
		eventSize uint32
		_         [5]uint32
		fd        int32
	}
	lineValues struct{ bits, mask uint64 }
	chipInfo   struct {
		name, label [32]byte
		lines       uint32
	}
)

const (
	eventSize = 48 // of struct gpio_v2_line_event

	flagInput    = 1 << 2
	flagOutput   = 1 << 3
	flagRising   = 1 << 4
	flagFalling  = 1 << 5
	flagPullUp   = 1 << 8
	flagPullDown = 1 << 9
	flagFloat    = 1 << 10

	attrValues   = 2
	attrDebounce = 3

	debounce = 10_000 // µs that a level has to last
)

// Open finds a line: "17", of the board's pin header, or "gpiochip2:17". It is not asked for yet.
func Open(spec string) (*Line, error) { return open(spec, "/dev") }

func open(spec, dev string) (*Line, error) {
	chip, number, named := strings.Cut(spec, ":")
	if !named {
		chip, number = "", spec
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || named && (!strings.HasPrefix(chip, "gpiochip") || strings.ContainsRune(chip, '/')) {
		return nil, fmt.Errorf("%q is no GPIO line; write its number, as 17, or gpiochipN:NUMBER", spec)
	}
	if named {
		chip = filepath.Join(dev, chip)
	} else if chip, err = header(dev); err != nil {
		return nil, err
	}
	return &Line{chip: chip, offset: uint32(n)}, nil
}

// header finds the chip of a board's pin header: that of a Raspberry Pi 5, of an older one, or the first.
func header(dev string) (string, error) {
	chips, _ := filepath.Glob(filepath.Join(dev, "gpiochip*"))
	if len(chips) == 0 {
		return "", errors.New("there is no /dev/gpiochip*: this machine has no GPIO lines, or its kernel shows none")
	}
	best, rank := chips[0], 0
	var denied error
	for _, c := range chips {
		label, err := label(c)
		if errors.Is(err, fs.ErrPermission) {
			denied = fmt.Errorf("%w; add the user to the group gpio", err)
		}
		r := 0
		switch {
		case label == "pinctrl-rp1":
			r = 2
		case strings.HasPrefix(label, "pinctrl-bcm"):
			r = 1
		}
		if r > rank {
			best, rank = c, r
		}
	}
	return best, denied
}

func label(chip string) (string, error) {
	f, err := os.Open(chip)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var info chipInfo
	if err := ioctl(f, unix.GPIO_GET_CHIPINFO_IOCTL, unsafe.Pointer(&info)); err != nil {
		return "", err
	}
	b, _, _ := bytes.Cut(info.label[:], []byte{0})
	return string(b), nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	if err := c.Control(func(fd uintptr) { _, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)) }); err != nil {
		return err
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// request asks the kernel for the line anew.
func (l *Line) request(c lineConfig) error {
	l.Halt()
	chip, err := os.Open(l.chip)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; add the user to the group gpio", err)
		}
		return err
	}
	defer chip.Close()
	r := lineRequest{config: c, lines: 1}
	r.offsets[0] = l.offset
	copy(r.consumer[:], "bimamba")
	if err := ioctl(chip, unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&r)); err != nil {
		switch err {
		case unix.EBUSY:
			err = errors.New("another program has it, or it is used for something else (pinctrl, device tree)")
		case unix.EINVAL:
			err = errors.New("the chip has no such line, or cannot do that with it")
		}
		return fmt.Errorf("%s: %w", l, err)
	}
	unix.SetNonblock(int(r.fd), true)
	l.f = os.NewFile(uintptr(r.fd), l.String())
	return nil
}

// In implements [gpio.PinIn].
func (l *Line) In(pull gpio.Pull, edge gpio.Edge) error {
	c := lineConfig{flags: flagInput}
	switch pull {
	case gpio.PullUp:
		c.flags |= flagPullUp
	case gpio.PullDown:
		c.flags |= flagPullDown
	case gpio.Float:
		c.flags |= flagFloat
	}
	if edge == gpio.RisingEdge || edge == gpio.BothEdges {
		c.flags |= flagRising
	}
	if edge == gpio.FallingEdge || edge == gpio.BothEdges {
		c.flags |= flagFalling
	}
	if edge != gpio.NoEdge {
		c.attrs = 1
		c.attr[0] = lineAttribute{id: attrDebounce, value: debounceValue(), mask: 1}
	}
	l.pull = pull
	return l.request(c)
}

// debounceValue is the union's debounce_period_us, the first four of its eight bytes.
func debounceValue() (v uint64) {
	*(*uint32)(unsafe.Pointer(&v)) = debounce
	return v
}

// Read implements [gpio.PinIn]. A line that cannot be read is low.
func (l *Line) Read() gpio.Level {
	v := lineValues{mask: 1}
	if l.f == nil || ioctl(l.f, unix.GPIO_V2_LINE_GET_VALUES_IOCTL, unsafe.Pointer(&v)) != nil {
		return gpio.Low
	}
	return v.bits&1 != 0
}

// WaitForEdge implements [gpio.PinIn].
func (l *Line) WaitForEdge(timeout time.Duration) bool {
	if l.f == nil {
		return false
	}
	var until time.Time
	if timeout >= 0 {
		until = time.Now().Add(timeout)
	}
	l.f.SetReadDeadline(until)
	var b [eventSize]byte
	n, err := l.f.Read(b[:])
	return err == nil && n == len(b)
}

// Out implements [gpio.PinOut].
func (l *Line) Out(level gpio.Level) error {
	v := lineValues{mask: 1}
	if level {
		v.bits = 1
	}
	if l.f != nil && ioctl(l.f, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Pointer(&v)) == nil {
		return nil
	}
	c := lineConfig{flags: flagOutput, attrs: 1}
	c.attr[0] = lineAttribute{id: attrValues, value: v.bits, mask: 1}
	return l.request(c)
}

// Halt gives the line back.
func (l *Line) Halt() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// What [gpio.PinIO] asks for beside that.

func (l *Line) String() string                        { return fmt.Sprintf("%s:%d", filepath.Base(l.chip), l.offset) }
func (l *Line) Name() string                          { return l.String() }
func (l *Line) Number() int                           { return int(l.offset) }
func (l *Line) Function() string                      { return "" } // the kernel does not say
func (l *Line) Pull() gpio.Pull                       { return l.pull }
func (l *Line) DefaultPull() gpio.Pull                { return gpio.PullNoChange }
func (l *Line) PWM(gpio.Duty, physic.Frequency) error { return errors.New("a GPIO line has no PWM") }
