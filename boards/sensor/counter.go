package sensor

import "time"

// counter makes rising joules of a counter that may wrap.
type counter struct {
	unit   float64 // joules of one count
	wrap   uint64  // the counter goes from here to 0; 0 for one that never does
	last   uint64
	at     time.Time
	joules float64
}

// add takes a reading. It is false if what was counted since the one before is unknown: the first reading, a counter that went back,
// or more watts than there are.
func (c *counter) add(raw uint64, now time.Time) bool {
	last, at := c.last, c.at
	c.last, c.at = raw, now
	var d uint64
	switch {
	case at.IsZero():
		return false
	case raw >= last:
		d = raw - last
	case c.wrap != 0 && raw <= c.wrap && last <= c.wrap:
		d = c.wrap - last + raw
	default:
		return false
	}
	joules, dt := float64(d)*c.unit, now.Sub(at).Seconds()
	if joules > maxWatts*max(dt, 1e-3) {
		return false
	}
	c.joules += joules
	return true
}

// counters is what sensors with one or more counters of energy have in common.
type counters struct {
	of     []counter
	joules float64
	at     time.Time
}

// sample makes a sample of one reading per counter.
func (c *counters) sample(raw []uint64, now time.Time) Sample {
	s := Sample{Time: now, Has: Counter}
	var joules float64
	for i := range c.of {
		if !c.of[i].add(raw[i], now) {
			s.Has |= Restart
		}
		joules += c.of[i].joules
	}
	s.Joules = joules
	if dt := now.Sub(c.at).Seconds(); s.Has&Restart == 0 && dt > 0 {
		if w := (joules - c.joules) / dt; w <= maxWatts {
			s.Has |= Power
			s.Watts, s.Raw = w, w
		}
	}
	c.joules, c.at = joules, now
	return s
}
