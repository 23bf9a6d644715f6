package sensor

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"periph.io/x/conn/v3/i2c/i2ctest"
)

func read(reg byte, value uint16) i2ctest.IO {
	return i2ctest.IO{Addr: 0x40, W: []byte{reg}, R: []byte{byte(value >> 8), byte(value)}}
}

func write(reg byte, value uint16) i2ctest.IO {
	return i2ctest.IO{Addr: 0x40, W: []byte{reg, byte(value >> 8), byte(value)}}
}

func play(t *testing.T, ops ...[]i2ctest.IO) *i2ctest.Playback {
	bus := &i2ctest.Playback{DontPanic: true}
	for _, o := range ops {
		bus.Ops = append(bus.Ops, o...)
	}
	t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
	return bus
}

// What happens on the bus when a chip is opened. The values are synthesised from the data sheets and drivers/hwmon/ina2xx.c of the kernel.
var (
	start219 = []i2ctest.IO{write(0, 0x3eef), read(0, 0x3eef)}
	start226 = []i2ctest.IO{read(0xfe, 0x5449), write(0, 0x4527), read(0, 0x4527)}
	start260 = []i2ctest.IO{read(0xfe, 0x5449), write(0, 0x6527), read(0, 0x6527)}
)

func TestINA(t *testing.T) {
	ina219 := INA{Chip: "ina219", ShuntOhms: 0.1}
	ina226 := INA{Chip: "ina226", ShuntOhms: 0.01, ShuntTolerance: 0.005}
	ina260 := INA{Chip: "ina260"}
	for _, c := range []struct {
		name         string
		chip         INA
		start        []i2ctest.IO
		read         []i2ctest.IO
		watts, volts float64
		reason       string
	}{
		{"219: 5.08 V, 61.2 mV", ina219, start219, []i2ctest.IO{read(2, 1270<<3|2), read(1, 6120), read(0, 0x3eef)}, 5.08 * 0.612, 5.08, ""},
		{"226: 5.1 V, 12.345 mV", ina226, start226, []i2ctest.IO{read(2, 4080), read(1, 4938), read(0, 0x4527)}, 5.1 * 1.2345, 5.1, ""},
		{"260: 12 V, 0.75 A", ina260, start260, []i2ctest.IO{read(2, 9600), read(1, 600), read(0, 0x6527)}, 9, 12, ""},
		{"no current", ina226, start226, []i2ctest.IO{read(2, 4080), read(1, 0), read(0, 0x4527)}, 0, 0, "current is 0"},
		{"noise of nothing", ina226, start226, []i2ctest.IO{read(2, 4080), read(1, 0xffff), read(0, 0x4527)}, 0, 0, "current is 0"},
		{"wrong way", ina226, start226, []i2ctest.IO{read(2, 4080), read(1, 0xf000), read(0, 0x4527)}, 0, 0, "negative"},
		{"saturated", ina226, start226, []i2ctest.IO{read(2, 4080), read(1, 0x7fff), read(0, 0x4527)}, 0, 0, "beyond"},
		{"saturated the wrong way", ina219, start219, []i2ctest.IO{read(2, 1270<<3), read(1, 0x8300), read(0, 0x3eef)}, 0, 0, "beyond"},
		{"no voltage", ina219, start219, []i2ctest.IO{read(2, 2), read(1, 6120), read(0, 0x3eef)}, 0, 0, "voltage is 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := NewINA(play(t, c.start, c.read), c.chip)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Read(t.Context())
			if c.reason != "" {
				if err == nil || !strings.Contains(err.Error(), c.reason) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || math.Abs(got.Watts-c.watts) > 1e-9 || math.Abs(got.Volts-c.volts) > 1e-9 || got.Has != Power|Supply {
				t.Errorf("%+v, %v", got, err)
			}
			check(t, c.name, got)
			if i := s.Info(); i.Error <= 0 || !strings.Contains(i.ErrorSource, "data sheet") || i.Name != c.chip.Chip+"@0x40" {
				t.Errorf("%+v", i)
			}
		})
	}
}

// After a brown-out a chip has the configuration of its start, or a calibration of 0: it is configured anew, and the reading is none.
func TestINABrownOut(t *testing.T) {
	s, err := NewINA(play(t, start226,
		[]i2ctest.IO{read(2, 4080), read(1, 4938), read(0, 0x4127)}, start226,
		[]i2ctest.IO{read(2, 4080), read(1, 4938), read(0, 0x4527)},
	), INA{Chip: "ina226", ShuntOhms: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "lost its configuration") {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := s.Read(t.Context()); err != nil || math.Abs(got.Watts-5.1*1.2345) > 1e-9 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A chip that is lost at the moment of being configured anew, as one that fails is: the error is still one line.
func TestINALost(t *testing.T) {
	s, err := NewINA(play(t, start226, []i2ctest.IO{read(2, 4080), read(1, 4938), read(0, 0x4127)}), INA{Chip: "ina226", ShuntOhms: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context())
	if !errors.Is(err, errReset) {
		t.Fatal(err)
	}
	const want = "ina226@0x40: no reading: the chip lost its configuration (a brown-out, or another program): register 0 is 0x4127, not 0x4527; it cannot be configured anew: "
	if msg := err.Error(); !strings.HasPrefix(msg, want) || strings.Contains(msg, "\n") {
		t.Errorf("%q", msg)
	}
}

func TestINARefuses(t *testing.T) {
	for _, c := range []INA{
		{}, {Chip: "ina3221", ShuntOhms: 0.1}, {Chip: "ina219"}, {Chip: "ina219", ShuntOhms: -1}, {Chip: "ina219", ShuntOhms: math.NaN()}, {Chip: "ina226", ShuntOhms: math.Inf(1)},
		{Chip: "ina226", ShuntOhms: 0.1, ShuntTolerance: 2}, {Chip: "ina226", ShuntOhms: 0.1, ShuntTolerance: math.NaN()}, {Chip: "ina260", Addr: 0x50}, {Chip: "ina260", Addr: 1},
	} {
		if s, err := NewINA(play(t), c); err == nil {
			t.Errorf("%+v: %v", c, s)
		}
	}
	for name, ops := range map[string][]i2ctest.IO{
		"nobody answers": nil, "another chip": {read(0xfe, 0x1234)}, "does not keep its configuration": {read(0xfe, 0x5449), write(0, 0x4527), read(0, 0xffff)},
	} {
		if s, err := NewINA(play(t, ops), INA{Chip: "ina226", ShuntOhms: 0.1}); err == nil {
			t.Errorf("%s: %v", name, s)
		}
	}
	if _, err := os.Stat("/dev/i2c-63"); errors.Is(err, os.ErrNotExist) {
		if _, err := OpenINA(63, INA{Chip: "ina260"}); err == nil || !strings.Contains(err.Error(), "raspi-config") {
			t.Error(err)
		}
	}
	dev := &i2cDev{fd: -1}
	if err := dev.Tx(0x40, make([]byte, 9), nil); err == nil || !strings.Contains(err.Error(), "9 bytes") {
		t.Error(err)
	}
	if err := dev.Tx(0x40, []byte{1}, make([]byte, 2)); err == nil || !strings.Contains(err.Error(), "0x40") {
		t.Error(err)
	}
}
