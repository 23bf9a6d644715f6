package sensor

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

// Sensor reads some quantities of a board. It is used by one goroutine at a time.
type Sensor interface {
	// Info says what the sensor is. It does not change.
	Info() Info
	// Read takes one sample. An error means that there is no reading, and says why, in one printable line; the next Read may succeed.
	// Reading files and ioctls cannot be interrupted: ctx matters to an external meter only.
	Read(ctx context.Context) (Sample, error)
	Close() error
}

// Info describes a sensor, for reports.
type Info struct {
	Name        string        `json:"name"`
	Quantities  Quantity      `json:"-"`
	Interval    time.Duration `json:"interval_ns"`            // from one reading to the next at most as often as this is worth while
	MaxGap      time.Duration `json:"max_gap_ns,omitempty"`   // what happened between samples farther apart is unknown; 0 is 5 intervals, at least 1 s
	Error       float64       `json:"relative_error"`         // of the watts, one standard deviation or what the source gives; 0 if there are no watts
	ErrorSource string        `json:"error_source,omitempty"` // where Error comes from
	Includes    string        `json:"includes,omitempty"`     // what of the board the watts include, and what not
}

func (i Info) maxGap() time.Duration {
	if i.MaxGap > 0 {
		return i.MaxGap
	}
	return max(5*i.Interval, time.Second)
}

// Quantity is a set of what a sample holds.
type Quantity uint8

const (
	Power    Quantity = 1 << iota // Watts
	Counter                       // Joules
	Restart                       // the energy counter began anew: what it counted since the sample before is unknown
	Supply                        // Volts
	Heat                          // Celsius
	Clock                         // Hertz
	Throttle                      // Throttled
)

// Sample is one reading.
type Sample struct {
	Time      time.Time // the middle of the reading, with the monotonic clock
	Has       Quantity
	Watts     float64 // of a sensor that counts energy: the mean since the sample before
	Raw       float64 // Watts before a [Calibration], else the same
	Joules    float64 // counted since the sensor was opened
	Volts     float64 // of the supply
	Celsius   float64 // of the hottest part
	Hertz     float64 // of the fastest core
	Throttled Throttled
}

// Throttled is a Raspberry Pi firmware's word: what holds the board back now, in the low half, and what did since it was booted, in the high half.
type Throttled uint32

const (
	UnderVoltage   Throttled = 1 << iota // the supply is below 4.63 V
	FrequencyCap                         // the ARM clock is capped
	Throttling                           // the ARM clock is throttled
	TemperatureCap                       // the soft temperature limit is active

	throttledNow  = UnderVoltage | FrequencyCap | Throttling | TemperatureCap
	throttledMask = throttledNow | throttledNow<<16
)

// Now is what holds the board back at this moment.
func (t Throttled) Now() Throttled { return t & throttledNow }

// Before is what held it back at some time since boot.
func (t Throttled) Before() Throttled { return t >> 16 & throttledNow }

func (t Throttled) String() string {
	names := func(t Throttled) string {
		var s []string
		for i, name := range []string{"under-voltage", "frequency capped", "throttled", "soft temperature limit"} {
			if t>>i&1 != 0 {
				s = append(s, name)
			}
		}
		return strings.Join(s, ", ")
	}
	now, before := names(t.Now()), names(t.Before())
	switch {
	case now != "" && before != "":
		return "now: " + now + "; since boot: " + before
	case now != "":
		return "now: " + now
	case before != "":
		return "since boot: " + before
	}
	return "not throttled"
}

// Limits of what is believed. They are far beyond any board: they catch nonsense, not faults.
const (
	maxWatts   = 10_000
	maxVolts   = 100
	minCelsius = -60
	maxCelsius = 200
	maxHertz   = 20e9
)

// power puts watts into s, or says why they are none.
func (s *Sample) power(watts float64) error {
	if !(watts >= 0 && watts <= maxWatts) { // also if it is not a number
		return fmt.Errorf("%g W is not within 0 and %d W", watts, maxWatts)
	}
	s.Has |= Power
	s.Watts, s.Raw = watts, watts
	return nil
}

// usable reports whether a sample holds an energy or a power that can be summed up.
func (s *Sample) usable() bool {
	if s.Has&Counter != 0 {
		return !math.IsNaN(s.Joules) && !math.IsInf(s.Joules, 0)
	}
	return s.Has&Power != 0 && s.Watts >= 0 && s.Watts <= maxWatts
}

// middle is the time halfway between start and now.
func middle(start time.Time) time.Time { return start.Add(time.Since(start) / 2) }
