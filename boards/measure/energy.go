package measure

import (
	"fmt"
	"math"
	"sync"
	"time"

	"bimamba/boards/sensor"
)

// fullyCovered is the part of a phase that samples must cover for its energy to be divided among tokens.
const fullyCovered = 0.9

// noPower is why there is no energy without a sensor. Why there is none is told once, by [Sensors].
const noPower = "no power sensor"

// tally adds up the energy of a phase that may be longer than the recorder keeps samples: those parts first of which they are about to go.
type tally struct {
	rec  *sensor.Recorder // nil: there is no sensor
	part int              // samples, a fourth of what is kept

	mu    sync.Mutex
	from  time.Time // what was before is in sum
	mark  time.Time // where the part behind it ends; zero if it goes on
	reads int       // samples of the recorder when that part, or the one behind it, began
	sum   *sensor.Energy
}

// begin forgets all before from.
func (t *tally) begin(from time.Time) {
	if t.rec == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from, t.mark, t.reads, t.sum = from, time.Time{}, t.rec.Stats().Reads, nil
}

// roll is called often. The newest part is left for the end, so that there is no end with too few samples.
func (t *tally) roll() {
	if t.rec == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.rec.Stats().Reads
	if t.from.IsZero() || n-t.reads < t.part {
		return
	}
	if !t.mark.IsZero() {
		if e, err := t.rec.Between(t.from, t.mark); err == nil { // else it is not covered
			t.sum = together(t.sum, e)
		}
		t.from = t.mark
	}
	t.mark, t.reads = time.Now(), n
}

// end is the energy until to. Nothing is added up until the next phase begins.
func (t *tally) end(to time.Time) (*sensor.Energy, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.rec.Between(t.from, to)
	if t.from = (time.Time{}); t.sum == nil {
		return e, err
	}
	if err != nil {
		return t.sum, nil
	}
	return together(t.sum, e), nil
}

// together is the energy of two times, one behind the other.
func together(a, b *sensor.Energy) *sensor.Energy {
	if a == nil {
		return b
	}
	e := &sensor.Energy{
		Joules: a.Joules + b.Joules, Random: math.Hypot(a.Random, b.Random), Systematic: a.Systematic + b.Systematic, Samples: a.Samples + b.Samples,
		Window: a.Window + b.Window, Covered: a.Covered + b.Covered, Gaps: a.Gaps + b.Gaps, Steps: a.Steps + b.Steps,
	}
	e.Uncertainty, e.Watts = math.Hypot(e.Random, e.Systematic), e.Joules/e.Covered.Seconds()
	return e
}

// phaseEnergy is the energy of the phase that began with tally.begin.
func (r *recorders) phaseEnergy(to time.Time, idle *sensor.Idle) (*Energy, string) {
	return r.energy(func() (*sensor.Energy, error) { return r.tally.end(to) }, idle)
}

// between is the energy between two moments of which the samples are still kept.
func (r *recorders) between(from, to time.Time) (*Energy, string) {
	return r.energy(func() (*sensor.Energy, error) { return r.power.Between(from, to) }, nil)
}

// energy is that of a phase, or the reason why there is none.
func (r *recorders) energy(of func() (*sensor.Energy, error), idle *sensor.Idle) (*Energy, string) {
	if r.power == nil {
		return nil, noPower
	}
	e, err := of()
	if err != nil {
		if st := r.power.Stats(); st.Failures > 0 {
			err = fmt.Errorf("%w; the sensor failed %d times, at last: %v", err, st.Failures, st.LastError)
		}
		return nil, err.Error()
	}
	out := &Energy{
		Joules: e.Joules, Uncertainty: e.Uncertainty, Watts: e.Watts, Samples: e.Samples, Covered: round(e.Covered.Seconds()), Gaps: e.Gaps,
		source: e,
	}
	if idle != nil {
		if a, err := e.Above(*idle); err == nil {
			out.Above = &Above{a.Joules, a.Uncertainty, a.Watts}
		}
	}
	return out, ""
}

// per divides the energy of phases among the n tokens or answers in them; the reason says why that cannot be.
//
// Readings of one sensor are wrong by the same part, so that its error stays when chance has averaged out.
func per(phases []*Phase, n int) (*Per, string) {
	if n == 0 {
		return nil, "there was none"
	}
	p := &Per{}
	var random, systematic, above, aboveUncertainty float64
	idle := true
	for _, ph := range phases {
		e := ph.Energy
		if e == nil {
			return nil, ph.NoEnergy
		}
		if e.Covered < fullyCovered*ph.Seconds {
			return nil, fmt.Sprintf("samples cover %.1f of %.1f s", e.Covered, ph.Seconds)
		}
		whole := ph.Seconds / e.Covered
		p.Joules += e.Joules * whole
		p.Samples += e.Samples
		random = math.Hypot(random, e.source.Random*whole)
		systematic += e.source.Systematic * whole
		if e.Above == nil {
			idle = false
			continue
		}
		above += e.Above.Joules * whole
		aboveUncertainty += e.Above.Uncertainty * whole
	}
	p.Joules /= float64(n)
	p.Uncertainty = math.Hypot(random, systematic) / float64(n)
	if idle {
		above /= float64(n)
		aboveUncertainty /= float64(n)
		p.Above, p.AboveUncertainty = &above, &aboveUncertainty
	}
	return p, ""
}

// round keeps milliseconds and the like.
func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }
