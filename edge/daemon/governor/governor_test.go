package governor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"bimamba/edge/engine"
)

// board is a board that computes without end, under a governor that is asked once a second. Time is synctest's.
type board struct {
	g       *Governor
	pass    time.Duration // with all threads
	threads int           // that there are
	idle    float64       // W
	active  func(threads int) float64
	knows   bool    // the idle power is known
	noise   float64 // relative, of the watts

	// The temperature is the ambient's and, for each W, so many °C of the heat sink and of the die, which follow with their time constants.
	ambient               float64
	sink, die             float64 // °C/W
	sinkTime, dieTime     float64 // s
	sinkNow, dieNow       float64 // °C
	rng                   *rand.Rand
	now                   int // threads in use
	changes               int // of the number of threads
	watts, celsius, speed []float64
}

func newBoard(threads int, l Limits) *board {
	b := &board{
		g: New(threads), pass: 20 * time.Millisecond, threads: threads, idle: 3, active: func(n int) float64 { return 1.2 * float64(n) }, now: threads,
		ambient: 25, sink: 6, die: 2, sinkTime: 100, dieTime: 2, rng: rand.New(rand.NewPCG(1, 2)),
	}
	b.g.SetLimits(l)
	return b
}

// heats lets the power of some time warm the board.
func (b *board) heats(watts float64, d time.Duration) {
	for _, m := range []struct {
		now       *float64
		r, settle float64
	}{{&b.sinkNow, b.sink, b.sinkTime}, {&b.dieNow, b.die, b.dieTime}} {
		*m.now += (watts*m.r - *m.now) * (1 - math.Exp(-d.Seconds()/m.settle))
	}
}

// run works for so many seconds. Of each second it keeps power, temperature and tokens.
func (b *board) run(seconds int) {
	b.watts, b.celsius, b.speed = nil, nil, nil
	var joules float64
	var tokens int
	spend := func(watts float64, d time.Duration) {
		time.Sleep(d)
		joules += watts * d.Seconds()
		b.heats(watts, d)
	}
	start := time.Now()
	at := start
	for time.Since(start) < time.Duration(seconds)*time.Second {
		took := b.pass * time.Duration(b.threads) / time.Duration(b.now)
		spend(b.idle+b.active(b.now), took)
		tokens++
		r := b.g.Pace(engine.Pass{Rows: 1, Sampled: 1, Took: took})
		spend(b.idle, max(r.All, r.Answers))
		if d := time.Since(at); d >= time.Second {
			r := Reading{Work: true, Watts: joules / d.Seconds(), Idle: math.NaN(), Celsius: b.ambient + b.sinkNow + b.dieNow}
			b.watts, b.celsius, b.speed = append(b.watts, r.Watts), append(b.celsius, r.Celsius), append(b.speed, float64(tokens)/d.Seconds())
			if b.knows {
				r.Idle = b.idle
			}
			r.Watts *= 1 + b.noise*b.rng.NormFloat64()
			n := b.g.Step(r)
			if n == 0 {
				n = b.threads
			}
			if n != b.now {
				b.now = n
				b.changes++
			}
			joules, tokens, at = 0, 0, time.Now()
		}
	}
}

// span is the mean, the least and the most of values.
func span(v []float64) (mean, low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, x := range v {
		mean += x / float64(len(v))
		low, high = min(low, x), max(high, x)
	}
	return mean, low, high
}

func TestPower(t *testing.T) {
	for _, tt := range []struct {
		idle, full, limit float64
		threads           int
		pass              time.Duration
		knows             bool
		noise             float64
	}{
		{3, 7.8, 5, 4, 20 * time.Millisecond, true, 0},
		{3, 7.8, 5, 4, 20 * time.Millisecond, false, 0},
		{3, 7.8, 3.5, 4, 20 * time.Millisecond, true, 0.02},
		{3, 7.8, 7.5, 4, 20 * time.Millisecond, true, 0.02},
		{0.5, 20, 2, 1, time.Millisecond, true, 0.02},
		{0.5, 20, 2, 2, 5 * time.Millisecond, false, 0},
		{1, 3, 2, 1, 700 * time.Millisecond, true, 0}, // a large model on a small board
	} {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBoard(tt.threads, Limits{Watts: tt.limit})
				b.idle, b.pass, b.knows, b.noise = tt.idle, tt.pass, tt.knows, tt.noise
				b.active = func(n int) float64 { return (tt.full - tt.idle) * float64(n) / float64(tt.threads) }
				b.run(90) // with the time that threads take
				b.run(60)
				mean, low, high := span(b.watts)
				swing := 0.05 + 3*tt.noise
				if tt.pass > 500*time.Millisecond {
					swing = 0.35 // in a second there is one pass or none
				}
				if math.Abs(mean/tt.limit-1) > 0.04 || low < tt.limit*(1-swing) || high > tt.limit*(1+swing) {
					t.Errorf("%.2f W, from %.2f to %.2f, for a limit of %g", mean, low, high, tt.limit)
				}
				if s := b.g.State(); !s.Power || s.Heat || s.Speed || s.Pauses <= 0 && s.Threads == tt.threads {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// The first seconds: the power comes down to the limit and does not fall far below.
func TestPowerStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(1, Limits{Watts: 4})
		b.active, b.knows = func(int) float64 { return 4.8 }, true
		b.run(12)
		_, low, high := span(b.watts)
		if high < 7 || low < 3.8 || math.Abs(b.watts[len(b.watts)-1]-4) > 0.2 {
			t.Errorf("the power from the start: %.2f", b.watts)
		}
		for i := 1; i < len(b.watts); i++ {
			if b.watts[i] > b.watts[i-1]+0.1 {
				t.Errorf("second %d rises: %.2f", i, b.watts)
			}
		}
		// And back, when the limit is gone in part, and when it is gone.
		b.g.SetLimits(Limits{Watts: 6})
		b.run(20)
		if last := b.watts[len(b.watts)-1]; math.Abs(last-6) > 0.3 {
			t.Errorf("with a higher limit: %.2f", b.watts)
		}
		b.g.SetLimits(Limits{})
		b.run(3)
		if _, low, _ := span(b.watts[1:]); low < 7.7 {
			t.Errorf("without a limit: %.2f", b.watts)
		}
		if s := b.g.State(); s.Power || s.Pauses != 0 || s.Duty != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A limit that is out of reach slows requests down and does not stop them.
func TestPowerUnreachable(t *testing.T) {
	for _, knows := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBoard(2, Limits{Watts: 1})
			b.knows = knows
			b.run(120)
			if mean, low, _ := span(b.speed[60:]); low == 0 || mean < 0.8 {
				t.Errorf("%.2f passes a second, at least %.2f", mean, low)
			}
			if s := b.g.State(); s.Duty != minDuty || s.Threads != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A power that lies below the limit costs nothing.
func TestPowerEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(4, Limits{Watts: 9, Celsius: 95})
		b.noise = 0.03
		b.run(300)
		if s := b.g.State(); s.Rested != 0 || s.Power || s.Heat || b.changes != 0 {
			t.Errorf("%+v, %d changes", s, b.changes)
		}
	})
}

// Threads do not take turns, also where the second one costs much more than the first; after the power allows it all are back.
func TestThreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(2, Limits{Watts: 4.02})
		b.active = func(n int) float64 { return []float64{0, 1, 6}[n] }
		b.run(3600)
		if b.changes > 24 {
			t.Errorf("%d changes in an hour", b.changes)
		}
		if mean, _, _ := span(b.watts[600:]); mean > 4.02*1.03 {
			t.Errorf("%.2f W", mean)
		}
		b.g.SetLimits(Limits{Watts: 20})
		b.run(700) // as long as the governor has learned to wait
		if s := b.g.State(); s.Threads != 2 || s.Duty != 1 {
			t.Errorf("%+v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(4, Limits{Watts: 4})
		b.run(300)
		if s := b.g.State(); s.Threads == 4 || b.changes > 3 {
			t.Errorf("%+v after %d changes", s, b.changes)
		}
		b.g.SetLimits(Limits{Watts: 20})
		b.run(120)
		if s := b.g.State(); s.Threads != 4 || s.Duty != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestHeat(t *testing.T) {
	for _, tt := range []struct {
		name              string
		ambient           float64
		sink, die         float64
		sinkTime, dieTime float64
		threads           int
	}{
		{"a heat sink", 25, 6, 2, 100, 2, 1},
		{"threads", 25, 6, 2, 100, 2, 4},
		{"a bare chip", 30, 3, 5, 30, 3, 1},
		{"a slow one", 40, 5, 0.5, 600, 1, 4},
		{"the sun", 55, 6, 2, 100, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit = 60
				b := newBoard(tt.threads, Limits{Celsius: limit})
				b.active = func(n int) float64 { return 4.8 * float64(n) / float64(tt.threads) }
				b.ambient, b.sink, b.die, b.sinkTime, b.dieTime = tt.ambient, tt.sink, tt.die, tt.sinkTime, tt.dieTime
				b.run(3000)
				_, _, peak := span(b.celsius)
				b.run(300)
				mean, low, high := span(b.celsius)
				within := tt.ambient + b.idle*(tt.sink+tt.die) + minDuty*4.8*(tt.sink+tt.die) // what even the smallest duty comes to
				if top := max(limit, within); peak > top+2 || high > top+0.5 || mean < limit-band-0.5 {
					t.Errorf("peak %.1f, then %.1f (%.1f to %.1f) °C", peak, mean, low, high)
				}
				if high-low > 1.5 {
					t.Errorf("it swings from %.1f to %.1f °C", low, high)
				}
				if s := b.g.State(); !s.Heat || s.Power {
					t.Errorf("%+v", s)
				}
				b.ambient = -20
				b.run(1200)
				if s := b.g.State(); s.Heat || s.Duty != 1 || s.Threads != tt.threads {
					t.Errorf("when it is cool: %+v", s)
				}
			})
		})
	}
}

// Both at once: the stricter one holds, and the other does not go too far when it is released.
func TestPowerAndHeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(1, Limits{Watts: 6, Celsius: 60})
		b.active = func(int) float64 { return 4.8 }
		b.run(1500)
		if s := b.g.State(); !s.Heat || s.Power {
			t.Errorf("when it is hot: %+v", s)
		}
		b.ambient = 0
		b.run(600)
		if _, _, high := span(b.watts); high > 6*1.1 {
			t.Errorf("when it cools there are %.2f W", high)
		}
		if mean, _, _ := span(b.watts[500:]); math.Abs(mean-6) > 0.2 {
			t.Errorf("then %.2f W", mean)
		}
	})
}

// A sensor that fails leaves all as it is.
func TestNoReading(t *testing.T) {
	g := New(4)
	g.SetLimits(Limits{Watts: 4, Celsius: 60})
	g.Pace(engine.Pass{Took: time.Second})
	g.Step(Reading{Work: true, Watts: 8, Idle: math.NaN(), Celsius: 58})
	was := g.State().Duty
	for range 100 {
		g.Pace(engine.Pass{Took: time.Second})
		g.Step(Reading{Work: true, Watts: math.NaN(), Idle: math.NaN(), Celsius: math.NaN()})
	}
	if s := g.State(); was >= 1 || s.Duty != was {
		t.Errorf("%v, then %+v", was, s)
	}
	g.Step(Reading{Watts: math.NaN(), Idle: math.NaN(), Celsius: math.NaN()})
	if s := g.State(); s.Power || s.Heat || s.Pauses != 0 {
		t.Errorf("without requests: %+v", s)
	}
}

func TestTokens(t *testing.T) {
	for _, pass := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 90 * time.Millisecond, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := newBoard(1, Limits{Tokens: 10})
			b.pass = pass
			b.run(60)
			want := min(10, 1/pass.Seconds())
			if mean, _, _ := span(b.speed); math.Abs(mean/want-1) > 0.02 {
				t.Errorf("passes of %v: %.2f tokens/s, not %.2f", pass, mean, want)
			}
			if s := b.g.State(); s.Speed != (want == 10) || s.Power || s.Heat {
				t.Errorf("%+v", s)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		g := New(1)
		g.SetLimits(Limits{Tokens: 0.5})
		if d := g.Pace(engine.Pass{Rows: 32, Took: time.Second}); d != (engine.Rest{}) {
			t.Errorf("a prompt rests %v", d)
		}
		if d := g.Pace(engine.Pass{Rows: 8, Sampled: 8, Took: time.Second}); d != (engine.Rest{Answers: 15 * time.Second}) {
			t.Errorf("8 tokens rest %v", d)
		}
		time.Sleep(time.Hour) // which is not saved up
		if d := g.Pace(engine.Pass{Rows: 1, Sampled: 1, Took: time.Second}); d != (engine.Rest{Answers: time.Second}) {
			t.Errorf("after an hour a token rests %v", d)
		}
	})
}

func BenchmarkPace(b *testing.B) {
	g := New(4)
	g.SetLimits(Limits{Watts: 5, Tokens: 1e5})
	g.Step(Reading{Work: true, Watts: 8, Idle: 3, Celsius: 50})
	for b.Loop() {
		g.Pace(engine.Pass{Rows: 1, Sampled: 1, Took: time.Microsecond})
	}
}
