package sensor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// firmware reads throttling, temperature and clock of any Raspberry Pi.
type firmware struct {
	m       Mailbox
	msg     [17]uint32
	narrow  bool // the device passes on commands only
	command command
}

func newFirmware(m Mailbox) *firmware { return &firmware{m: m} }

func (f *firmware) Info() Info {
	return Info{Name: firmwareName, Quantities: Throttle | Heat | Clock, Interval: time.Second}
}

func (f *firmware) Close() error { return f.m.Close() }

func (f *firmware) Read(context.Context) (Sample, error) {
	start := time.Now()
	var s Sample
	err := fs.ErrPermission
	if !f.narrow {
		s, err = f.tags()
	}
	if errors.Is(err, fs.ErrPermission) { // a kernel with narrow devices
		f.narrow = true
		s, err = f.texts()
	}
	if err != nil {
		return Sample{}, noReading(firmwareName, err)
	}
	s.Time = middle(start)
	return s, nil
}

// tags asks for all three in one message.
//
// The value of the throttled tag is a mask of the "since boot" bits to clear. 0 leaves them: others want to see them, too.
// The kernel's own rpi_volt driver clears them every 2 s, so that they have to be collected over a run.
func (f *firmware) tags() (Sample, error) {
	f.msg = [...]uint32{
		4 * 17, statusRequest,
		tagThrottled, 4, 0, 0,
		tagTemperature, 8, 0, 0, 0,
		tagClock, 8, 0, clockARM, 0,
		0,
	}
	if err := f.m.Property(f.msg[:]); err != nil {
		return Sample{}, err
	}
	return parseTags(f.msg[:])
}

func parseTags(msg []uint32) (Sample, error) {
	s := Sample{Has: Throttle | Heat | Clock}
	if err := status(msg); err != nil {
		return s, err
	}
	v, err := answer(msg, 2, tagThrottled, 1)
	if err != nil {
		return s, err
	}
	if s.Throttled, err = throttled(v[0]); err != nil {
		return s, err
	}
	if v, err = answer(msg, 6, tagTemperature, 2); err != nil {
		return s, err
	}
	if v[1] == 0 { // what a firmware without the sensor leaves
		return s, errors.New("the firmware gave no temperature")
	}
	if s.Celsius, err = celsius(float64(int32(v[1])) / 1000); err != nil {
		return s, err
	}
	if v, err = answer(msg, 11, tagClock, 2); err != nil {
		return s, err
	}
	s.Hertz, err = hertz(float64(v[1]))
	return s, err
}

func (f *firmware) texts() (Sample, error) {
	s := Sample{Has: Throttle | Heat | Clock}
	b, err := f.command.request(f.m, "get_throttled")
	if err != nil {
		return s, err
	}
	if s.Throttled, err = parseThrottled(b); err != nil {
		return s, err
	}
	if b, err = f.command.request(f.m, "measure_temp"); err != nil {
		return s, err
	}
	if s.Celsius, err = parseTemperature(b); err != nil {
		return s, err
	}
	if b, err = f.command.request(f.m, "measure_clock arm"); err != nil {
		return s, err
	}
	s.Hertz, err = parseClock(b)
	return s, err
}

// parseThrottled reads throttled=0x50005. Cut off, it can still be one: nothing ends it but the NUL that request looks for.
func parseThrottled(b []byte) (Throttled, error) {
	d, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte("throttled="))
	v, isHex := hex(d)
	if !ok || !isHex {
		return 0, fmt.Errorf("%s is not like throttled=0x50005", quoted(b))
	}
	return throttled(v)
}

// parseTemperature reads temp=42.8'C.
func parseTemperature(b []byte) (float64, error) {
	d, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte("temp="))
	d, unit := bytes.CutSuffix(d, []byte("'C"))
	d, minus := bytes.CutPrefix(d, []byte("-"))
	v, isNumber := decimal(d)
	if !ok || !unit || !isNumber {
		return 0, fmt.Errorf("%s is not like temp=42.8'C", quoted(b))
	}
	if minus {
		v = -v
	}
	return celsius(v)
}

// parseClock reads frequency(48)=1500398464. The number in parentheses differs between boards.
func parseClock(b []byte) (float64, error) {
	d, ok := bytes.CutPrefix(bytes.TrimSpace(b), []byte("frequency("))
	id, d, paren := bytes.Cut(d, []byte(")="))
	_, isID := integer(id)
	v, isInt := integer(d)
	if !ok || !paren || !isID || !isInt {
		return 0, fmt.Errorf("%s is not like frequency(48)=1500398464", quoted(b))
	}
	return hertz(float64(v))
}
