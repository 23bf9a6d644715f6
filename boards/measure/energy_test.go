package measure

import (
	"math"
	"strings"
	"testing"

	"bimamba/boards/sensor"
)

// TestPer: chance averages out over phases, and the sensor's error does not.
func TestPer(t *testing.T) {
	phase := func(joules, seconds, covered, random, systematic float64) *Phase {
		return &Phase{Seconds: seconds, Energy: &Energy{
			Joules: joules, Samples: 50, Covered: covered, Above: &Above{Joules: joules / 2, Uncertainty: 3},
			source: &sensor.Energy{Random: random, Systematic: systematic},
		}}
	}
	p, reason := per([]*Phase{phase(60, 10, 10, 3, 1), phase(40, 10, 10, 4, 1)}, 10)
	if p == nil || p.Joules != 10 || p.Samples != 100 || *p.Above != 5 || math.Abs(p.Uncertainty-math.Hypot(5, 2)/10) > 1e-12 || math.Abs(*p.AboveUncertainty-0.6) > 1e-12 {
		t.Errorf("%+v, %s", p, reason)
	}
	// What samples do not cover took as much as what they do.
	if p, _ := per([]*Phase{phase(57, 10, 9.5, 0, 0)}, 6); p == nil || p.Joules != 10 {
		t.Errorf("%+v", p)
	}
	bare := phase(60, 10, 10, 0, 0)
	bare.Energy.Above = nil
	if p, _ := per([]*Phase{phase(60, 10, 10, 0, 0), bare}, 10); p == nil || p.Above != nil || p.AboveUncertainty != nil {
		t.Errorf("%+v", p)
	}
	for _, c := range []struct {
		phases []*Phase
		n      int
		want   string
	}{
		{[]*Phase{phase(60, 10, 10, 0, 0)}, 0, "there was none"},
		{[]*Phase{phase(60, 10, 8.5, 0, 0)}, 10, "samples cover 8.5 of 10.0 s"},
		{[]*Phase{phase(60, 10, 10, 0, 0), {Seconds: 10, NoEnergy: "too short"}}, 10, "too short"},
	} {
		if p, reason := per(c.phases, c.n); p != nil || !strings.Contains(reason, c.want) {
			t.Errorf("%+v, %q, want %q", p, reason, c.want)
		}
	}
}
