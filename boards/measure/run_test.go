package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"bimamba/boards/sensor"
)

// The tests of this file run on testing/synctest's clock: minutes of measuring take milliseconds, and every duration is exact.

// fake is a subject that takes known times.
type fake struct {
	token   time.Duration // a generated token
	slower  atomic.Int64  // percent that it takes longer
	tokens  int           // of an answer
	loaded  atomic.Bool
	answers int
	fail    error // of the open behind the first
	opened  int
}

func (f *fake) drop() bool { return true }
func (f *fake) open() error {
	if f.opened++; f.opened > 1 && f.fail != nil {
		return f.fail
	}
	time.Sleep(30 * time.Millisecond)
	f.loaded.Store(true)
	return nil
}
func (f *fake) first() error { time.Sleep(20 * time.Millisecond); return nil }
func (f *fake) close() error { f.loaded.Store(false); return nil }
func (f *fake) prefill(ctx context.Context) (int, error) {
	time.Sleep(64 * time.Millisecond)
	return 32, ctx.Err()
}
func (f *fake) answer(ctx context.Context, token func()) (int, error) {
	time.Sleep(25 * time.Millisecond)
	for range f.tokens {
		time.Sleep(f.token * time.Duration(100+f.slower.Load()) / 100)
		token()
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	f.answers++
	return 10, nil
}

// gauge is a sensor of known readings.
type gauge struct {
	info sensor.Info
	read func(*sensor.Sample)
	fail error
}

func (g *gauge) Info() sensor.Info { return g.info }
func (g *gauge) Close() error      { return nil }
func (g *gauge) Read(context.Context) (sensor.Sample, error) {
	s := sensor.Sample{Time: time.Now(), Has: g.info.Quantities}
	if g.fail != nil {
		return s, g.fail
	}
	g.read(&s)
	return s, nil
}

// wattmeter shows idle watts, and busy ones while the model is loaded.
func wattmeter(f *fake, interval time.Duration, idle, busy float64) *gauge {
	return &gauge{info: sensor.Info{Name: "fake", Quantities: sensor.Power, Interval: interval, Error: 0.02, ErrorSource: "made up"}, read: func(s *sensor.Sample) {
		if s.Watts = idle; f.loaded.Load() {
			s.Watts = busy
		}
	}}
}

var fakeRoot = fstest.MapFS{
	"proc/self/smaps_rollup":                  {Data: []byte("0-1 ---p 00000000 00:00 0 [rollup]\nRss: 2000 kB\nPss: 1000 kB\n")},
	"proc/self/status":                        {Data: []byte("Name:\tx\nVmHWM:\t    3000 kB\nVmRSS:\t    2000 kB\n")},
	"proc/self/cgroup":                        {Data: []byte("0::/user.slice\n")},
	"sys/fs/cgroup/user.slice/memory.current": {Data: []byte("5000000\n")},
	"sys/fs/cgroup/user.slice/memory.peak":    {Data: []byte("6000000\n")},
	"sys/fs/cgroup/user.slice/cgroup.procs":   {Data: []byte("1\n")},
	"proc/self/stat":                          {Data: []byte("1 (a ) b) R 1 1 1 0 -1 4194304 100 0 7 0 1 1 0 0\n")},
}

// measureFake runs a measurement of f. Values that a runner takes from a real model are made up.
func measureFake(ctx context.Context, f *fake, in *Instruments, cfg Config) (*Report, error) {
	cfg.Instruments = in
	if in.Power == nil && in.NoPower == "" {
		in.NoPower = "none was wanted"
	}
	if cfg.Repeat == 0 {
		cfg.Repeat = 3
	}
	if cfg.Duration == 0 {
		cfg.Duration = 20 * time.Second
	}
	rep := emptyReport()
	rep.Options.Duration, rep.Options.Repeat, rep.Options.Soak = cfg.Duration.Seconds(), cfg.Repeat, cfg.Soak.Seconds()
	r := &runner{cfg: &cfg, subject: f, rep: rep, proc: process{root: fakeRoot}}
	return r.measure(ctx)
}

// emptyReport is a report before anything was measured.
func emptyReport() *Report {
	sum := strings.Repeat("0123456789abcdef", 4)
	return &Report{
		Version: Version,
		Program: Program{Version: "1.2.3", Go: "go1.26", Arch: "arm64", Kernels: "neon"},
		Machine: Machine{Kind: Hardware},
		Board: Board{ID: "pi-5", Name: "Raspberry Pi 5", Model: "Raspberry Pi 5 Model B Rev 1.0", SoC: "BCM2712", Cores: []Core{{Name: "Cortex-A76", Count: 4, MHz: 2400, Governor: "ondemand"}},
			Memory: 4 << 30, PageSize: 16 << 10, Userland: 64, OS: "Debian GNU/Linux 13 (trixie)", Kernel: "6.12.47", Storage: "sd"},
		Model: Model{Name: "test-model", ID: sum, Kind: "base", Bytes: 150e6, Moves: 221e6, Parts: Parts{100e6, 38e6, 2e6, 1e6, 10e6, 2e5, 4e6, 0}},
		Options: Options{Threads: 4, Decode: 3, Precision: "lut16", State: "f16", Duration: 20, Repeat: 3, MaxTokens: 128,
			Prompts: Prompts{Source: "built-in", Count: 8, Tokens: 200, SHA256: sum}},
	}
}

// check validates a report, and that its JSON form is read back as it is.
func check(t *testing.T, r *Report) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Read(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	again, err := json.Marshal(back)
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("the report came back otherwise (%v):\n%s\n%s", err, b, again)
	}
}

func near(t *testing.T, what string, got, want, part float64) {
	t.Helper()
	if !(math.Abs(got-want) <= part*math.Abs(want)) { // also if it is not a number
		t.Errorf("%s: %g, want %g within %g %%", what, got, want, 100*part)
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{token: 10 * time.Millisecond, tokens: 13}
		heat := &gauge{info: sensor.Info{Name: "heat", Quantities: sensor.Heat | sensor.Clock | sensor.Throttle, Interval: time.Second}, read: func(s *sensor.Sample) {
			s.Celsius, s.Hertz = 50+float64(s.Time.Second())/10, 2.4e9
		}}
		in := &Instruments{Power: wattmeter(f, 100*time.Millisecond, 3, 5), Others: []sensor.Sensor{heat}}
		r, err := measureFake(t.Context(), f, in, Config{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		s := r.Summary
		if !r.Complete || s == nil || len(r.Runs) != 3 || r.Soak != nil {
			t.Fatalf("%+v", r)
		}
		near(t, "decode", s.Decode.Median, 100, 1e-3)
		near(t, "prefill", s.Prefill.Median, 500, 1e-3)
		near(t, "load", s.Load.Max, 0.05, 1e-3)
		near(t, "first token", s.FirstToken.P50, 35, 0.011)
		near(t, "next token", s.NextToken.P95, 10, 0.011)
		// An answer is 155 ms of 5 W, in which 13 tokens are generated; idle takes 3 W.
		near(t, "J an answer", s.PerAnswer.Joules, 5*0.155, 0.01)
		near(t, "J a token", s.PerToken.Joules, 5*0.155/13, 0.01)
		near(t, "J a token above idle", *s.PerToken.Above, 2*0.155/13, 0.02)
		near(t, "J a prompt's token", s.PerPromptToken.Joules, 5*0.064/32, 0.01)
		near(t, "uncertainty", s.PerToken.Uncertainty, 0.02*s.PerToken.Joules, 0.05)
		near(t, "watts", *s.Watts, 5, 0.01)
		if s.PerToken.Samples < 500 {
			t.Errorf("%d samples", s.PerToken.Samples)
		}
		near(t, "idle before", r.Before.Energy.Watts, 3, 1e-6)
		near(t, "idle after", r.After.Energy.Watts, 5, 0.01)
		d := r.Runs[1].Decode
		if d.Answers != 130 || d.Tokens != 130*13 || d.Prompted != 1300 { // the 130th begins at 19.995 s
			t.Errorf("%+v", d)
		}
		if *s.PSS != 1000<<10 || *s.Peak != 3000<<10 || *s.CgroupPeak != 6000000 {
			t.Errorf("%d, %d, %d bytes", *s.PSS, *s.Peak, *s.CgroupPeak)
		}
		if f := d.Faults; f == nil || f.Major != 0 || f.Read != nil {
			t.Errorf("faults %+v", f)
		}
		if s.Heat == nil || s.Heat.Max > 56 || s.Heat.Max < 55 || s.Clock.Min != 2400 {
			t.Errorf("%+v, %+v", s.Heat, s.Clock)
		}
		if r.Runs[0].Throttled == nil || len(r.Unsteady) != 0 || len(r.Throttling) != 1 {
			t.Errorf("%v, %v, %v", r.Runs[0].Throttled, r.Unsteady, r.Throttling)
		}
		var names []string
		for _, m := range r.Series.Marks {
			names = append(names, m.Name)
		}
		if got, want := strings.Join(names, " "), "idle load prefill decode load prefill decode load prefill decode idle"; got != want {
			t.Errorf("phases %s, want %s", got, want)
		}
		seen := 0
		for _, v := range r.Series.Tokens {
			if !math.IsNaN(v) {
				seen++
				near(t, "rate in the series", v, 13/0.155, 0.2)
			}
		}
		if seen < 200 {
			t.Errorf("%d rates in the series", seen)
		}
	})
}

// TestThrottled: a board that is throttled in one run only has no mean.
func TestThrottled(t *testing.T) {
	for _, c := range []struct {
		name     string
		bits     func(since time.Duration) sensor.Throttled
		want     string // of Unsteady
		runs     int
		sameEach bool
	}{
		{"within a run", func(d time.Duration) sensor.Throttled {
			if d > 45*time.Second && d < 50*time.Second {
				return sensor.Throttling | sensor.Throttling<<16
			}
			return 0
		}, "run 2: throttling changed within it 2 times (throttled)", 3, false},
		{"from a run on", func(d time.Duration) sensor.Throttled {
			if d > 36500*time.Millisecond {
				return sensor.UnderVoltage
			}
			return 0
		}, "run 2: under-voltage; run 1: not throttled", 3, false},
		{"a moment that no sample caught", func(d time.Duration) sensor.Throttled {
			if d > 45*time.Second {
				return sensor.FrequencyCap << 16
			}
			return 0
		}, "run 2: throttling changed within it once (frequency capped)", 3, false},
		{"a moment between two runs", func(d time.Duration) sensor.Throttled {
			if d > 36100*time.Millisecond { // run 2 begins a little later, and the next sample is that of 37 s
				return sensor.FrequencyCap << 16
			}
			return 0
		}, "run 2: throttling changed within it once (frequency capped)", 3, false},
		{"before the first run", func(d time.Duration) sensor.Throttled {
			if d > 5*time.Second {
				return sensor.FrequencyCap << 16
			}
			return 0
		}, "", 0, true},
		{"all the time", func(time.Duration) sensor.Throttled { return sensor.FrequencyCap | sensor.FrequencyCap<<16 }, "", 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				f := &fake{token: 10 * time.Millisecond, tokens: 13}
				pi := &gauge{info: sensor.Info{Name: "pi", Quantities: sensor.Throttle, Interval: time.Second}, read: func(s *sensor.Sample) { s.Throttled = c.bits(s.Time.Sub(start)) }}
				r, err := measureFake(t.Context(), f, &Instruments{Others: []sensor.Sensor{pi}}, Config{})
				if err != nil {
					t.Fatal(err)
				}
				check(t, r)
				if c.want == "" {
					if r.Summary == nil || len(r.Unsteady) != 0 || c.runs > 0 && !strings.Contains(strings.Join(r.warnings(), " "), "held back all the time: frequency capped") {
						t.Errorf("%v, %v", r.Unsteady, r.warnings())
					}
					return
				}
				if r.Summary != nil || len(r.Unsteady) == 0 || r.Unsteady[0] != c.want {
					t.Errorf("%q, want %q; summary %v", r.Unsteady, c.want, r.Summary)
				}
				var md bytes.Buffer
				if err := r.Markdown(&md); err != nil {
					t.Fatal(err)
				}
				if s := md.String(); strings.Contains(s, "| Decode |") || !strings.Contains(s, c.want[:5]) || strings.Count(s, "\n| 1 |")+strings.Count(s, "\n| 2 |")+strings.Count(s, "\n| 3 |") != 3 {
					t.Errorf("a mean, or no runs:\n%s", s)
				}
			})
		})
	}
}

func TestTooShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{token: 10 * time.Millisecond, tokens: 13}
		r, err := measureFake(t.Context(), f, &Instruments{Power: wattmeter(f, time.Second, 3, 5)}, Config{Duration: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		d := r.Runs[0].Decode
		if d.Energy != nil || !strings.HasPrefix(d.NoEnergy, "too short: ") || d.PerToken != nil {
			t.Errorf("%+v, %q", d.Energy, d.NoEnergy)
		}
		if s := r.Summary; s.PerToken != nil || s.Watts != nil || !strings.HasPrefix(s.NoEnergy, "of a token: too short: 5 samples") {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoSensor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := measureFake(t.Context(), &fake{token: 10 * time.Millisecond, tokens: 13}, &Instruments{NoPower: "none is here"}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		if r.Sensors.Power != nil || r.Sensors.NoPower != "none is here" || r.Sensors.NoHeat == "" || r.Sensors.NoClock == "" || r.Sensors.NoThrottle == "" {
			t.Errorf("%+v", r.Sensors)
		}
		if r.Summary == nil || r.Summary.NoEnergy != noPower || r.Runs[0].Throttled != nil {
			t.Errorf("%+v, %v", r.Summary, r.Runs[0].Throttled)
		}
		b, _ := json.Marshal(r)
		if bytes.Contains(b, []byte(`"watts":0`)) || bytes.Contains(b, []byte(`"joules":0`)) {
			t.Errorf("0 W or 0 J in %s", b)
		}
	})
}

func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &fake{token: 10 * time.Millisecond, tokens: 13}
		time.AfterFunc(50*time.Second, cancel) // in the decode phase of the second run
		r, err := measureFake(ctx, f, &Instruments{Power: wattmeter(f, 100*time.Millisecond, 3, 5)}, Config{Soak: time.Minute})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
		check(t, r)
		if r.Complete || r.Ended != "interrupted" || len(r.Runs) != 2 || r.Runs[0].Cut || !r.Runs[1].Cut || r.Runs[1].Decode == nil || r.After != nil || r.Soak != nil {
			t.Fatalf("%+v", r)
		}
		if r.Summary == nil || r.Summary.Decode.Min != *r.Runs[0].Decode.TokensPerSecond {
			t.Errorf("%+v", r.Summary)
		}
		if f.loaded.Load() {
			t.Error("the model is still open")
		}
	})
}

func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the card was pulled")
		r, err := measureFake(t.Context(), &fake{token: 10 * time.Millisecond, tokens: 13, fail: broken}, &Instruments{}, Config{})
		if !errors.Is(err, broken) {
			t.Fatalf("%v", err)
		}
		check(t, r)
		if r.Complete || r.Ended != "the card was pulled" || len(r.Runs) != 2 || r.Runs[1].Load != nil {
			t.Errorf("%+v", r)
		}
	})
}

// TestHostileErrors: whatever sensors and the model fail with, the report can be read.
func TestHostileErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hostile := errors.Join(errors.New("the bus\x1b[2J broke"), errors.New(strings.Repeat("\x00long ", 2000)))
		f := &fake{token: 10 * time.Millisecond, tokens: 13, fail: hostile}
		power := wattmeter(f, 100*time.Millisecond, 3, 5)
		power.fail = hostile
		r, err := measureFake(t.Context(), f, &Instruments{Power: power}, Config{})
		if !errors.Is(err, hostile) {
			t.Fatalf("%v", err)
		}
		check(t, r)
		for what, s := range map[string]string{"ended": r.Ended, "no_energy": r.Before.NoEnergy, "failures": r.Sensors.Failures[0].Last} {
			if !strings.Contains(s, "the bus [2J broke; ") || len(s) > maxText {
				t.Errorf("%s: %.80q of %d bytes", what, s, len(s))
			}
		}
	})
}

// TestNoRate: an answer of one token has no rate of decoding, which is not 0.
func TestNoRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := measureFake(t.Context(), &fake{token: 10 * time.Millisecond, tokens: 1}, &Instruments{}, Config{Duration: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		if d, s := r.Runs[0].Decode, r.Summary; d.TokensPerSecond != nil || d.NoRate != noRate || s.Decode != nil || s.NoDecode != noRate || s.Prefill == nil {
			t.Errorf("%+v, %+v", d, s)
		}
		var md bytes.Buffer
		if err := errors.Join(r.Markdown(&md), r.HTML(io.Discard)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(md.String(), "| Decode | not known: "+noRate+" |") || !strings.Contains(r.Brief(), ": no rate of decoding: "+noRate+", prompts ") {
			t.Errorf("%s\n%s", r.Brief(), md.String())
		}
	})
	synctest.Test(t, func(t *testing.T) { // the runs that have one count
		f := &fake{token: 10 * time.Millisecond}
		cfg := Config{Duration: time.Second, Progress: func(p Progress) {
			if p.Phase == "decode" {
				f.tokens = min(p.Run, 2)
			}
		}}
		r, err := measureFake(t.Context(), f, &Instruments{}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		if s := r.Summary; s.Decode == nil || s.Decode.Min < 99 || s.NoDecode != "" || r.Runs[0].Decode.NoRate == "" {
			t.Errorf("%+v", s)
		}
	})
}

// TestLongEnergy: of a phase with more samples than are kept all count. The board takes less in its second half.
func TestLongEnergy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const long = 4 * time.Hour
		f := &fake{token: time.Second, tokens: 50}
		var soaking atomic.Bool
		var middle atomic.Int64
		power := &gauge{info: sensor.Info{Name: "fake", Quantities: sensor.Power, Interval: 100 * time.Millisecond, Error: 0.02}}
		power.read = func(s *sensor.Sample) {
			if s.Watts = 10; soaking.Load() && s.Time.UnixNano() >= middle.Load() {
				s.Watts = 4
			}
		}
		cfg := Config{Soak: long, Duration: 100 * time.Millisecond, Repeat: 1, Progress: func(p Progress) {
			if p.Phase == "soak" {
				middle.Store(time.Now().Add(long / 2).UnixNano())
				soaking.Store(true)
			}
		}}
		r, err := measureFake(t.Context(), f, &Instruments{Power: power}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		e := r.Soak.Energy
		if e == nil {
			t.Fatal(r.Soak.NoEnergy)
		}
		near(t, "joules", e.Joules, 7*long.Seconds(), 1e-4)
		near(t, "watts", e.Watts, 7, 1e-4)
		near(t, "covered", e.Covered, long.Seconds(), 1e-5)
		near(t, "samples", float64(e.Samples), 10*long.Seconds(), 1e-3)
		near(t, "uncertainty", e.Uncertainty, 0.02*7*long.Seconds(), 1e-2)
	})
}

// TestSoakInterrupted: what was measured of a soak is kept. The board is three times as slow from 95 s on.
func TestSoakInterrupted(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		why   string
		last  float64 // tokens a second; 0: there is none
	}{
		{30 * time.Second, "ended early: after 30s, and the first alone takes 1m0s", 0},
		{80*time.Second + 50*time.Millisecond, "ended early: after 1m20s, and first and last take 1m0s each", 0},
		{150*time.Second + 50*time.Millisecond, "", (5/0.1 + 55/0.3) / 60}, // from 90 to 150 s
		{400*time.Second + 50*time.Millisecond, "", 1 / 0.3},
	} {
		t.Run(c.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				f := &fake{token: 100 * time.Millisecond, tokens: 1e6}
				heat := &gauge{info: sensor.Info{Name: "heat", Quantities: sensor.Heat, Interval: time.Second}, read: func(s *sensor.Sample) { s.Celsius = 50 }}
				// The runs are of one answer each, which must end.
				cfg := Config{Soak: 10 * time.Minute, Duration: 100 * time.Millisecond, Repeat: 1}
				cfg.Progress = func(p Progress) {
					switch p.Phase {
					case "decode":
						f.tokens = 2
					case "soak":
						f.tokens = 1e6
						time.AfterFunc(95*time.Second, func() { f.slower.Store(200) })
						time.AfterFunc(c.after, cancel)
					}
				}
				r, err := measureFake(ctx, f, &Instruments{Others: []sensor.Sensor{heat}}, cfg)
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				check(t, r)
				k := r.Soak
				if k == nil || !k.Cut || k.NoWindows != c.why || r.Complete || k.Tokens == 0 {
					t.Fatalf("%+v", k)
				}
				near(t, "seconds", k.Seconds, c.after.Seconds(), 0.01)
				if (k.First != nil) != (c.after > time.Minute) || (k.Last != nil) != (c.last > 0) || (k.Drift != nil) != (c.last > 0) {
					t.Fatalf("%+v", k)
				}
				if k.First != nil {
					near(t, "first", *k.First.TokensPerSecond, 10, 1e-6)
				}
				if k.Last != nil {
					near(t, "last", *k.Last.TokensPerSecond, c.last, 0.002)
				}
				var md bytes.Buffer
				if err := errors.Join(r.Markdown(&md), r.HTML(io.Discard)); err != nil {
					t.Fatal(err)
				}
				if s := md.String(); !strings.Contains(s, "It was ended early.") || strings.Contains(s, "| Decode, tokens/s | 10.0 |") != (k.First != nil) {
					t.Errorf("%s", s)
				}
			})
		})
	}
}

// TestSoak slows down by half over ten minutes, grows warmer by 30 degrees and takes less.
func TestSoak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{token: 10 * time.Millisecond, tokens: 10}
		start := time.Now()
		begin := 11*time.Second + 75*time.Second + 600*time.Millisecond + 11*time.Second // about where the soak begins
		part := func() float64 { return min(max(float64(time.Since(start)-begin)/float64(10*time.Minute), 0), 1) }
		power := &gauge{info: sensor.Info{Name: "fake", Quantities: sensor.Power, Interval: 100 * time.Millisecond}, read: func(s *sensor.Sample) { s.Watts = 10 - 5*part() }}
		heat := &gauge{info: sensor.Info{Name: "heat", Quantities: sensor.Heat, Interval: time.Second}, read: func(s *sensor.Sample) {
			s.Celsius = 50 + 30*part()
			f.slower.Store(int64(100 * part()))
		}}
		r, err := measureFake(t.Context(), f, &Instruments{Power: power, Others: []sensor.Sensor{heat}}, Config{Soak: 10 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		k := r.Soak
		if k == nil {
			t.Fatal("no soak")
		}
		if *k.Window != 60 || k.Seconds != 600 {
			t.Errorf("window %g s of %g", *k.Window, k.Seconds)
		}
		near(t, "first", *k.First.TokensPerSecond, 100/1.05, 0.02)
		near(t, "last", *k.Last.TokensPerSecond, 100/1.95, 0.02)
		near(t, "drift", *k.Drift.TokensPerSecond, 100*(1.05/1.95-1), 0.03)
		near(t, "heat", *k.Drift.Heat, 27, 0.03)
		near(t, "watts", *k.Drift.Watts, 100*(5.25/9.75-1), 0.03)
		if *k.Drift.PSS != 0 {
			t.Errorf("%g %%", *k.Drift.PSS)
		}
		if n := len(r.Series.Tokens); n > maxPoints || n < maxPoints/4 {
			t.Errorf("%d points", n)
		}
	})
}

// TestSoakWindows: neither the length of answers nor that of tokens moves the ends of the windows. The board is three times as slow from the middle of the soak on.
func TestSoakWindows(t *testing.T) {
	for _, c := range []struct {
		name   string
		token  time.Duration
		tokens int     // of an answer
		whole  int     // answers
		all    int     // tokens
		last   float64 // tokens a second; a token that is under way in the middle has its first speed to its end
	}{
		{"one answer longer than the soak", 100 * time.Millisecond, 1000, 0, 133, (0.025/0.1 + 9.975/0.3) / 10},
		{"answers longer than a window", 100 * time.Millisecond, 70, 1, 133, (0.05/0.1 + 9.95/0.3) / 10},
		{"short answers", 100 * time.Millisecond, 3, 41, 125, (0.075/0.1 + 6.35/0.3) / 6.425},
		{"tokens of seconds", 3 * time.Second, 1000, 0, 4, (2.025/3 + 7.975/9) / 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{token: c.token, tokens: c.tokens}
				start := time.Now()
				var soaking atomic.Int64 // since start
				heat := &gauge{info: sensor.Info{Name: "heat", Quantities: sensor.Heat, Interval: 100 * time.Millisecond}, read: func(s *sensor.Sample) {
					s.Celsius = (s.Time.Sub(start) - time.Duration(soaking.Load())).Seconds() / 100
				}}
				cfg := Config{Soak: 20 * time.Second, Duration: 100 * time.Millisecond, Repeat: 1}
				cfg.Progress = func(p Progress) {
					if p.Phase == "soak" {
						soaking.Store(int64(time.Since(start)))
						time.AfterFunc(cfg.Soak/2, func() { f.slower.Store(200) })
					}
				}
				r, err := measureFake(t.Context(), f, &Instruments{Others: []sensor.Sensor{heat}}, cfg)
				if err != nil {
					t.Fatal(err)
				}
				check(t, r)
				k := r.Soak
				if k.Seconds != 20 || *k.Window != 10 || k.NoWindows != "" {
					t.Errorf("%g s, windows of %g, %s", k.Seconds, *k.Window, k.NoWindows)
				}
				if k.Answers != c.whole || k.Tokens != c.all {
					t.Errorf("%d answers of %d tokens, want %d of %d", k.Answers, k.Tokens, c.whole, c.all)
				}
				near(t, "first", *k.First.TokensPerSecond, 1/c.token.Seconds(), 1e-6)
				near(t, "last", *k.Last.TokensPerSecond, c.last, 1e-6)
				near(t, "drift", *k.Drift.TokensPerSecond, 100*(c.last*c.token.Seconds()-1), 1e-6)
				near(t, "end of the first", *k.First.Heat, 0.1, 0.015)
				near(t, "end of the last", *k.Last.Heat, 0.2, 0.015)
			})
		})
	}
}

func TestSoakTooShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := measureFake(t.Context(), &fake{token: 10 * time.Millisecond, tokens: 13}, &Instruments{}, Config{Soak: 19 * time.Second, Duration: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		k := r.Soak
		if k.Window != nil || k.First != nil || k.Last != nil || k.Drift != nil || k.NoWindows != "too short: first and last take 10s each, and the soak took 19s" {
			t.Errorf("%+v", k)
		}
		var page, md bytes.Buffer
		if err := errors.Join(r.HTML(&page), r.Markdown(&md)); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{page.String(), md.String()} {
			if !strings.Contains(s, "No drift: "+k.NoWindows) || strings.Contains(s, "First and last are") || strings.Contains(s, "drift |") {
				t.Errorf("%s", s)
			}
		}
		res, err := r.Share()
		if err != nil || res.Soak != nil {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TestSlowSeries: where a token takes many steps, each of them has its rate, and all rates together are all tokens.
func TestSlowSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{token: 1400 * time.Millisecond, tokens: 5}
		r, err := measureFake(t.Context(), f, &Instruments{}, Config{Repeat: 1, Soak: 3 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		s, k := &r.Series, r.Soak
		sum, unknown := 0.0, 0
		for i, v := range s.Tokens {
			if at := s.Step * float64(i+1); at <= k.Start || at > k.Start+k.Seconds {
				continue
			}
			if math.IsNaN(v) {
				unknown++
				continue
			}
			sum += v * s.Step
			near(t, "rate", v, 1/1.4, 0.1)
		}
		near(t, "all tokens", sum, float64(k.Tokens), 0.01)
		if unknown > 2 { // at the ends
			t.Errorf("%d steps of the soak are not known", unknown)
		}
		// Before, the steps were shorter than a token. They have been put together since.
		if s.Step < 4 {
			t.Errorf("a step of %g s", s.Step)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r, err := measureFake(t.Context(), &fake{token: 1400 * time.Millisecond, tokens: 5}, &Instruments{}, Config{Repeat: 1})
		if err != nil {
			t.Fatal(err)
		}
		d := r.Runs[0].Decode
		known := 0
		for i, v := range r.Series.Tokens {
			if at := r.Series.Step * float64(i+1); at > d.Start+1.5*r.Series.Step && at < d.Start+d.Seconds-r.Series.Step {
				near(t, "rate", v, 1/1.4, 0.2)
				known++
			}
		}
		if known < 80 {
			t.Errorf("%d steps", known)
		}
	})
}

// TestShared: a control group that others shared at the end of any phase has no peak.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := maps.Clone(fakeRoot)
		procs := &fstest.MapFile{Data: []byte("1\n")}
		root["sys/fs/cgroup/user.slice/cgroup.procs"] = procs
		cfg := Config{Duration: time.Second, Repeat: 3, Instruments: &Instruments{NoPower: "none"}}
		cfg.Progress = func(p Progress) {
			if p.Phase == "prefill" {
				procs.Data = []byte("1\n")
				if p.Run == 2 {
					procs.Data = []byte("1\n77\n")
				}
			}
		}
		r, err := (&runner{cfg: &cfg, subject: &fake{token: 10 * time.Millisecond, tokens: 13}, rep: emptyReport(), proc: process{root: root}}).measure(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		check(t, r)
		if m := r.Runs[0].Decode.Memory; m.CgroupPeak == nil || m.Missing != "" {
			t.Errorf("%+v", m)
		}
		if m := r.Runs[1].Decode.Memory; m.CgroupPeak != nil || m.Cgroup != nil || m.Missing != "control group: another process is in it, and its memory" {
			t.Errorf("%+v", m)
		}
		if s := r.Summary; s.CgroupPeak != nil || s.NoCgroupPeak != "another process is in it, and its memory" {
			t.Errorf("%+v", s)
		}
	})
}

func TestConfig(t *testing.T) {
	good := Config{Duration: time.Second, Repeat: 1}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Duration = 0 }, func(c *Config) { c.Duration = 25 * time.Hour }, func(c *Config) { c.Repeat = 0 }, func(c *Config) { c.Repeat = 1 << 20 },
		func(c *Config) { c.Soak = -1 }, func(c *Config) { c.Soak = time.Millisecond }, func(c *Config) { c.MaxTokens = -1 },
	} {
		c := good
		change(&c)
		if err := c.validate(); err == nil || !strings.HasPrefix(err.Error(), "--") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
