package daemon

import (
	"math"
	"time"

	"bimamba/boards/sensor"
	"bimamba/edge/daemon/config"
	"bimamba/edge/daemon/governor"
	"bimamba/edge/engine"
)

// governed is what watch keeps of the time that the governor has not taken up yet.
type governed struct {
	engine *engine.Engine
	passes uint64
	since  time.Time // of work without a pause; zero without work
	before uint64    // passes until then
}

// fewestPasses are how many passes power is a mean over, so that it does not swing between passes and the rests behind them.
const fewestPasses = 4

// govern takes up what the sensors say, once a second.
func (d *daemon) govern(g *governed) {
	s, done := d.models.use()
	defer done()
	e := s.local.Engine()
	st := e.Stats()
	work := st.Active+st.Waiting > 0
	d.sensors.tick(work || st.Passes != g.passes || e != g.engine)
	if !work || e != g.engine {
		g.since = time.Time{}
	}
	g.engine, g.passes = e, st.Passes

	r := governor.Reading{Work: work, Watts: math.NaN(), Idle: math.NaN(), Celsius: math.NaN()}
	now := time.Now()
	switch {
	case !work:
	case g.since.IsZero():
		g.since, g.before = now, st.Passes
	case st.Passes-g.before >= fewestPasses:
		if r.Watts = d.sensors.mean(g.since, now); r.Watts == r.Watts || now.Sub(g.since) > time.Minute { // else there are too few samples yet, or none any more
			g.since, g.before = now, st.Passes
		}
	}
	if idle, ok := d.sensors.idleWatts(); ok {
		r.Idle = idle.Watts
	}
	if sample, ok := last(d.sensors.heat, sensor.Heat); ok {
		r.Celsius = sample.Celsius
	}
	e.Model.LimitThreads(d.governor.Step(r))
}

// limits are what a configuration wants held.
func limits(c *config.Config) governor.Limits {
	return governor.Limits{Watts: c.MaxWatts, Celsius: c.MaxTemp, Tokens: c.MaxTokensPerS}
}
