package measure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"bimamba/boards/sensor"
)

// SensorOptions choose the sensor of power.
type SensorOptions struct {
	Name        string // as [sensor.Choose] has it, or None; "" is [sensor.Auto]
	Meter       string // instead of Name: a command that prints watts, words with spaces between
	Calibration string // a file, see [sensor.LoadCalibration]
}

// None is the Name for no sensor of power.
const None = "none"

// Instruments is the sensors of a measurement.
type Instruments struct {
	Power       sensor.Sensor // nil, and NoPower says why
	NoPower     string
	Others      []sensor.Sensor // of temperature, clock and throttling
	calibration string
}

// FindInstruments finds the sensors of this board. root is os.DirFS("/"). Their caller closes them. The errors are about flags of the names of opt's fields.
func FindInstruments(ctx context.Context, root fs.FS, opt SensorOptions) (*Instruments, error) {
	name := opt.Name
	switch {
	case opt.Name != "" && opt.Meter != "":
		return nil, errors.New("--sensor and --meter do not go together: both name the sensor of power")
	case name == "" || name == None:
		name = sensor.Auto
	}
	power, heat, err := sensor.Choose(root, name, sensor.Options{})
	if err != nil {
		return nil, fmt.Errorf("--sensor: %w", err)
	}
	in := &Instruments{Power: power.Sensor}
	if heat.Sensor != nil {
		in.Others = append(in.Others, heat.Sensor)
	}
	if in.Power != nil && (opt.Name == None || opt.Meter != "") {
		in.Power.Close()
		in.Power = nil
	}
	switch {
	case opt.Meter != "":
		if in.Power, err = sensor.OpenMeter(sensor.Command{Args: strings.Fields(opt.Meter)}); err != nil {
			err = fmt.Errorf("--meter: %w", err)
		} else if _, err = in.Power.Read(ctx); err != nil { // better now than after minutes
			err = fmt.Errorf("--meter: %w", err)
		}
	case opt.Name == None:
		in.NoPower = "none was wanted (--sensor none)"
	case in.Power == nil:
		if in.NoPower = power.Reason; power.Mend == "" { // the reason is the names of all sensors, of which this report has no use
			in.NoPower = "none of this machine can be read; `bimamba doctor` says why"
		}
	}
	if err == nil && opt.Calibration != "" {
		err = in.calibrate(opt.Calibration)
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (in *Instruments) calibrate(path string) error {
	if in.Power == nil {
		return fmt.Errorf("--calibration %s: there is no sensor of power to calibrate: %s", path, in.NoPower)
	}
	c, err := sensor.LoadCalibration(path)
	if err != nil {
		return err
	}
	s, err := sensor.Calibrate(in.Power, c)
	if err != nil {
		return fmt.Errorf("--calibration %s: %w", path, err)
	}
	in.Power = s
	in.calibration = fmt.Sprintf("%.4g times the sensor's watts %+.4g W (%s)", c.Slope, c.Offset, c.Source)
	return nil
}

// Close closes all sensors.
func (in *Instruments) Close() {
	if in.Power != nil {
		in.Power.Close()
	}
	for _, s := range in.Others {
		s.Close()
	}
}

// source describes a sensor in a report.
func source(i sensor.Info) Source {
	return Source{Name: i.Name, Interval: i.Interval.Seconds(), Error: i.Error, ErrorSource: i.ErrorSource, Includes: i.Includes}
}

// recorders samples all of them during a measurement.
type recorders struct {
	power  *sensor.Recorder // nil
	others []*sensor.Recorder
	in     *Instruments
	buf    []sensor.Sample
	tally  tally // of the phase, of power
}

// Samples that are kept of a sensor: as many as the measurement will give, within a few MB.
const (
	minSamples = 1 << 10
	maxSamples = 1 << 16
)

// record starts all recorders, for a measurement of about so long.
func (in *Instruments) record(long time.Duration) *recorders {
	r := &recorders{in: in}
	keep := func(s sensor.Sensor) int {
		n := 3 * long / 2 / max(s.Info().Interval, time.Millisecond)
		return int(min(max(n, minSamples), maxSamples))
	}
	if in.Power != nil {
		r.power = sensor.Record(in.Power, keep(in.Power))
		r.tally.rec, r.tally.part = r.power, keep(in.Power)/4
	}
	for _, s := range in.Others {
		r.others = append(r.others, sensor.Record(s, keep(s)))
	}
	return r
}

func (r *recorders) stop() {
	if r.power != nil {
		r.power.Stop()
	}
	for _, o := range r.others {
		o.Stop()
	}
}

// describe is the sensors as a report has them, when all was measured.
func (r *recorders) describe() Sensors {
	s := Sensors{NoPower: r.in.NoPower, Others: []Source{}}
	var has sensor.Quantity
	all := r.others
	if r.power != nil {
		p := source(r.power.Info())
		p.Calibration = r.in.calibration
		s.Power, s.NoPower = &p, ""
		all = append(all[:len(all):len(all)], r.power)
	}
	for _, o := range all {
		if o != r.power {
			s.Others = append(s.Others, source(o.Info()))
			has |= o.Info().Quantities
		}
		if st := o.Stats(); st.Failures > 0 {
			s.Failures = append(s.Failures, Failure{o.Info().Name, st.Failures, st.LastError.Error()})
		}
	}
	const none = "no sensor of this machine shows it"
	if has&sensor.Heat == 0 {
		s.NoHeat = none
	}
	if has&sensor.Clock == 0 {
		s.NoClock = none
	}
	if has&sensor.Throttle == 0 {
		s.NoThrottle = none
	}
	return s
}

// each calls fn with every sample of the others between two moments that has a quantity. The firmware's are preferred to the kernel's: they come first.
func (r *recorders) each(has sensor.Quantity, from, to time.Time, fn func(*sensor.Sample)) {
	for _, o := range r.others {
		if o.Info().Quantities&has == 0 {
			continue
		}
		r.buf = o.Samples(r.buf[:0])
		for i := range r.buf {
			if s := &r.buf[i]; s.Has&has != 0 && !s.Time.Before(from) && !s.Time.After(to) {
				fn(s)
			}
		}
		return
	}
}

// last is the newest reading of a quantity that is not old.
func (r *recorders) last(has sensor.Quantity) (sensor.Sample, bool) {
	list := r.others
	if has&(sensor.Power|sensor.Counter) != 0 {
		list = nil
		if r.power != nil {
			list = []*sensor.Recorder{r.power}
		}
	}
	for _, o := range list {
		if o.Info().Quantities&has == 0 {
			continue
		}
		s, ok := o.Last()
		return s, ok && s.Has&has != 0 && time.Since(s.Time) <= max(5*o.Info().Interval, time.Second)
	}
	return sensor.Sample{}, false
}

// heat and clock are those between two moments, nil if there was no reading.
func (r *recorders) heat(from, to time.Time) (h *Heat) {
	r.each(sensor.Heat, from, to, func(s *sensor.Sample) {
		if h == nil {
			h = &Heat{s.Celsius, s.Celsius}
		}
		h.Max = max(h.Max, s.Celsius)
	})
	return h
}

func (r *recorders) clock(from, to time.Time) (c *Clock) {
	r.each(sensor.Clock, from, to, func(s *sensor.Sample) {
		mhz := s.Hertz / 1e6
		if c == nil {
			c = &Clock{mhz, mhz}
		}
		c.Min, c.Max = min(c.Min, mhz), max(c.Max, mhz)
	})
	return c
}

// throttled is what held the board back between two moments, and how often that changed; ok is false if no sensor told.
//
// A bit of "since boot" that comes is a moment that no sample caught, also one since the last sample before from.
func (r *recorders) throttled(from, to time.Time) (bits sensor.Throttled, changes int, ok bool) {
	var prev sensor.Throttled
	known := false // prev is
	r.each(sensor.Throttle, time.Time{}, to, func(s *sensor.Sample) {
		if !s.Time.Before(from) {
			if came := s.Throttled.Before() &^ prev.Before(); ok && s.Throttled.Now() != prev.Now() {
				changes++
			} else if came &^= s.Throttled.Now(); known && came != 0 {
				changes++
				bits |= came
			}
			bits |= s.Throttled.Now()
			ok = true
		}
		prev, known = s.Throttled, true
	})
	return bits, changes, ok
}

// events is every change of throttling since start, the first reading included; nil if no sensor told.
func (r *recorders) events(start time.Time) (list []Event) {
	var prev sensor.Throttled
	r.each(sensor.Throttle, start, time.Now(), func(s *sensor.Sample) {
		if list != nil && s.Throttled == prev || len(list) >= maxEvents {
			return
		}
		prev = s.Throttled
		list = append(list, Event{round(s.Time.Sub(start).Seconds()), bitNames(prev.Now()), bitNames(prev.Before())})
	})
	return list
}

// bitNames is the names of what holds a board back.
func bitNames(t sensor.Throttled) []string {
	out := []string{}
	for i, name := range []string{"under-voltage", "frequency capped", "throttled", "soft temperature limit"} {
		if t>>i&1 != 0 {
			out = append(out, name)
		}
	}
	return out
}
