package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"sync"
	"time"

	"bimamba/boards/sensor"
	"bimamba/edge/chat"
	"bimamba/edge/daemon/config"
)

const (
	kept       = 8192             // samples of power: as long as a request may take by default (5 minutes) of a sensor that is read every 40 ms, in 0.8 MB
	covers     = 0.8              // the part of an answer's time that samples have to cover
	idleTime   = 30 * time.Second // over which the power at idle is a mean,
	idleSettle = 2 * time.Second  // and what is left out before it
	stale      = 5 * time.Second  // a reading that is older is none
)

// sensors is what is read of the board while the daemon runs.
type sensors struct {
	found []sensor.Sensor  // what was opened
	power *sensor.Recorder // nil: noPower says why
	heat  *sensor.Recorder // of temperature, clock and throttling; nil: noHeat says why

	noPower, noHeat string
	log             *slog.Logger

	mu     sync.Mutex
	idle   sensor.Idle // Measured: it is known
	joules float64     // of answers whose energy is known
	tokens int         // that they have

	// watch's
	quiet  time.Time // since when nothing was computed; zero while something is
	failed [2]bool   // it was logged
}

// openSensors finds the sensors of a configuration, which are open from then on: they can be read behind the sandbox. It records nothing yet.
// root is the file system. An error says that the configuration asks for what is not here.
func openSensors(c *config.Config, root fs.FS, log *slog.Logger) (*sensors, error) {
	s := &sensors{log: log, noPower: "sensor is off", noHeat: "sensor is off"}
	if c.Sensor == config.SensorOff {
		return s, s.holds(c)
	}
	power, heat, err := sensor.Choose(root, c.Sensor, sensor.Options{})
	if err != nil {
		return nil, fmt.Errorf("sensor %s: %w; `bimamba doctor` lists what is here", c.Sensor, err)
	}
	s.noPower, s.noHeat = power.Reason, heat.Reason
	if power.Mend != "" {
		s.noPower += "; " + power.Mend
	}
	switch {
	case c.Calibration == "":
	case power.Sensor == nil:
		log.Warn("calibration: there is no sensor of power", "reason", power.Reason)
	default:
		line, err := sensor.LoadCalibration(c.Calibration)
		if err == nil {
			var there sensor.Sensor
			if there, err = sensor.Calibrate(power.Sensor, line); err == nil {
				power.Sensor = there
			}
		}
		if err != nil {
			power.Sensor.Close()
			if heat.Sensor != nil {
				heat.Sensor.Close()
			}
			return nil, fmt.Errorf("calibration %s: %w", c.Calibration, err)
		}
	}
	for _, f := range []sensor.Found{power, heat} {
		s.found = append(s.found, f.Sensor) // nil if there is none
	}
	if err := s.holds(c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// info is what is known of a sensor; false if there is none.
func (s *sensors) info(i int) (sensor.Info, bool) {
	if len(s.found) == 0 || s.found[i] == nil {
		return sensor.Info{}, false
	}
	return s.found[i].Info(), true
}

// holds says why the limits of a configuration cannot be held.
func (s *sensors) holds(c *config.Config) error {
	if _, ok := s.info(0); c.MaxWatts > 0 && !ok {
		return fmt.Errorf("max_watts %g needs a sensor of power: %s", c.MaxWatts, s.noPower)
	}
	if i, ok := s.info(1); c.MaxTemp > 0 && (!ok || i.Quantities&sensor.Heat == 0) {
		why := s.noHeat
		if ok {
			why = i.Name + " has none"
		}
		return fmt.Errorf("max_temp %g needs a sensor of temperature: %s", c.MaxTemp, why)
	}
	return nil
}

// start begins to sample.
func (s *sensors) start() {
	for i, to := range []**sensor.Recorder{&s.power, &s.heat} {
		info, ok := s.info(i)
		if !ok {
			continue
		}
		n := kept
		if i == 1 {
			n = 2 // the newest counts
		}
		*to = sensor.Record(s.found[i], n)
		if i == 0 {
			s.log.Info("sensor of power", "name", info.Name, "interval", info.Interval, "relative_error", info.Error, "includes", info.Includes)
		} else {
			s.log.Info("sensor of temperature", "name", info.Name, "interval", info.Interval)
		}
	}
	if s.power == nil {
		s.log.Info("no sensor of power", "reason", s.noPower)
	}
}

// close waits for a reading that is under way.
func (s *sensors) close() (err error) {
	for _, r := range []*sensor.Recorder{s.power, s.heat} {
		if r != nil {
			r.Stop()
		}
	}
	for _, f := range s.found {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// tick is called about once a second. work says that requests are under way, or were since the last time.
func (s *sensors) tick(work bool) {
	for i, r := range []*sensor.Recorder{s.power, s.heat} {
		if r == nil || s.failed[i] {
			continue
		}
		if st := r.Stats(); st.Failures > 0 {
			s.failed[i] = true // once: how often it fails is in the metrics
			s.log.Warn("a sensor gives no reading", "sensor", r.Info().Name, "error", st.LastError.Error())
		}
	}
	now := time.Now()
	switch {
	case work:
		s.quiet = time.Time{}
	case s.quiet.IsZero():
		s.quiet = now
	case s.power != nil && now.Sub(s.quiet) >= idleSettle+idleTime:
		s.quiet = now.Add(-idleSettle)
		e, err := s.power.Between(now.Add(-idleTime), now)
		if err != nil || e.Covered < idleTime*9/10 {
			return
		}
		s.mu.Lock()
		if known := s.idle.Measured; !known || e.Watts < s.idle.Watts {
			s.idle = sensor.Baseline(e)
			if !known {
				s.log.Info("the power at idle is known", "watts", e.Watts)
			}
		}
		s.mu.Unlock()
	}
}

// idleWatts is the lowest mean of idleTime in which nothing was computed; false if there was none yet.
func (s *sensors) idleWatts() (sensor.Idle, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idle, s.idle.Measured
}

// mean is the mean power of a time that samples cover for the most part; not a number if they do not.
func (s *sensors) mean(from, to time.Time) float64 {
	if s.power == nil {
		return math.NaN()
	}
	e, err := s.power.Between(from, to)
	if err != nil || e.Covered < to.Sub(from)/2 {
		return math.NaN()
	}
	return e.Watts
}

// last is the newest sample of a recorder that is not old and has some of the quantities.
func last(r *sensor.Recorder, has sensor.Quantity) (sensor.Sample, bool) {
	if r == nil {
		return sensor.Sample{}, false
	}
	sample, ok := r.Last()
	return sample, ok && sample.Has&has != 0 && time.Since(sample.Time) < max(stale, 5*r.Info().Interval)
}

// answer is the energy of an answer of so many tokens; nil without a sensor, and if nothing was computed for it.
func (s *sensors) answer(t chat.Timing, tokens int) *chat.Energy {
	if s.power == nil || t.Began.IsZero() {
		return nil
	}
	out := &chat.Energy{Sensor: s.power.Info().Name}
	e, err := s.power.Between(t.Began, t.Began.Add(t.Prefill+t.Decode))
	if err != nil {
		out.Reason = err.Error()
		return out
	}
	out.Samples = e.Samples
	if e.Covered.Seconds() < covers*e.Window.Seconds() {
		out.Reason = fmt.Sprintf("samples cover only %v of %v", e.Covered.Round(time.Millisecond), e.Window.Round(time.Millisecond))
		return out
	}
	part := t.Share.Seconds() / e.Covered.Seconds()
	joules := e.Joules * part
	out.Joules, out.Uncertainty = chat.Round(joules), chat.Round(e.Uncertainty*part)
	s.mu.Lock()
	defer s.mu.Unlock()
	if tokens > 0 {
		s.joules += joules
		s.tokens += tokens
	}
	if s.idle.Measured {
		if a, err := e.Above(s.idle); err == nil {
			out.AboveIdle = chat.Round(a.Joules * part)
		}
	}
	return out
}

// perToken is the joules a token of all answers whose energy is known, their prompts' share in it.
func (s *sensors) perToken() (joules float64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joules / float64(max(s.tokens, 1)), s.tokens > 0
}
