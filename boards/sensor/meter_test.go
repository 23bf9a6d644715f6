package sensor

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func shell(t *testing.T, script string, c Command) Sensor {
	t.Helper()
	c.Args = []string{"/bin/sh", "-c", script}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	s, err := OpenMeter(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestMeter(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         []float64
	}{
		{"once a call", `echo 5.25`, []float64{5.25, 5.25, 5.25}},
		{"once a call without a newline", `printf 5.25W`, []float64{5.25, 5.25}},
		{"a number a line", `echo; echo " 4.5 W"; sleep 60`, []float64{4.5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := shell(t, c.script, Command{})
			var last time.Time
			for _, want := range c.want {
				got, err := s.Read(t.Context())
				if err != nil || got.Watts != want || got.Has != Power || !got.Time.After(last) {
					t.Fatalf("%+v, %v", got, err)
				}
				last = got.Time
			}
		})
	}
}

// A program that prints faster than it is read: every line counts, once.
func TestMeterMean(t *testing.T) {
	begin := time.Now()
	at := func(ms int, watts float64) line {
		return line{watts: watts, at: begin.Add(time.Duration(ms) * time.Millisecond)}
	}
	bad := line{err: errors.New("garbage")}
	for _, c := range []struct {
		name  string
		lines []line
		watts float64 // 0: an error
		ms    int
	}{
		{"one", []line{at(700, 4)}, 4, 700},
		{"evenly", []line{at(0, 1), at(100, 2), at(200, 3), at(300, 4), at(400, 5)}, 3, 200},
		{"pulses", []line{at(0, 2), at(100, 12), at(200, 2), at(300, 2), at(400, 2)}, 4, 200},
		{"out of a buffer", []line{at(500, 2), at(500, 4), at(500, 4), at(501, 10)}, 5, 500},
		{"a bad one is not the newest", []line{at(0, 100), bad, at(100, 2), at(200, 4)}, 3, 150},
		{"a bad one is the newest", []line{at(0, 2), bad}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &run{unread: make(chan lines, 1)}
			for _, l := range c.lines {
				r.put(l)
			}
			e := &external{c: Command{Timeout: time.Minute}, run: r, wait: time.NewTimer(time.Minute)}
			s, err := e.Read(t.Context())
			if c.watts == 0 {
				if err == nil {
					t.Errorf("%+v", s)
				}
				return
			}
			if err != nil || math.Abs(s.Watts-c.watts) > 1e-9 || s.Time.Sub(begin).Truncate(time.Millisecond) != time.Duration(c.ms)*time.Millisecond {
				t.Errorf("%g W at %v, %v", s.Watts, s.Time.Sub(begin), err)
			}
			r.put(at(2000, 7))
			if s, err := e.Read(t.Context()); err != nil || s.Watts != 7 {
				t.Errorf("then %+v, %v", s, err)
			}
		})
	}
}

// A meter's own rate carries the energy of what is short: pulses of which the newest line of each second would show the highs, or the lows, only.
func TestMeterRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &run{unread: make(chan lines, 1)}
		e := &external{c: Command{Timeout: time.Minute}, run: r, wait: time.NewTimer(time.Minute), info: Info{Name: "meter", Quantities: Power, Interval: time.Second, Error: 0.02}}
		stop := make(chan struct{})
		go func() {
			time.Sleep(30 * time.Millisecond) // so that no line comes at the very moment of a reading
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
					watts := 2.0
					if i%10 == 9 {
						watts = 12
					}
					r.put(line{watts: watts, at: time.Now()})
				}
			}
		}()
		rec := Record(e, 100)
		time.Sleep(40*time.Second + 50*time.Millisecond)
		total, err := rec.Total()
		rec.Stop()
		close(stop)
		if err != nil || math.Abs(total.Watts-3) > 0.05 {
			t.Errorf("%+v, %v", total, err)
		}
	})
}

func TestMeterHostile(t *testing.T) {
	for _, c := range []struct{ name, script, reason string }{
		{"words", `echo power: five`, "no number"},
		{"not a number", `echo NaN`, "no number"},
		{"infinite", `echo inf`, "no number"},
		{"huge", `echo 1e999`, "no number"},
		{"digits", `echo 99999999999999999999`, "not within"},
		{"negative", `echo -5`, "no number"},
		{"comma", `echo 5,25`, "no number"},
		{"two", `echo 5 6`, "no number"},
		{"zero", `echo 0.0`, "0 W"},
		{"silent", `exit 0`, "without a number"},
		{"blank", `echo; echo`, "without a number"},
		{"fails", `echo 5 >&2; echo no such meter >&2; exit 3`, "exit status 3"},
		{"fails in a line", `printf 5.2; exit 3`, "exit status 3"},
		{"endless line", `while :; do printf 5555555555; done`, "more than 128 bytes"},
		{"flood", `yes 5`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := shell(t, c.script, Command{})
			var err error
			for range 2000 { // a flood is noticed after some lines
				if _, err = s.Read(t.Context()); err != nil || c.reason != "" {
					break
				}
			}
			if c.name == "flood" {
				c.reason = "1000 lines in a second"
			}
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestMeterTimeout(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	s := shell(t, `(sleep 1; echo >'`+mark+`') & sleep 60`, Command{Timeout: 50 * time.Millisecond})
	if _, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "no line in 50ms") {
		t.Error(err)
	}
	// What it had started is ended, too.
	time.Sleep(1200 * time.Millisecond)
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Error("its child lives on")
	}
	s = shell(t, `sleep 60`, Command{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestMeterRefuses(t *testing.T) {
	for _, c := range []Command{
		{}, {Args: []string{""}}, {Args: []string{"/no/such/program"}}, {Args: []string{"/bin/sh"}, Error: -1}, {Args: []string{"/bin/sh"}, Error: 2},
		{Args: []string{"/bin/sh"}, Interval: -1}, {Args: []string{"/bin/sh"}, Timeout: -1},
	} {
		if s, err := OpenMeter(c); err == nil {
			t.Errorf("%+v: %v", c, s)
		}
	}
	s, err := OpenMeter(Command{Args: []string{"/bin/sh"}})
	if err != nil {
		t.Fatal(err)
	}
	if i := s.Info(); i.Error != 0.02 || !strings.Contains(i.ErrorSource, "assumed") || i.Interval != time.Second {
		t.Errorf("%+v", i)
	}
}

func FuzzMeter(f *testing.F) {
	for _, s := range []string{"5.25", "5 W", "5W", "NaN", "1e999", "-5", "0", "0x5", "5.", ".5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := parseMeter(b)
		if (l.err == nil) != (l.watts > 0 && l.watts < 1e31 && !l.at.IsZero()) {
			t.Errorf("%q: %+v", b, l)
		}
	})
}
