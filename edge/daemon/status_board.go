package daemon

import (
	"fmt"
	"io"
	"strings"

	"bimamba/boards/sensor"
)

// statusEnergy is what the sensors say. What is null has no reading now, or no sensor.
type statusEnergy struct {
	Sensor   *string  `json:"sensor"` // of power
	Includes string   `json:"includes,omitempty"`
	Error    float64  `json:"relative_error,omitempty"` // of the watts
	Watts    *float64 `json:"watts"`
	Idle     *float64 `json:"idle_watts"` // the lowest mean of 30 s without a request
	Joules   *float64 `json:"joules"`     // since the start
	PerToken *float64 `json:"j_per_token"`
	Reason   string   `json:"reason,omitempty"` // why there are no watts

	Heat      *string          `json:"temperature_sensor"`
	Celsius   *float64         `json:"celsius"`
	Hertz     *float64         `json:"hertz"`
	Throttled *statusThrottled `json:"throttled"`
}

// statusThrottled is what holds the board back.
type statusThrottled struct {
	Now  []string `json:"now"`
	Ever []string `json:"ever"` // since the board or the daemon was started, whichever saw it
}

type statusGovernor struct {
	MaxWatts      float64  `json:"max_watts"` // 0: no limit
	MaxTemp       float64  `json:"max_temp"`
	MaxTokensPerS float64  `json:"max_tokens_per_s"`
	Limiting      []string `json:"limiting"`    // watts, temperature, tokens: what holds requests back now
	PauseRatio    float64  `json:"pause_ratio"` // of the time with requests
	Threads       int      `json:"threads"`     // that decode at most
}

// throttleBits are the firmware's bits by the names that metrics have for them.
var throttleBits = []struct {
	bit  sensor.Throttled
	name string
}{
	{sensor.UnderVoltage, "under_voltage"}, {sensor.FrequencyCap, "frequency_capped"}, {sensor.Throttling, "throttled"},
	{sensor.TemperatureCap, "soft_temperature_limit"},
}

// throttling is the bits that are set now, and those that were at any time; ok is false without a reading.
func (s *sensors) throttling() (now, ever sensor.Throttled, ok bool) {
	sample, ok := last(s.heat, sensor.Throttle)
	if !ok {
		return 0, 0, false
	}
	all := s.heat.Stats().Throttled
	return sample.Throttled.Now(), all.Now() | all.Before(), true
}

func (s *sensors) status() *statusEnergy {
	if s.power == nil && s.heat == nil {
		return nil
	}
	out := &statusEnergy{}
	if s.power == nil {
		out.Reason = s.noPower
	} else {
		info := s.power.Info()
		out.Sensor, out.Includes, out.Error = &info.Name, info.Includes, info.Error
		if sample, ok := last(s.power, sensor.Power); ok {
			out.Watts = &sample.Watts
		}
		st := s.power.Stats()
		if st.Joules > 0 {
			out.Joules = &st.Joules
		}
		if out.Watts == nil && st.LastError != nil {
			out.Reason = st.LastError.Error()
		}
	}
	if idle, ok := s.idleWatts(); ok {
		out.Idle = &idle.Watts
	}
	if j, ok := s.perToken(); ok {
		out.PerToken = &j
	}
	if s.heat == nil {
		return out
	}
	name := s.heat.Info().Name
	out.Heat = &name
	if sample, ok := last(s.heat, sensor.Heat); ok {
		out.Celsius = &sample.Celsius
	}
	if sample, ok := last(s.heat, sensor.Clock); ok {
		out.Hertz = &sample.Hertz
	}
	if now, ever, ok := s.throttling(); ok {
		t := &statusThrottled{[]string{}, []string{}}
		for _, b := range throttleBits {
			name := strings.ReplaceAll(b.name, "_", " ")
			if now&b.bit != 0 {
				t.Now = append(t.Now, name)
			}
			if ever&b.bit != 0 {
				t.Ever = append(t.Ever, name)
			}
		}
		out.Throttled = t
	}
	return out
}

// statusGovernor is nil while no limit is set.
func (d *daemon) statusGovernor() *statusGovernor {
	g := d.governor.State()
	if g.Limits.Watts == 0 && g.Limits.Celsius == 0 && g.Limits.Tokens == 0 {
		return nil
	}
	out := &statusGovernor{
		MaxWatts: g.Limits.Watts, MaxTemp: g.Limits.Celsius, MaxTokensPerS: g.Limits.Tokens, Limiting: []string{}, PauseRatio: g.Pauses, Threads: g.Threads,
	}
	for _, x := range []struct {
		is   bool
		name string
	}{{g.Power, "watts"}, {g.Heat, "temperature"}, {g.Speed, "tokens"}} {
		if x.is {
			out.Limiting = append(out.Limiting, x.name)
		}
	}
	return out
}

// writeBoardMetrics writes those of sensors and governor, of which there are as many as there are readings.
func (d *daemon) writeBoardMetrics(w io.Writer) {
	family := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP bimamba_%s %s\n# TYPE bimamba_%s %s\n", name, help, name, kind)
	}
	one := func(name, kind, help string, value *float64) {
		if value != nil {
			family(name, kind, help)
			fmt.Fprintf(w, "bimamba_%s %g\n", name, *value)
		}
	}
	s := d.sensors
	if e := s.status(); e != nil {
		one("joules_total", "counter", "Energy of what the sensor of power sees, since the start, while it gave readings.", e.Joules)
		one("watts", "gauge", "Power now.", e.Watts)
		one("idle_watts", "gauge", "The lowest mean power of 30 s without a request.", e.Idle)
		one("temperature_celsius", "gauge", "Temperature of the hottest part.", e.Celsius)
		one("clock_hertz", "gauge", "Clock of the fastest core.", e.Hertz)
		if now, ever, ok := s.throttling(); ok {
			family("throttled", "gauge", "What holds the board back, now and since it was started.")
			for _, b := range throttleBits {
				fmt.Fprintf(w, "bimamba_throttled{bit=\"%s\",when=\"now\"} %d\n", b.name, flag(now&b.bit != 0))
				fmt.Fprintf(w, "bimamba_throttled{bit=\"%s\",when=\"ever\"} %d\n", b.name, flag(ever&b.bit != 0))
			}
		}
		recorders := []struct {
			kind string
			r    *sensor.Recorder
		}{{"power", s.power}, {"temperature", s.heat}}
		for _, m := range []struct {
			name, kind, help string
			value            func(st sensor.Stats) any
		}{
			{"sensor_readings_total", "counter", "Readings that gave something.", func(st sensor.Stats) any { return st.Reads }},
			{"sensor_failures_total", "counter", "Readings that gave nothing.", func(st sensor.Stats) any { return st.Failures }},
			{"sensor_busy_seconds_total", "counter", "Time spent reading.", func(st sensor.Stats) any { return st.Busy.Seconds() }},
		} {
			family(m.name, m.kind, m.help)
			for _, x := range recorders {
				if x.r != nil {
					fmt.Fprintf(w, "bimamba_%s{of=\"%s\"} %v\n", m.name, x.kind, m.value(x.r.Stats()))
				}
			}
		}
		family("sensor_info", "gauge", "The sensors that are read.")
		for _, x := range recorders {
			if x.r != nil {
				i := x.r.Info()
				fmt.Fprintf(w, "bimamba_sensor_info{of=\"%s\",sensor=\"%s\",includes=\"%s\"} 1\n", x.kind, label(i.Name), label(i.Includes))
			}
		}
	}
	g := d.statusGovernor()
	if g == nil {
		return
	}
	state := d.governor.State()
	family("governor_limiting", "gauge", "Whether requests are held back now, by what.")
	fmt.Fprintf(w, "bimamba_governor_limiting{by=\"watts\"} %d\nbimamba_governor_limiting{by=\"temperature\"} %d\nbimamba_governor_limiting{by=\"tokens\"} %d\n",
		flag(state.Power), flag(state.Heat), flag(state.Speed))
	one("governor_pause_ratio", "gauge", "The part of the time with requests in which they waited, lately.", &g.PauseRatio)
	rested := state.Rested.Seconds()
	one("governor_pause_seconds_total", "counter", "Pauses between passes.", &rested)
	threads := float64(g.Threads)
	one("governor_threads", "gauge", "Threads that decode at most.", &threads)
}

// flag is a truth as a metric's value.
func flag(is bool) int {
	if is {
		return 1
	}
	return 0
}
