package sensor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// A program that prints faster than it is read.
func TestMeterNewest(t *testing.T) {
	r := &run{lines: make(chan line, 1)}
	for i := range 5 {
		r.put(line{watts: float64(i + 1), at: time.Now()})
	}
	e := &external{c: Command{Timeout: time.Minute}, run: r, wait: time.NewTimer(time.Minute)}
	if s, err := e.Read(t.Context()); err != nil || s.Watts != 5 {
		t.Errorf("%+v, %v", s, err)
	}
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
