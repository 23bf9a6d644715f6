package sensor

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script gives what next makes.
type script struct {
	n    int
	info Info
	next func(n int) (Sample, error)
}

func (s *script) Info() Info   { return s.info }
func (s *script) Close() error { return nil }

func (s *script) Read(context.Context) (Sample, error) {
	s.n++
	v, err := s.next(s.n - 1)
	v.Time = time.Now()
	return v, err
}

func steady(watts float64) *script {
	return &script{info: tenth, next: func(int) (Sample, error) { return Sample{Has: Power, Watts: watts}, nil }}
}

func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Record(steady(4), 20)
		time.Sleep(950 * time.Millisecond)
		from := time.Now()
		time.Sleep(1500 * time.Millisecond)
		to := time.Now()
		between, err := r.Between(from, to)
		if err != nil || math.Abs(between.Joules-6) > 1e-9 || between.Covered != 1500*time.Millisecond || between.Samples != 15 {
			t.Errorf("%+v, %v", between, err)
		}
		if e, err := r.Between(to.Add(-500*time.Millisecond), to); !errors.Is(err, ErrTooShort) {
			t.Errorf("%+v, %v", e, err)
		}
		time.Sleep(7550 * time.Millisecond)
		synctest.Wait()
		// The ring has the last 20 samples; the total has all.
		all := r.Samples(nil)
		if s := r.Stats(); len(all) != 20 || s.Reads != 101 || s.Forgotten != 81 || s.Failures != 0 || s.Busy != 0 {
			t.Errorf("%d samples, %+v", len(all), s)
		}
		for i := range all[1:] {
			if d := all[i+1].Time.Sub(all[i].Time); d != 100*time.Millisecond {
				t.Errorf("samples %d and %d are %v apart", i, i+1, d)
			}
		}
		if last, ok := r.Last(); !ok || last != all[19] {
			t.Errorf("%+v", last)
		}
		partial, err := r.Between(from, time.Now())
		if err != nil || partial.Covered != 1900*time.Millisecond || partial.Window != 9050*time.Millisecond {
			t.Errorf("%+v, %v", partial, err)
		}
		r.Stop()
		time.Sleep(time.Minute)
		total, err := r.Total()
		if err != nil || math.Abs(total.Joules-40) > 1e-9 || total.Samples != 101 || total.Window != 10*time.Second {
			t.Errorf("%+v, %v", total, err)
		}
		r.Stop() // again
		if got := r.Samples(all); len(got) != 40 {
			t.Errorf("%d samples", len(got))
		}
	})
}

// A sensor that fails is asked less and less; the time without samples is a gap.
func TestRecorderFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("unplugged")
		s := &script{info: tenth, next: func(n int) (Sample, error) {
			if n >= 20 && n < 30 {
				return Sample{}, gone
			}
			return Sample{Has: Power, Watts: 3}, nil
		}}
		r := Record(s, 1000)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.Stop()
		st := r.Stats()
		if st.Failures != 10 || !errors.Is(st.LastError, gone) || st.Reads < 600 || st.Reads > 1000 {
			t.Errorf("%+v", st)
		}
		e, err := r.Total()
		if err != nil || e.Gaps != 1 || e.Covered >= e.Window-20*time.Second || math.Abs(e.Joules-3*e.Covered.Seconds()) > 1e-6 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// The joules of Stats are a counter: they rise with each sample, also while what Total adds behind the last one comes and goes.
func TestRecorderJoules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watts := []float64{9, 0.1, 9, 0.1, 0.1}
		s := &script{info: tenth, next: func(n int) (Sample, error) { return Sample{Has: Power, Watts: watts[n%len(watts)]}, nil }}
		r := Record(s, 2)
		defer r.Stop()
		last := 0.0
		for range 500 {
			time.Sleep(37 * time.Millisecond)
			j := r.Stats().Joules
			if j < last {
				t.Fatalf("%g J after %g", j, last)
			}
			last = j
		}
		if want := 18.4 * (9 + 0.1 + 9 + 0.1 + 0.1) / 5; math.Abs(last-want) > 1 {
			t.Errorf("%g J, not %g", last, want)
		}
	})
}

func TestRecorderNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Record(&script{info: tenth, next: func(int) (Sample, error) { return Sample{}, errors.New("none") }}, 0)
		time.Sleep(time.Hour)
		r.Stop()
		if _, ok := r.Last(); ok || len(r.Samples(nil)) != 0 {
			t.Error("it has samples")
		}
		if e, err := r.Total(); !errors.Is(err, ErrTooShort) || !strings.HasPrefix(err.Error(), "too short: 0 samples") {
			t.Errorf("%+v, %v", e, err)
		}
		if st := r.Stats(); st.Failures > 500 {
			t.Errorf("%d tries in an hour", st.Failures)
		}
	})
}

// Bits that the firmware had for a moment stay in the sum, also when others clear them.
func TestRecorderThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words := []Throttled{0, 0, UnderVoltage, UnderVoltage << 16, 0, Throttling | Throttling<<16, Throttling << 16, 0}
		s := &script{info: Info{Interval: time.Second}, next: func(n int) (Sample, error) {
			return Sample{Has: Throttle, Throttled: words[min(n, len(words)-1)]}, nil
		}}
		r := Record(s, 4)
		time.Sleep(20 * time.Second)
		r.Stop()
		if st := r.Stats(); st.Throttled != 0x50005 || st.Changes != 6 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRecorderAllocates(t *testing.T) {
	r := &Recorder{info: tenth, ring: make([]Sample, 64), total: integrator{info: tenth}}
	s := Sample{Time: time.Now(), Has: Power | Throttle, Watts: 3}
	if n := testing.AllocsPerRun(1000, func() {
		s.Time = s.Time.Add(tenth.Interval)
		r.keep(&s, nil, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations a sample", n)
	}
}

// Stop does not wait for a meter that says nothing.
func TestRecorderStops(t *testing.T) {
	r := Record(shell(t, `sleep 60`, Command{}), 10)
	time.Sleep(20 * time.Millisecond)
	done := make(chan struct{})
	go func() { r.Stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits")
	}
	if st := r.Stats(); st.Failures != 0 {
		t.Errorf("being stopped counts as a failure: %+v", st)
	}
}

func BenchmarkRecorder(b *testing.B) {
	r := &Recorder{info: tenth, ring: make([]Sample, 4096), total: integrator{info: tenth}}
	s := Sample{Time: time.Now(), Has: Power, Watts: 3}
	b.ReportAllocs()
	for b.Loop() {
		s.Time = s.Time.Add(tenth.Interval)
		r.keep(&s, nil, time.Millisecond)
	}
}

func BenchmarkBetween(b *testing.B) {
	r := &Recorder{info: tenth, ring: make([]Sample, 36000), total: integrator{info: tenth}}
	s := Sample{Time: time.Now(), Has: Power, Watts: 3}
	for range 50000 {
		s.Time = s.Time.Add(tenth.Interval)
		r.keep(&s, nil, 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Between(s.Time.Add(-10*time.Second), s.Time); err != nil {
			b.Fatal(err)
		}
	}
}
