package sensor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// INA describes a power monitor of Texas Instruments on an I2C bus.
type INA struct {
	Chip           string  // "ina219", "ina226" or "ina260"
	Addr           uint16  // 0x40 to 0x4f; 0 is 0x40
	ShuntOhms      float64 // of an INA219 or INA226, such as 0.1; an INA260 has its own
	ShuntTolerance float64 // relative, such as 0.01; 0 is taken as 1 %
	Includes       string  // what is behind it, such as "the board's 5 V input"; for reports
}

// ParseINA reads CHIP:BUS:ADDRESS:OHMS, such as ina219:1:0x40:0.1; an ina260 goes without OHMS. Whether the values can be is [OpenINA]'s to say.
func ParseINA(s string) (bus int, c INA, err error) {
	parts := strings.Split(s, ":")
	chip, ok := inaChips[parts[0]]
	want := 4
	if chip.shuntVolts == 0 { // it has a shunt of its own
		want = 3
	}
	if !ok || len(parts) != want {
		return 0, c, fmt.Errorf("%.60q is not like ina219:1:0x40:0.1, ina226:1:0x40:0.1 or ina260:1:0x40: chip, I2C bus, address, ohms of the shunt", s)
	}
	n, err := strconv.ParseUint(parts[1], 10, 8)
	if err != nil {
		return 0, c, fmt.Errorf("%.60q: bus %.20q is no number from 0 to 255", s, parts[1])
	}
	addr, err := strconv.ParseUint(parts[2], 0, 16)
	if err != nil {
		return 0, c, fmt.Errorf("%.60q: address %.20q is no number such as 0x40", s, parts[2])
	}
	c.Chip, c.Addr = parts[0], uint16(addr)
	if want == 4 {
		if c.ShuntOhms, ok = decimal([]byte(parts[3])); !ok {
			return 0, c, fmt.Errorf("%.60q: %.20q is no number of ohms", s, parts[3])
		}
	}
	return int(n), c, nil
}

// register numbers of all three, and what an INA260 has in place of the shunt's voltage
const (
	regConfig  = 0
	regShunt   = 1
	regCurrent = 1
	regBus     = 2
	regMaker   = 0xfe
)

const makerTI = 0x5449 // "TI"

// inaChip is what differs. The figures are those of the kernel's drivers/hwmon/ina2xx.c and of the data sheets.
//
// The watts are the product of the two measured values, not the chip's power register: that one has steps of 20 mW on an INA219, and reads 0 for ever
// after a brown-out has cleared the calibration it depends on. Averages are chosen so that a conversion takes about 35 ms and nothing is missed between readings.
type inaChip struct {
	config     uint16  // written at start; checked at each reading
	mask       uint16  // the bits of config that read back
	shuntVolts float64 // V of one count of the shunt's voltage, 0 for a chip that gives amperes
	amps       float64 // A of one count
	busVolts   float64 // V of one count
	busShift   int     // flags below the bus voltage
	limit      int     // counts of the shunt's voltage or of the current at which the chip saturates
	gain       float64 // relative error
	maker      bool    // has the register of its maker
}

var inaChips = map[string]inaChip{
	// 32 V, 320 mV, 32 samples of both
	"ina219": {config: 0x3eef, mask: 0x3fff, shuntVolts: 10e-6, busVolts: 4e-3, busShift: 3, limit: 32000, gain: 0.01},
	// 16 samples of 1.1 ms of both
	"ina226": {config: 0x4527, mask: 0x0fff, shuntVolts: 2.5e-6, busVolts: 1.25e-3, limit: math.MaxInt16, gain: 0.001, maker: true},
	"ina260": {config: 0x6527, mask: 0x0fff, amps: 1.25e-3, busVolts: 1.25e-3, limit: math.MaxInt16, gain: 0.005, maker: true},
}

// ina reads a chip behind a bus.
type ina struct {
	bus   i2c.Bus
	close func() error
	addr  uint16
	chip  inaChip
	shunt float64
	info  Info
	w     [3]byte
	r     [2]byte
}

// NewINA reads a chip on bus, which stays the caller's. It writes the chip's configuration.
func NewINA(bus i2c.Bus, c INA) (Sensor, error) { return newINA(bus, c) }

func newINA(bus i2c.Bus, c INA) (*ina, error) {
	chip, ok := inaChips[c.Chip]
	if !ok {
		return nil, fmt.Errorf("%.20q is no chip that is known; use ina219, ina226 or ina260", c.Chip)
	}
	if c.Addr == 0 {
		c.Addr = 0x40
	}
	if c.Addr < 0x40 || c.Addr > 0x4f {
		return nil, fmt.Errorf("%s: address %#x is not within 0x40 and 0x4f", c.Chip, c.Addr)
	}
	if c.ShuntTolerance == 0 {
		c.ShuntTolerance = 0.01
	}
	source := fmt.Sprintf("data sheet: %g %%", 100*chip.gain)
	tolerance := 0.0
	if chip.shuntVolts != 0 {
		if !(c.ShuntOhms >= 1e-5 && c.ShuntOhms <= 100) {
			return nil, fmt.Errorf("%s: a shunt of %g ohms is not within 0.00001 and 100; read it off the board: R100 is 0.1", c.Chip, c.ShuntOhms)
		}
		if !(c.ShuntTolerance > 0 && c.ShuntTolerance <= 1) {
			return nil, fmt.Errorf("%s: a shunt's tolerance of %g is not within 0 and 1", c.Chip, c.ShuntTolerance)
		}
		tolerance = c.ShuntTolerance
		source += fmt.Sprintf(", shunt: %g %%", 100*tolerance)
	}
	if c.Includes == "" {
		c.Includes = "what is wired through the shunt"
	}
	s := &ina{bus: bus, addr: c.Addr, chip: chip, shunt: c.ShuntOhms, info: Info{
		Name: fmt.Sprintf("%s@%#x", c.Chip, c.Addr), Quantities: Power | Supply, Interval: 40 * time.Millisecond,
		Error: math.Hypot(chip.gain, tolerance), ErrorSource: source, Includes: c.Includes,
	}}
	if err := s.start(); err != nil {
		return nil, oneLine(fmt.Errorf("%s: %w", s.info.Name, err))
	}
	return s, nil
}

// start checks the chip and configures it.
func (s *ina) start() error {
	if s.chip.maker {
		v, err := s.read(regMaker)
		if err != nil {
			return err
		}
		if v != makerTI {
			return fmt.Errorf("register 0xfe is %#04x, not %#04x: this is another chip", v, makerTI)
		}
	}
	s.w[0] = regConfig
	binary.BigEndian.PutUint16(s.w[1:], s.chip.config)
	if err := s.bus.Tx(s.addr, s.w[:], nil); err != nil {
		return err
	}
	return s.configured()
}

var errReset = errors.New("the chip lost its configuration (a brown-out, or another program)")

// configured checks that the chip does what it was told: after a brown-out its readings are others.
func (s *ina) configured() error {
	v, err := s.read(regConfig)
	if err == nil && (v^s.chip.config)&s.chip.mask != 0 {
		err = fmt.Errorf("%w: register 0 is %#04x, not %#04x", errReset, v, s.chip.config)
	}
	return err
}

func (s *ina) read(reg byte) (uint16, error) {
	s.w[0] = reg
	err := s.bus.Tx(s.addr, s.w[:1], s.r[:])
	return binary.BigEndian.Uint16(s.r[:]), err
}

func (s *ina) Info() Info { return s.info }

func (s *ina) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

func (s *ina) Read(context.Context) (Sample, error) {
	begin := time.Now()
	watts, volts, err := s.measure()
	if errors.Is(err, errReset) {
		if again := s.start(); again != nil { // else the next reading may be good
			err = fmt.Errorf("%w; it cannot be configured anew: %w", err, again)
		}
	}
	var sample Sample
	if err == nil {
		err = sample.power(watts)
	}
	if err != nil {
		return Sample{}, noReading(s.info.Name, err)
	}
	sample.Time = middle(begin)
	sample.Has |= Supply
	sample.Volts = volts
	return sample, nil
}

func (s *ina) measure() (watts, volts float64, err error) {
	bus, err := s.read(regBus)
	if err != nil {
		return 0, 0, err
	}
	raw, err := s.read(regShunt)
	if err != nil {
		return 0, 0, err
	}
	if err := s.configured(); err != nil {
		return 0, 0, err
	}
	count := int(int16(raw))
	volts = float64(bus>>s.chip.busShift) * s.chip.busVolts
	amps := float64(count) * s.chip.amps
	if s.chip.shuntVolts != 0 {
		amps = float64(count) * s.chip.shuntVolts / s.shunt
	}
	switch {
	case bus>>s.chip.busShift == 0:
		return 0, 0, errors.New("the bus voltage is 0: nothing is connected, or the chip has just started")
	case count >= s.chip.limit || count <= -s.chip.limit:
		return 0, 0, fmt.Errorf("the current is beyond what the chip can measure (%.3g A)", math.Abs(amps))
	case amps*volts < -0.01:
		return 0, 0, fmt.Errorf("the current is negative (%.3g A): swap the wires of the shunt", amps)
	case amps <= 0: // with the noise of nothing
		return 0, 0, errors.New("the current is 0: nothing is wired through the shunt")
	}
	return amps * volts, volts, nil
}
