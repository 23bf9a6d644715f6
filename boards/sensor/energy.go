package sensor

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// MinSamples is how many samples an [Energy] is made of at least.
const MinSamples = 10

// ErrTooShort says that there were fewer than [MinSamples] samples: there is no energy, which is not 0 J.
var ErrTooShort = errors.New("too short")

// Energy is what a board took in a time.
type Energy struct {
	Joules      float64       `json:"joules"`      // over Covered, not over Window
	Uncertainty float64       `json:"uncertainty"` // joules, one standard deviation: Random and Systematic together
	Random      float64       `json:"random"`      // joules: what is left to chance between samples
	Systematic  float64       `json:"systematic"`  // joules: the sensor's own error
	Watts       float64       `json:"watts"`       // mean over Covered
	Samples     int           `json:"samples"`
	Window      time.Duration `json:"window_ns"`  // from the first moment asked for to the last
	Covered     time.Duration `json:"covered_ns"` // the part of it that samples cover
	Gaps        int           `json:"gaps"`       // times without samples, left out
	Steps       int           `json:"clock_steps"`
}

// Integrate sums up samples between from and to by the trapezoid rule over their times, or by the sensor's own counter of energy.
// A zero from is the first sample, a zero to the last. At to, the last sample is taken to hold for up to one interval more.
//
// The error wraps [ErrTooShort], or says that no two samples belong together.
func Integrate(samples []Sample, from, to time.Time, info Info) (*Energy, error) {
	g := integrator{info: info, from: from, to: to}
	for i := range samples {
		g.add(&samples[i])
	}
	return g.energy()
}

// integrator takes samples one by one, in the order of their times.
type integrator struct {
	info        Info
	from, to    time.Time
	first, prev Sample
	any         bool
	n           int // samples in the window
	joules      float64
	covered     time.Duration
	gaps, steps int
	squares     float64 // sum of squared differences of neighbours, W²
	pairs       int
	edges       float64 // J²: what is unknown of a counter's intervals that the window cuts
}

func (g *integrator) inside(t time.Time) bool {
	return (g.from.IsZero() || !t.Before(g.from)) && (g.to.IsZero() || !t.After(g.to))
}

func (g *integrator) add(s *Sample) {
	if !s.usable() {
		return
	}
	if !g.any {
		g.first, g.any = *s, true
	} else if !g.interval(s) {
		return
	}
	if g.inside(s.Time) {
		g.n++
	}
	g.prev = *s
}

// interval adds what was between the sample before and s. It is false if s is no new sample.
func (g *integrator) interval(s *Sample) bool {
	// Sub uses the monotonic clock when both have it. Round(0) strips that: if the wall clock went elsewhere, it was set meanwhile.
	dt := s.Time.Sub(g.prev.Time)
	wall := s.Time.Round(0).Sub(g.prev.Time.Round(0))
	if dt == 0 {
		return false
	}
	if dt < 0 { // only samples without the monotonic clock: nobody knows how long it was
		g.steps++
		return true
	}
	a, b := g.prev.Time, s.Time
	if !g.from.IsZero() && a.Before(g.from) {
		a = g.from
	}
	if !g.to.IsZero() && b.After(g.to) {
		b = g.to
	}
	part := b.Sub(a)
	if part <= 0 {
		return true
	}
	if (wall - dt).Abs() > time.Second {
		g.steps++
	}
	counter := s.Has&g.prev.Has&Counter != 0
	if dt > g.info.maxGap() || counter && (s.Has&Restart != 0 || s.Joules < g.prev.Joules) || (s.Has^g.prev.Has)&Counter != 0 {
		g.gaps++
		return true
	}
	g.covered += part
	if counter {
		f := float64(part) / float64(dt)
		g.joules += (s.Joules - g.prev.Joules) * f
		e := (s.Joules - g.prev.Joules) * min(f, 1-f)
		g.edges += e * e
		return true
	}
	slope := (s.Watts - g.prev.Watts) / dt.Seconds()
	wa := g.prev.Watts + slope*a.Sub(g.prev.Time).Seconds()
	wb := g.prev.Watts + slope*b.Sub(g.prev.Time).Seconds()
	g.joules += (wa + wb) / 2 * part.Seconds()
	d := s.Watts - g.prev.Watts
	g.squares += d * d
	g.pairs++
	return true
}

// energy is the result so far; samples may follow.
func (g *integrator) energy() (*Energy, error) {
	if g.n < MinSamples {
		return nil, fmt.Errorf("%w: %d samples, at least %d are needed", ErrTooShort, g.n, MinSamples)
	}
	joules, covered := g.joules, g.covered
	if !g.to.IsZero() && g.prev.Has&Counter == 0 {
		// A sample follows after to at the earliest an interval later: the answer does not wait for it.
		if rest := g.to.Sub(g.prev.Time); rest > 0 && rest <= g.info.Interval*3/2 {
			joules += g.prev.Watts * rest.Seconds()
			covered += rest
		}
	}
	if covered <= 0 {
		return nil, fmt.Errorf("no two of %d samples are within %v: nothing is known of the time between them", g.n, g.info.maxGap())
	}
	if joules <= 0 { // counters; single watts of 0 are no reading
		return nil, fmt.Errorf("the energy stands still over %d samples: the sensor does not measure", g.n)
	}
	from, to := g.from, g.to
	if from.IsZero() {
		from = g.first.Time
	}
	if to.IsZero() {
		to = g.prev.Time
	}
	e := &Energy{Joules: joules, Samples: g.n, Window: to.Sub(from), Covered: covered, Gaps: g.gaps, Steps: g.steps}
	e.Watts = joules / covered.Seconds()
	// Differences of neighbours show the noise without the slow changes, which the trapezoids follow (J. von Neumann, 1941).
	e.Random = math.Sqrt(g.edges)
	if g.pairs > 0 {
		e.Random = math.Sqrt(g.squares/float64(2*g.pairs)/float64(g.pairs)) * covered.Seconds()
	}
	e.Systematic = g.info.Error * joules
	e.Uncertainty = math.Hypot(e.Random, e.Systematic)
	return e, nil
}

// Idle is the power of a board that does nothing.
type Idle struct {
	Watts       float64 `json:"watts"`
	Uncertainty float64 `json:"uncertainty"` // watts, one standard deviation, without the sensor's own error if it was measured
	Measured    bool    `json:"measured"`    // by the same sensor; else it was given
}

// Baseline makes the power at idle of an energy that was measured while the board was idle.
func Baseline(e *Energy) Idle {
	return Idle{Watts: e.Watts, Uncertainty: e.Random / e.Covered.Seconds(), Measured: true}
}

// Above is an energy with the idle power taken off.
type Above struct {
	Joules      float64 `json:"joules"` // negative if the board took less than at idle
	Uncertainty float64 `json:"uncertainty"`
	Watts       float64 `json:"watts"`
	Idle        Idle    `json:"idle"`
}

// Above takes the idle power off. When the same sensor measured both, its own error counts for the difference only.
func (e *Energy) Above(idle Idle) (Above, error) {
	if !(idle.Watts >= 0 && idle.Watts <= maxWatts && idle.Uncertainty >= 0 && idle.Uncertainty <= maxWatts) {
		return Above{}, fmt.Errorf("an idle power of %g ± %g W is not within 0 and %d W", idle.Watts, idle.Uncertainty, maxWatts)
	}
	t := e.Covered.Seconds()
	a := Above{Joules: e.Joules - idle.Watts*t, Watts: e.Watts - idle.Watts, Idle: idle}
	systematic := e.Systematic
	if idle.Measured && e.Joules > 0 {
		systematic *= math.Abs(a.Joules) / e.Joules
	}
	a.Uncertainty = math.Hypot(math.Hypot(e.Random, idle.Uncertainty*t), systematic)
	return a, nil
}
