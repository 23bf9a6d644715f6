package sensor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"bimamba/internal/atomicfile"
)

// Calibration carries a sensor's watts to those of a meter at the wall: Slope · watts + Offset.
type Calibration struct {
	Version  int     `json:"version"`        // 1
	Sensor   string  `json:"sensor"`         // [Info].Name of what was calibrated
	Slope    float64 `json:"slope"`          // watts per watt
	Offset   float64 `json:"offset_watts"`   // what the sensor does not see at all
	Residual float64 `json:"residual_watts"` // standard deviation of the pairs from the line; 0 if unknown
	Meter    float64 `json:"meter_error"`    // relative error of the meter at the wall
	Error    float64 `json:"relative_error"` // of the result: Residual at the mean of the pairs, and Meter
	Pairs    int     `json:"pairs"`          // 0 for a line that was not fitted on this board
	Low      float64 `json:"low_watts"`      // the sensor's watts in the pairs, from
	High     float64 `json:"high_watts"`     // to; the line is not proven beyond
	Source   string  `json:"source"`         // where the line comes from
}

// PublishedPi5 is the line that users of the Raspberry Pi 5 pass on (it is in pitop's documentation). Its error was not published.
var PublishedPi5 = Calibration{
	Version: 1, Sensor: "pi5-pmic", Slope: 1.1451, Offset: 0.5879, Error: 0.1,
	Source: "published fit of another Raspberry Pi 5, not of this board; its error of 10 % is assumed",
}

// Pair is one measurement by both.
type Pair struct {
	Sensor float64 // watts
	Wall   float64 // watts
}

// Fit finds the line of least squares through at least 3 pairs. meter is the relative error of the meter at the wall.
func Fit(sensor string, pairs []Pair, meter float64) (Calibration, error) {
	c := Calibration{Version: 1, Sensor: sensor, Meter: meter, Pairs: len(pairs), Source: fmt.Sprintf("%d pairs measured on this board", len(pairs))}
	if len(pairs) < 3 {
		return c, fmt.Errorf("%d pairs; at least 3 are needed: measure at idle, with one core and with all cores busy", len(pairs))
	}
	var x, y float64
	c.Low, c.High = math.Inf(1), math.Inf(-1)
	for i, p := range pairs {
		if !(p.Sensor > 0 && p.Sensor <= maxWatts && p.Wall > 0 && p.Wall <= maxWatts) {
			return c, fmt.Errorf("pair %d: %g and %g W are not within 0 and %d W", i, p.Sensor, p.Wall, maxWatts)
		}
		x += p.Sensor / float64(len(pairs))
		y += p.Wall / float64(len(pairs))
		c.Low, c.High = min(c.Low, p.Sensor), max(c.High, p.Sensor)
	}
	if c.High-c.Low < 0.1*x {
		return c, fmt.Errorf("the pairs are all within %.3g and %.3g W: measure at idle, too, and with all cores busy", c.Low, c.High)
	}
	var xx, xy float64
	for _, p := range pairs {
		xx += (p.Sensor - x) * (p.Sensor - x)
		xy += (p.Sensor - x) * (p.Wall - y)
	}
	c.Slope = xy / xx
	c.Offset = y - c.Slope*x
	var squares float64
	for _, p := range pairs {
		d := p.Wall - c.Watts(p.Sensor)
		squares += d * d
	}
	c.Residual = math.Sqrt(squares / float64(len(pairs)-2))
	c.Error = math.Hypot(c.Residual/y, meter)
	return c, c.Validate()
}

// Watts is what the meter at the wall would show.
func (c Calibration) Watts(sensor float64) float64 { return c.Slope*sensor + c.Offset }

// Apply carries an energy of the uncalibrated sensor to the wall, for a report of both.
func (c Calibration) Apply(e Energy) Energy {
	t := e.Covered.Seconds()
	e.Joules = c.Slope*e.Joules + c.Offset*t
	e.Watts = c.Watts(e.Watts)
	e.Random *= c.Slope
	e.Systematic = c.Error * math.Abs(e.Joules)
	e.Uncertainty = math.Hypot(e.Random, e.Systematic)
	return e
}

// Validate checks the ranges: what is beyond them is no sensor and meter of the same board.
func (c Calibration) Validate() error {
	within := func(v, low, high float64) bool { return v >= low && v <= high } // false for what is not a number
	switch {
	case c.Version != 1:
		return fmt.Errorf("calibration: version %d is not known; calibrate again", c.Version)
	case c.Sensor == "" || c.Source == "":
		return errors.New("calibration: sensor or source is empty")
	case !within(c.Slope, 0.1, 10):
		return fmt.Errorf("calibration: slope %g is not within 0.1 and 10: do sensor and meter measure the same board?", c.Slope)
	case !within(c.Offset, -100, 100):
		return fmt.Errorf("calibration: offset %g W is not within -100 and 100", c.Offset)
	case !within(c.Error, 0, 1) || !within(c.Meter, 0, 1) || !within(c.Residual, 0, maxWatts):
		return fmt.Errorf("calibration: the errors %g, %g and %g W are not within 0 and 1, 1 and %d W", c.Error, c.Meter, c.Residual, maxWatts)
	case c.Pairs < 0 || !within(c.Low, 0, c.High) || !within(c.High, 0, maxWatts):
		return fmt.Errorf("calibration: %d pairs from %g to %g W are no range", c.Pairs, c.Low, c.High)
	}
	return nil
}

// maxCalibration is the size of a file that is read at most. A real one has 400 bytes.
const maxCalibration = 16 << 10

// ParseCalibration reads what Save wrote.
func ParseCalibration(b []byte) (Calibration, error) {
	var c Calibration
	if len(b) > maxCalibration {
		return c, fmt.Errorf("calibration: more than %d bytes", maxCalibration)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Calibration{}, fmt.Errorf("calibration: %w; calibrate again", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Calibration{}, fmt.Errorf("calibration: something follows at byte %d", d.InputOffset())
	}
	if err := c.Validate(); err != nil {
		return Calibration{}, err
	}
	return c, nil
}

// LoadCalibration reads a file.
func LoadCalibration(path string) (Calibration, error) {
	f, err := os.Open(path)
	if err != nil {
		return Calibration{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCalibration+1))
	if err != nil {
		return Calibration{}, err
	}
	c, err := ParseCalibration(b)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Save writes a file whole or not at all, and replaces what is there.
func (c Calibration) Save(path string) error {
	if err := c.Validate(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	f, err := atomicfile.Create(path, atomicfile.Options{Force: true})
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(b, '\n')); err != nil {
		return err
	}
	return f.Commit()
}

// calibrated is a sensor behind a line.
type calibrated struct {
	Sensor
	c    Calibration
	info Info
}

// Calibrate puts c behind s: Watts become those at the wall, Raw stays what s read. Closing it closes s.
func Calibrate(s Sensor, c Calibration) (Sensor, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	info := s.Info()
	if info.Name != c.Sensor {
		return nil, fmt.Errorf("the calibration is for %s, the sensor is %s", c.Sensor, info.Name)
	}
	if info.Quantities&Power == 0 || info.Quantities&Counter != 0 {
		return nil, fmt.Errorf("%s has no power to calibrate", info.Name)
	}
	info.Name += " fitted to the wall"
	info.Error, info.ErrorSource = c.Error, c.Source
	info.Includes = "the whole board at the wall, by a line through the sensor's watts (" + info.Includes + ")"
	return &calibrated{Sensor: s, c: c, info: info}, nil
}

func (c *calibrated) Info() Info { return c.info }

func (c *calibrated) Read(ctx context.Context) (Sample, error) {
	s, err := c.Sensor.Read(ctx)
	if err != nil || s.Has&Power == 0 {
		return s, err
	}
	raw := s.Watts
	if err := s.power(c.c.Watts(raw)); err != nil {
		return Sample{}, noReading(c.info.Name, err)
	}
	s.Raw = raw
	return s, nil
}
