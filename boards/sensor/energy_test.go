package sensor

import (
	"errors"
	"math"
	"testing"
	"time"
	"unsafe"
)

// at makes samples of a power over time.
func at(base time.Time, every time.Duration, n int, watts func(seconds float64) float64) []Sample {
	var s []Sample
	for i := range n {
		t := time.Duration(i) * every
		s = append(s, Sample{Time: base.Add(t), Has: Power, Watts: watts(t.Seconds())})
	}
	return s
}

func counted(base time.Time, every time.Duration, n int, joules func(seconds float64) float64) []Sample {
	s := at(base, every, n, joules)
	for i := range s {
		s[i].Has, s[i].Joules, s[i].Watts = Counter, s[i].Watts, 0
	}
	return s
}

var tenth = Info{Interval: 100 * time.Millisecond, Error: 0.05}

func TestIntegrate(t *testing.T) {
	base := time.Now()
	sec := func(s float64) time.Time { return base.Add(time.Duration(s * float64(time.Second))) }
	line := func(s float64) float64 { return 2 + 3*s } // ∫ from a to b: 2(b-a) + 1.5(b²-a²)
	flat := func(float64) float64 { return 5 }
	steady := func(s float64) float64 { return 5 * s }
	gap := append(at(base, 100*time.Millisecond, 21, flat), at(sec(10), 100*time.Millisecond, 21, flat)...)
	irregular := at(base, 100*time.Millisecond, 41, line)
	irregular = append(irregular[:5:5], irregular[9:]...)
	restart := counted(base, 100*time.Millisecond, 31, steady)
	restart[15].Has |= Restart
	back := counted(base, 100*time.Millisecond, 31, steady)
	for i := range back[15:] {
		back[15+i].Joules -= 7
	}
	hostile := at(base, 100*time.Millisecond, 31, flat)
	for i, v := range []float64{math.NaN(), math.Inf(1), -1, 1e300} {
		hostile[3+4*i].Watts = v
	}
	double := at(base, 100*time.Millisecond, 31, flat)
	double = append(double[:11:11], double[10:]...)
	nothing := at(base, 100*time.Millisecond, 31, flat)
	for i := range nothing {
		if i%2 == 1 {
			nothing[i] = Sample{Time: nothing[i].Time, Has: Heat, Celsius: 50}
		}
	}
	for _, c := range []struct {
		name     string
		samples  []Sample
		from, to time.Time
		joules   float64
		covered  float64
		n, gaps  int
	}{
		{"flat", at(base, 100*time.Millisecond, 31, flat), time.Time{}, time.Time{}, 15, 3, 31, 0},
		{"line", at(base, 100*time.Millisecond, 31, line), time.Time{}, time.Time{}, 6 + 13.5, 3, 31, 0},
		{"irregular", irregular, time.Time{}, time.Time{}, 8 + 24, 4, 37, 0},
		{"window between samples", at(base, 100*time.Millisecond, 31, line), sec(0.55), sec(2.25), 3.4 + 1.5*(2.25*2.25-.55*.55), 1.7, 17, 0},
		{"window wider than the samples", at(base, 100*time.Millisecond, 31, flat), sec(-10), sec(20), 15, 3, 31, 0},
		{"window past the last sample", at(base, 100*time.Millisecond, 31, flat), sec(0), sec(3.1), 15.5, 3.1, 31, 0},
		{"gap", gap, time.Time{}, time.Time{}, 20, 4, 42, 1},
		{"window within a gap", gap, sec(0.5), sec(5), 7.5, 1.5, 16, 1},
		{"window after a gap", gap, sec(10), sec(12), 10, 2, 21, 0},
		{"counter", counted(base, 100*time.Millisecond, 31, steady), time.Time{}, time.Time{}, 15, 3, 31, 0},
		{"counter in a window", counted(base, 100*time.Millisecond, 31, steady), sec(0.55), sec(2.25), 8.5, 1.7, 17, 0},
		{"counter begins anew", restart, time.Time{}, time.Time{}, 14.5, 2.9, 31, 1},
		{"counter goes back", back, time.Time{}, time.Time{}, 14.5, 2.9, 31, 1},
		{"hostile watts", hostile, time.Time{}, time.Time{}, 15, 3, 27, 0},
		{"the same time twice", double, time.Time{}, time.Time{}, 15, 3, 31, 0},
		{"samples without power", nothing, time.Time{}, time.Time{}, 15, 3, 16, 0},
	} {
		e, err := Integrate(c.samples, c.from, c.to, tenth)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if math.Abs(e.Joules-c.joules) > 1e-6 || math.Abs(e.Covered.Seconds()-c.covered) > 1e-6 || e.Samples != c.n || e.Gaps != c.gaps || e.Steps != 0 {
			t.Errorf("%s: %+v, not %g J of %g s, %d samples, %d gaps", c.name, e, c.joules, c.covered, c.n, c.gaps)
		}
		if math.Abs(e.Watts-e.Joules/e.Covered.Seconds()) > 1e-9 || math.Abs(e.Systematic-0.05*e.Joules) > 1e-9 || e.Uncertainty < e.Systematic || e.Uncertainty < e.Random {
			t.Errorf("%s: %+v does not agree with itself", c.name, e)
		}
	}
}

func TestTooShort(t *testing.T) {
	base := time.Now()
	flat := func(float64) float64 { return 5 }
	for _, n := range []int{0, 1, 9} {
		if e, err := Integrate(at(base, 100*time.Millisecond, n, flat), time.Time{}, time.Time{}, tenth); !errors.Is(err, ErrTooShort) || e != nil {
			t.Errorf("%d samples: %v, %v", n, e, err)
		}
	}
	samples := at(base, 100*time.Millisecond, 100, flat)
	if e, err := Integrate(samples, base.Add(time.Second), base.Add(1850*time.Millisecond), tenth); !errors.Is(err, ErrTooShort) {
		t.Errorf("9 samples in the window: %v, %v", e, err)
	}
	if e, err := Integrate(at(base, time.Minute, 100, flat), time.Time{}, time.Time{}, tenth); err == nil {
		t.Errorf("samples that are all too far apart: %+v", e)
	}
	if e, err := Integrate(counted(base, 100*time.Millisecond, 100, flat), time.Time{}, time.Time{}, tenth); err == nil {
		t.Errorf("a counter that stands still: %+v", e)
	}
}

// setWall moves the wall clock of a time that has the monotonic one, as setting the clock between two readings does.
func setWall(t *time.Time, seconds int64) {
	wall := (*uint64)(unsafe.Pointer(t)) // the first field: 1 bit, 33 bits of seconds, 30 bits of nanoseconds
	*wall += uint64(seconds) << 30
}

// A board without a clock of its own starts in the past, and jumps when it hears the time.
func TestClockStep(t *testing.T) {
	flat := func(float64) float64 { return 5 }
	for _, jump := range []int64{86400 * 200, -3600} {
		samples := at(time.Now(), 100*time.Millisecond, 31, flat)
		for i := range samples[15:] {
			setWall(&samples[15+i].Time, jump)
		}
		if d := samples[30].Time.Round(0).Sub(samples[0].Time.Round(0)); (d - time.Duration(jump)*time.Second).Abs() > 4*time.Second {
			t.Fatalf("the wall clock did not move: %v", d)
		}
		e, err := Integrate(samples, time.Time{}, time.Time{}, tenth)
		if err != nil || math.Abs(e.Joules-15) > 1e-9 || e.Gaps != 0 || e.Steps != 1 {
			t.Errorf("a step of %d s: %+v, %v", jump, e, err)
		}
		// Without the monotonic clock, as from a file, what was between is left out.
		for i := range samples {
			samples[i].Time = samples[i].Time.Round(0)
		}
		e, err = Integrate(samples, time.Time{}, time.Time{}, tenth)
		if err != nil || math.Abs(e.Joules-14.5) > 1e-9 || e.Gaps+e.Steps != 1 {
			t.Errorf("a step of %d s in a file: %+v, %v", jump, e, err)
		}
	}
}

func TestUncertainty(t *testing.T) {
	base := time.Now()
	noisy := func(s float64) float64 { return 5 + 0.2*math.Cos(math.Pi*10*s) } // ±0.2 in turns
	e, err := Integrate(at(base, 100*time.Millisecond, 401, noisy), time.Time{}, time.Time{}, Info{Interval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// Differences of 0.4: a standard deviation of 0.4/√2 W, of the mean 1/√400 of that, over 40 s.
	if want := 0.4 / math.Sqrt2 / 20 * 40; math.Abs(e.Random-want) > 1e-6 || e.Systematic != 0 {
		t.Errorf("%+v, not %g", e, want)
	}
	ramp, err := Integrate(at(base, 100*time.Millisecond, 401, func(s float64) float64 { return 2 + s/10 }), time.Time{}, time.Time{}, Info{Interval: 100 * time.Millisecond})
	if err != nil || ramp.Random > 0.02 {
		t.Errorf("a slow change counts as noise: %+v, %v", ramp, err)
	}
}

func TestAbove(t *testing.T) {
	base := time.Now()
	busy, err := Integrate(at(base, 100*time.Millisecond, 101, func(float64) float64 { return 7 }), time.Time{}, time.Time{}, tenth)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := Integrate(at(base, 100*time.Millisecond, 101, func(float64) float64 { return 3 }), time.Time{}, time.Time{}, tenth)
	if err != nil {
		t.Fatal(err)
	}
	measured, err := busy.Above(Baseline(rest))
	if err != nil || math.Abs(measured.Joules-40) > 1e-9 || math.Abs(measured.Watts-4) > 1e-9 || !measured.Idle.Measured {
		t.Errorf("%+v, %v", measured, err)
	}
	if want := 0.05 * 40; math.Abs(measured.Uncertainty-want) > 1e-9 { // the sensor's error scales both
		t.Errorf("uncertainty %g, not %g", measured.Uncertainty, want)
	}
	given, err := busy.Above(Idle{Watts: 3, Uncertainty: 0.1})
	if want := math.Hypot(0.05*70, 1); err != nil || math.Abs(given.Uncertainty-want) > 1e-9 {
		t.Errorf("uncertainty %g, not %g, %v", given.Uncertainty, want, err)
	}
	if below, err := rest.Above(Idle{Watts: 4}); err != nil || math.Abs(below.Joules+10) > 1e-9 {
		t.Errorf("%+v, %v", below, err)
	}
	for _, bad := range []Idle{{Watts: math.NaN()}, {Watts: -1}, {Watts: 1e9}, {Watts: 1, Uncertainty: math.NaN()}, {Watts: 1, Uncertainty: math.Inf(1)}} {
		if a, err := busy.Above(bad); err == nil {
			t.Errorf("%+v: %+v", bad, a)
		}
	}
}

func TestCounter(t *testing.T) {
	base := time.Now()
	type reading struct {
		raw   uint64
		after time.Duration
	}
	for _, c := range []struct {
		name   string
		wrap   uint64
		read   []reading
		known  []bool
		joules float64
	}{
		{"rises", 0, []reading{{100, 0}, {300, time.Second}, {300, time.Second}}, []bool{false, true, true}, 200},
		{"wraps", 1000, []reading{{900, 0}, {100, time.Second}, {50, time.Second}}, []bool{false, true, true}, 200 + 950},
		{"goes back without a range", 0, []reading{{900, 0}, {100, time.Second}, {150, time.Second}}, []bool{false, false, true}, 50},
		{"beyond its range", 1000, []reading{{900, 0}, {2000, time.Second}, {100, time.Second}, {150, time.Second}}, []bool{false, true, false, true}, 1150},
		{"more than any board", 0, []reading{{0, 0}, {1 << 62, time.Second}, {1<<62 + 5, time.Second}}, []bool{false, false, true}, 5},
	} {
		k := counter{unit: 1, wrap: c.wrap}
		now := base
		for i, r := range c.read {
			now = now.Add(r.after)
			if known := k.add(r.raw, now); known != c.known[i] {
				t.Errorf("%s, reading %d: known %v", c.name, i, known)
			}
		}
		if k.joules != c.joules {
			t.Errorf("%s: %g J, not %g", c.name, k.joules, c.joules)
		}
	}
}

func BenchmarkIntegrate(b *testing.B) {
	samples := at(time.Now(), 100*time.Millisecond, 600, func(s float64) float64 { return 5 + math.Sin(s) })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Integrate(samples, time.Time{}, time.Time{}, tenth); err != nil {
			b.Fatal(err)
		}
	}
}
