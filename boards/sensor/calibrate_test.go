package sensor

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fixed gives the same watts always.
type fixed struct {
	name   string
	watts  float64
	closed bool
}

func (f *fixed) Close() error { f.closed = true; return nil }
func (f *fixed) Info() Info {
	return Info{Name: f.name, Quantities: Power, Interval: 100 * time.Millisecond, Error: 0.05, ErrorSource: "test", Includes: "nothing"}
}
func (f *fixed) Read(context.Context) (Sample, error) {
	s := Sample{Time: time.Now()}
	return s, s.power(f.watts)
}

func TestFit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var exact, noisy []Pair
	for x := 2.0; x < 8; x += 0.05 {
		exact = append(exact, Pair{x, 1.1451*x + 0.5879})
		noisy = append(noisy, Pair{x, 1.1451*x + 0.5879 + 0.1*r.NormFloat64()})
	}
	c, err := Fit("pi5-pmic", exact, 0.01)
	if err != nil || math.Abs(c.Slope-1.1451) > 1e-9 || math.Abs(c.Offset-0.5879) > 1e-9 || c.Residual > 1e-9 || math.Abs(c.Error-0.01) > 1e-9 || c.Low != 2 || c.Pairs != len(exact) {
		t.Errorf("%+v, %v", c, err)
	}
	c, err = Fit("pi5-pmic", noisy, 0)
	if err != nil || math.Abs(c.Slope-1.1451) > 0.02 || math.Abs(c.Residual-0.1) > 0.02 || math.Abs(c.Error-c.Residual/6.3) > 0.003 {
		t.Errorf("%+v, %v", c, err)
	}
	for name, bad := range map[string][]Pair{
		"none": nil, "two": {{2, 3}, {6, 7}}, "one load": {{5, 6}, {5.1, 6.1}, {5.05, 6}}, "not a number": {{2, 3}, {math.NaN(), 5}, {6, 7}},
		"zero": {{0, 3}, {3, 5}, {6, 7}}, "infinite": {{2, 3}, {3, math.Inf(1)}, {6, 7}}, "falls": {{2, 7}, {3, 5}, {6, 3}}, "another board": {{2, 3}, {3, 50}, {6, 170}},
	} {
		if c, err := Fit("pi5-pmic", bad, 0); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c, err := Fit("pi5-pmic", exact, math.NaN()); err == nil {
		t.Errorf("%+v", c)
	}
}

func TestCalibrationFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calibration.json")
	c, err := Fit("pi5-pmic", []Pair{{2, 3}, {4, 5.2}, {7, 8.4}}, 0.01)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		if err := c.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := LoadCalibration(path)
	if err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) - 1 { // without the last newline it is whole
		if c, err := ParseCalibration(whole[:n]); err == nil {
			t.Errorf("cut after %d bytes: %+v", n, c)
		}
	}
	text := string(whole)
	for _, bad := range []string{
		strings.Replace(text, `"version": 1`, `"version": 2`, 1), strings.Replace(text, `"slope": `, `"slope": -`, 1), strings.Replace(text, `"slope": `, `"slope": 1e999`, 1),
		strings.Replace(text, `"slope": `, `"slope": 1000`, 1), strings.Replace(text, `"pairs": 3`, `"pairs": -3`, 1), strings.Replace(text, `"sensor"`, `"censor"`, 1),
		strings.Replace(text, `"relative_error": `, `"relative_error": 9`, 1), strings.Replace(text, `"slope": `, `"slope": NaN, "x": `, 1), text + "{}", strings.Repeat(" ", maxCalibration+1),
	} {
		if bad == text {
			t.Fatal("nothing was replaced")
		}
		if c, err := ParseCalibration([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, c)
		}
	}
	if _, err := LoadCalibration(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := (Calibration{}).Save(path); err == nil {
		t.Error("saved what cannot be read")
	}
	if err := PublishedPi5.Validate(); err != nil {
		t.Error(err)
	}
}

func TestCalibrate(t *testing.T) {
	raw := &fixed{name: "pi5-pmic", watts: 6}
	s, err := Calibrate(raw, PublishedPi5)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(t.Context())
	if err != nil || math.Abs(got.Watts-(1.1451*6+0.5879)) > 1e-9 || got.Raw != 6 {
		t.Errorf("%+v, %v", got, err)
	}
	if i := s.Info(); i.Error != 0.1 || !strings.Contains(i.ErrorSource, "published") || i.Name != "pi5-pmic fitted to the wall" {
		t.Errorf("%+v", i)
	}
	if s.Close(); !raw.closed {
		t.Error("not closed")
	}
	raw.watts = -1
	if got, err := s.Read(t.Context()); err == nil {
		t.Errorf("%+v", got)
	}
	if _, err := Calibrate(&fixed{name: "ina226@0x40"}, PublishedPi5); err == nil || !strings.Contains(err.Error(), "pi5-pmic") {
		t.Error(err)
	}
	if _, err := Calibrate(raw, Calibration{}); err == nil {
		t.Error("calibrated with nothing")
	}
}

// The energy at the wall is the same whether the watts or the joules are carried over.
func TestCalibrateEnergy(t *testing.T) {
	raw := at(time.Now(), 100*time.Millisecond, 50, func(s float64) float64 { return 5 + math.Sin(9*s) })
	wall := slices.Clone(raw)
	for i := range wall {
		wall[i].Watts = PublishedPi5.Watts(wall[i].Watts)
	}
	e, err := Integrate(raw, time.Time{}, time.Time{}, tenth)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Integrate(wall, time.Time{}, time.Time{}, Info{Interval: tenth.Interval, Error: PublishedPi5.Error})
	if err != nil {
		t.Fatal(err)
	}
	got := PublishedPi5.Apply(*e)
	for _, v := range [][2]float64{{got.Joules, want.Joules}, {got.Watts, want.Watts}, {got.Random, want.Random}, {got.Uncertainty, want.Uncertainty}} {
		if math.Abs(v[0]-v[1]) > 1e-9 {
			t.Errorf("%+v, not %+v", got, want)
			break
		}
	}
}

func FuzzCalibration(f *testing.F) {
	f.Add([]byte(`{"version":1,"sensor":"pi5-pmic","slope":1.1451,"offset_watts":0.5879,"relative_error":0.1,"source":"x"}`))
	f.Add([]byte(`{"version":1,"sensor":"a","slope":1,"pairs":3,"low_watts":1,"high_watts":2,"source":"x"} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCalibration(b); err == nil {
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}
