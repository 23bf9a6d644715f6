package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bimamba/boards/sensor"
	"bimamba/edge/chat"
	"bimamba/edge/daemon/config"
)

// board is a tree of sensors' files that a test changes while a daemon reads them.
type board struct {
	t   testing.TB
	dir string
}

const (
	wattsFile   = "sys/class/hwmon/hwmon0/power1_input"
	celsiusFile = "sys/class/thermal/thermal_zone0/temp"
	alarmFile   = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"
)

// newBoard has a chip that measures 3 W, 50 °C, a clock of 1.5 GHz and an alarm that is off.
func newBoard(t testing.TB) *board {
	b := &board{t, t.TempDir()}
	for name, content := range map[string]string{
		"sys/class/hwmon/hwmon0/name": "ina226", wattsFile: "3000000", "sys/class/hwmon/hwmon1/name": "rpi_volt", alarmFile: "0",
		"sys/class/thermal/thermal_zone0/type": "cpu-thermal", celsiusFile: "50000",
		"sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000",
	} {
		b.set(name, content)
	}
	return b
}

// set writes a line to a file, in place as sysfs has it.
func (b *board) set(name, line string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	text := line + "\n"
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		b.t.Fatal(err)
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		b.t.Fatal(err)
	}
}

// startOn runs a daemon that reads a board's files.
func startOn(b *board, lines ...string) *tester {
	b.t.Helper()
	d := newTester(b.t)
	d.configure(lines...)
	d.run(Options{root: os.DirFS(b.dir)})
	return d
}

func (d *tester) status() (s status) {
	d.t.Helper()
	_, _, body := d.do("GET", "/status", "")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// speak asks for an answer of n tokens, by schema, and returns its energy: nil where the answer has none.
func (d *tester) speak(n int) (e *chat.Energy) {
	d.t.Helper()
	body, err := json.Marshal(map[string]any{
		"model": "default", "prompt": "lights", "max_tokens": n, "temperature": 0, "seed": 1,
		"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"schema": map[string]any{
			"type": "array", "minItems": 400, "items": map[string]any{"enum": []string{strings.Repeat("z", 11)}},
		}}},
		"messages": []any{map[string]any{"role": "user", "content": "lights"}},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	status, _, text := d.do("POST", "/v1/chat/completions", string(body))
	var r struct {
		Usage struct {
			Completion int          `json:"completion_tokens"`
			Energy     *chat.Energy `json:"energy"`
		} `json:"usage"`
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || status != 200 || r.Usage.Completion != n {
		d.t.Fatalf("%d, %v: %.300s", status, err, text)
	}
	return r.Usage.Energy
}

func TestEnergy(t *testing.T) {
	b := newBoard(t)
	d := startOn(b, "max_tokens_per_s = 20") // so that an answer takes its time
	eventually(t, "a reading", func() bool { e := d.status().Energy; return e != nil && e.Watts != nil && e.Celsius != nil })
	e := d.status().Energy
	if *e.Sensor != "hwmon ina226 power1" || *e.Watts != 3 || *e.Celsius != 50 || *e.Hertz != 1.5e9 || e.Idle != nil || e.PerToken != nil ||
		len(e.Throttled.Now)+len(e.Throttled.Ever) != 0 || e.Error <= 0 || !strings.Contains(e.Includes, "ina226") {
		t.Errorf("%+v", e)
	}

	if e := d.speak(3); e == nil || e.Joules != nil || e.AboveIdle != nil || !strings.HasPrefix(e.Reason, "too short: ") || e.Samples >= sensor.MinSamples {
		t.Errorf("a short answer: %+v", e)
	}
	start := time.Now()
	long := d.speak(41)
	took := time.Since(start).Seconds()
	if long == nil || long.Joules == nil || long.Reason != "" || long.Samples < sensor.MinSamples || long.Sensor != "hwmon ina226 power1" {
		t.Fatalf("a long answer: %+v", long)
	}
	if j := *long.Joules; j < 3*2*0.9 || j > 3*took*1.1 || *long.Uncertainty < 0.04*j || *long.Uncertainty > 0.2*j {
		t.Errorf("%v J ± %v at 3 W in %.2f s", j, *long.Uncertainty, took)
	}
	s := d.status()
	if got := *s.Energy.PerToken; math.Abs(got-*long.Joules/41) > 0.01 {
		t.Errorf("%v J a token of %v J for 41", got, *long.Joules)
	}
	if s.Governor == nil || s.Governor.MaxTokensPerS != 20 || s.Governor.MaxWatts != 0 {
		t.Errorf("%+v", s.Governor)
	}

	// Ollama's form.
	_, _, body := d.do("POST", "/api/generate", `{"model":"default","prompt":"turn on the light","stream":false,"options":{"num_predict":2}}`)
	var o struct{ Energy *chat.Energy }
	if err := json.Unmarshal([]byte(body), &o); err != nil || o.Energy == nil || o.Energy.Joules != nil || o.Energy.Reason == "" {
		t.Errorf("%v: %s", err, body)
	}

	b.set(alarmFile, "1")
	eventually(t, "the alarm", func() bool { return len(d.status().Energy.Throttled.Ever) == 1 })
	b.set(alarmFile, "0")
	time.Sleep(1500 * time.Millisecond)
	_, _, text := d.do("GET", "/metrics", "")
	m := parseMetrics(t, text)
	for series, want := range map[string]float64{
		"bimamba_watts": 3, "bimamba_temperature_celsius": 50, "bimamba_clock_hertz": 1.5e9, `bimamba_throttled{bit="under_voltage",when="ever"}`: 1,
		`bimamba_throttled{bit="under_voltage",when="now"}`: 0, `bimamba_sensor_failures_total{of="power"}`: 0, `bimamba_governor_limiting{by="watts"}`: 0,
		`bimamba_sensor_info{of="power",sensor="hwmon ina226 power1",includes="what chip ina226 is wired to"}`: 1,
	} {
		if got, ok := m[series]; !ok || got != want {
			t.Errorf("%s is %v, %t; not %v", series, got, ok, want)
		}
	}
	if j := m["bimamba_joules_total"]; j < 3*took || j > 3*m["bimamba_uptime_seconds"]*1.01 {
		t.Errorf("%v J in all", j)
	}
	if m["bimamba_governor_pause_seconds_total"] < 1 || m[`bimamba_sensor_readings_total{of="temperature"}`] < 2 {
		t.Error(text)
	}
}

// Requests beside one another share the joules.
func TestEnergyShared(t *testing.T) {
	d := startOn(newBoard(t), "max_tokens_per_s = 40")
	start := time.Now()
	results := make(chan *chat.Energy, 2)
	for range 2 {
		go func() { results <- d.speak(60) }()
	}
	sum := 0.0
	for range 2 {
		e := <-results
		if e == nil || e.Joules == nil {
			t.Fatalf("%+v", e)
		}
		sum += *e.Joules
	}
	if all := 3 * time.Since(start).Seconds(); sum > all*1.05 || sum < all*0.7 {
		t.Errorf("%.2f J together of %.2f", sum, all)
	}
}

func TestNoSensor(t *testing.T) {
	empty := &board{t, t.TempDir()}
	for _, lines := range [][]string{nil, {`sensor = "off"`}} {
		d := startOn(empty, lines...)
		if e := d.speak(20); e != nil {
			t.Errorf("%v: %+v", lines, e)
		}
		if s := d.status(); s.Energy != nil || s.Governor != nil {
			t.Errorf("%v: %+v, %+v", lines, s.Energy, s.Governor)
		}
		_, _, text := d.do("GET", "/metrics", "")
		for _, part := range []string{"joules", "watts", "celsius", "throttled", "sensor", "governor"} {
			if strings.Contains(text, part) {
				t.Errorf("%v: there are metrics of %s:\n%s", lines, part, text)
			}
		}
	}
}

// A sensor that fails stops nothing, is logged once, and is none while it fails.
func TestSensorFails(t *testing.T) {
	b := newBoard(t)
	d := startOn(b)
	eventually(t, "joules", func() bool { e := d.status().Energy; return e != nil && e.Joules != nil })
	b.set(wattsFile, "what")
	b.set(celsiusFile, "-99999999")
	eventually(t, "the log", func() bool { return strings.Contains(d.log.String(), "gives no reading") })
	d.lives()
	eventually(t, "no reading any more", func() bool {
		e := d.status().Energy
		return e.Watts == nil && e.Reason != "" && e.Celsius == nil && e.Hertz != nil
	})
	if n := strings.Count(d.log.String(), "gives no reading"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	_, _, text := d.do("GET", "/metrics", "")
	if m := parseMetrics(t, text); m[`bimamba_sensor_failures_total{of="power"}`] == 0 || strings.Contains(text, "bimamba_watts ") || strings.Contains(text, "celsius") {
		t.Error(text)
	}
	if !strings.Contains(text, "bimamba_joules_total") {
		t.Error("what was measured before is gone")
	}
	b.set(wattsFile, "4000000")
	eventually(t, "it is back", func() bool { e := d.status().Energy; return e.Watts != nil && *e.Watts == 4 })
}

// A limit that cannot be held is refused at the start and at a reload.
func TestLimitsNeedSensors(t *testing.T) {
	empty, whole := os.DirFS(t.TempDir()), newBoard(t)
	warm := newBoard(t)
	if err := os.RemoveAll(filepath.Join(warm.dir, "sys/class/hwmon")); err != nil {
		t.Fatal(err)
	}
	line := sensor.Calibration{Version: 1, Sensor: "pi5-pmic", Slope: 1.1, Source: "a test"}
	path := filepath.Join(t.TempDir(), "c.json")
	if err := line.Save(path); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		root fs.FS
		c    config.Config
		want string
	}{
		{empty, config.Config{Sensor: "auto", MaxWatts: 5}, "max_watts 5 needs a sensor of power: none of pi5-pmic, "},
		{empty, config.Config{Sensor: "auto", MaxTemp: 70}, "max_temp 70 needs a sensor of temperature: none of pi5-pmic, "},
		{os.DirFS(warm.dir), config.Config{Sensor: "auto", MaxTemp: 70, MaxWatts: 5}, "max_watts 5 needs"},
		{os.DirFS(warm.dir), config.Config{Sensor: "auto", MaxTemp: 70}, ""},
		{os.DirFS(whole.dir), config.Config{Sensor: "auto", MaxTemp: 70, MaxWatts: 5}, ""},
		{os.DirFS(whole.dir), config.Config{Sensor: "hwmon ina226 power1", MaxWatts: 5}, ""},
		{os.DirFS(whole.dir), config.Config{Sensor: "off", MaxWatts: 5}, "max_watts 5 needs a sensor of power: sensor is off"},
		{os.DirFS(whole.dir), config.Config{Sensor: "rapl"}, "sensor rapl: no intel-rapl package"},
		{os.DirFS(whole.dir), config.Config{Sensor: "cpu"}, "sensor cpu: cpu gives no power"},
		{os.DirFS(whole.dir), config.Config{Sensor: "wattmeter"}, `sensor wattmeter: there is no sensor "wattmeter"; there are auto, pi5-pmic, `},
		{os.DirFS(whole.dir), config.Config{Sensor: "ina219:x:0x40:0.1"}, `sensor ina219:x:0x40:0.1: "ina219:x:0x40:0.1": bus "x" is no number`},
		{os.DirFS(whole.dir), config.Config{Sensor: "ina219:255:0x40:0.1"}, "/dev/i2c-255 is not there"},
		{os.DirFS(whole.dir), config.Config{Sensor: "auto", Calibration: path}, "the calibration is for pi5-pmic, the sensor is hwmon ina226 power1"},
		{os.DirFS(whole.dir), config.Config{Sensor: "auto", Calibration: path + "x"}, "no such file"},
		{empty, config.Config{Sensor: "auto", Calibration: path}, ""},
	} {
		s, err := openSensors(&tt.c, tt.root, slog.New(slog.DiscardHandler))
		switch {
		case err == nil && tt.want == "":
			if err := s.close(); err != nil {
				t.Error(err)
			}
		case err == nil || tt.want == "" || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%+v: %v, not %q", tt.c, err, tt.want)
		}
	}

	d := startOn(warm)
	d.configure("max_watts = 4")
	if d.sighup() || !strings.Contains(d.log.String(), "max_watts 4 needs a sensor of power") {
		t.Error("a reload took a limit that cannot be held")
	}
	d.configure("max_temp = 60")
	if !d.sighup() || d.status().Governor == nil {
		t.Error("a reload did not take a limit that can be held")
	}
	d.lives()
}

// The governor slows requests down when the board is hot, and lets go when it is not; all else is answered meanwhile.
func TestGoverns(t *testing.T) {
	b := newBoard(t)
	b.set(celsiusFile, "90000")
	d := startOn(b, "max_temp = 60")
	res, _ := d.stream()
	limiting := func() bool {
		g := d.status().Governor
		return len(g.Limiting) == 1 && g.Limiting[0] == "temperature" && g.PauseRatio > 0.8
	}
	eventually(t, "it holds back", limiting)
	start := time.Now()
	if status, _, _ := d.do("GET", "/health", ""); status != 200 {
		t.Errorf("health: %d", status)
	}
	d.speak(1) // beside it
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("beside a request that is held back another took %v", took)
	}
	if got := d.metric(`bimamba_governor_limiting{by="temperature"}`); got != "1" {
		t.Errorf("limiting is %s", got)
	}
	b.set(celsiusFile, "40000")
	eventually(t, "it lets go", func() bool { return d.status().Governor.PauseRatio < 0.6 })
	res.Body.Close()
}

// Power is held on a board that takes 3 W at rest and 5 W more while it computes.
func TestHoldsPower(t *testing.T) {
	if testing.Short() {
		t.Skip("the control takes its seconds")
	}
	b := newBoard(t)
	d := startOn(b, "max_watts = 5")
	res, _ := d.stream()
	defer res.Body.Close()
	var near int // looks in a row at which the power was that of the limit
	eventually(t, "the power stays at the limit", func() bool {
		g := d.status().Governor
		watts := 3 + 5*(1-g.PauseRatio)
		b.set(wattsFile, fmt.Sprintf("%07.0f", watts*1e6)) // of one length, so that no reading finds half of it
		if near++; math.Abs(watts-5) > 0.4 || len(g.Limiting) != 1 || g.Limiting[0] != "watts" {
			near = 0
		}
		time.Sleep(50 * time.Millisecond)
		return near > 60
	})
	d.configure("max_watts = 20")
	if !d.sighup() {
		t.Fatal("the reload failed")
	}
	eventually(t, "it lets go", func() bool { return d.status().Governor.PauseRatio == 0 })
}

// constant is a sensor whose power a test sets.
type constant struct{ watts atomic.Int64 }

func (c *constant) Close() error { return nil }
func (c *constant) Info() sensor.Info {
	return sensor.Info{Name: "constant", Quantities: sensor.Power, Interval: 100 * time.Millisecond, Error: 0.01}
}

func (c *constant) Read(context.Context) (sensor.Sample, error) {
	return sensor.Sample{Time: time.Now(), Has: sensor.Power, Watts: float64(c.watts.Load())}, nil
}

// The power at idle is the lowest mean of half a minute without work; what answers take above it is known from then on.
func TestIdlePower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		power := &constant{}
		s := &sensors{log: slog.New(slog.DiscardHandler), power: sensor.Record(power, kept)}
		defer s.power.Stop()
		spend := func(watts int64, d time.Duration, work bool) {
			power.watts.Store(watts)
			for range d / time.Second {
				time.Sleep(time.Second)
				synctest.Wait()
				s.tick(work)
			}
		}
		want := func(when string, watts float64) {
			t.Helper()
			if idle, ok := s.idleWatts(); ok != (watts > 0) || math.Abs(idle.Watts-watts) > 0.02 {
				t.Errorf("%s: %+v, %t; not %v W", when, idle, ok, watts)
			}
		}
		answer := func() *chat.Energy {
			return s.answer(chat.Timing{Began: time.Now().Add(-10 * time.Second), Prefill: time.Second, Decode: 9 * time.Second, Share: 5 * time.Second}, 10)
		}
		spend(5, time.Minute, true)
		want("under load", 0)
		if e := answer(); e.AboveIdle != nil || math.Abs(*e.Joules-25) > 0.1 {
			t.Errorf("half of 10 s at 5 W: %v J, %v above idle", *e.Joules, e.AboveIdle)
		}
		spend(3, 20*time.Second, false)
		spend(5, 2*time.Second, true)
		want("after short breaks", 0)
		spend(3, 40*time.Second, false)
		want("after a break", 3)
		spend(2, 80*time.Second, false)
		want("after a quieter one", 2)
		spend(4, 5*time.Minute, false)
		want("after a louder one", 2)
		spend(5, time.Minute, true)
		if e := answer(); e.AboveIdle == nil || math.Abs(*e.AboveIdle-15) > 0.2 || math.Abs(*e.Joules-25) > 0.2 {
			t.Errorf("half of 10 s at 5 W, 2 W at idle: %+v", e)
		}
		if e := s.answer(chat.Timing{}, 10); e != nil {
			t.Errorf("of nothing: %+v", e)
		}
		if e := s.answer(chat.Timing{Began: time.Now().Add(-time.Hour), Decode: time.Hour, Share: time.Hour}, 10); e.Joules != nil || !strings.Contains(e.Reason, "samples cover only") {
			t.Errorf("of an hour, of which the samples are gone: %+v", e)
		}
		if j, ok := s.perToken(); !ok || math.Abs(j-2.5) > 0.02 {
			t.Errorf("%v J a token", j)
		}
	})
}
