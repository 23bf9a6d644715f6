package sensor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// fixture reads "path = value" lines of testdata into a tree where each file ends with a newline, as those of sysfs do.
func fixture(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if i == 0 {
			if !strings.HasPrefix(line, "# synthesised from ") && !strings.HasPrefix(line, "# captured in ") {
				t.Fatalf("%s does not say where it comes from", name)
			}
			continue
		}
		path, value, ok := strings.Cut(line, " = ")
		if !ok {
			t.Fatalf("%s: %q", name, line)
		}
		tree[path] = &fstest.MapFile{Data: []byte(value + "\n")}
	}
	return tree
}

// with is the tree with another content of one file.
func with(tree fstest.MapFS, path, content string) fstest.MapFS {
	tree = maps.Clone(tree)
	tree[path] = &fstest.MapFile{Data: []byte(content)}
	return tree
}

// readAll takes a sample of every sensor that Find gives.
func readAll(t testing.TB, root fs.FS, opt Options) (map[string]Sample, []Found) {
	t.Helper()
	samples := map[string]Sample{}
	found := Find(root, opt)
	for _, f := range found {
		if f.Name == "" {
			t.Fatalf("%+v has no name", f)
		}
		if f.Sensor == nil {
			if f.Reason == "" {
				t.Fatalf("%s: no sensor and no reason", f.Name)
			}
			continue
		}
		i := f.Sensor.Info()
		if i.Interval <= 0 || i.Quantities&(Power|Counter) != 0 && (i.Error <= 0 || i.ErrorSource == "" || i.Includes == "") {
			t.Errorf("%s does not say what it is: %+v", f.Name, i)
		}
		s, err := f.Sensor.Read(t.Context())
		if err == nil {
			check(t, f.Name, s)
			samples[f.Name] = s
		}
		if err := f.Sensor.Close(); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	return samples, found
}

// check fails for a sample that no board can give.
func check(t testing.TB, name string, s Sample) {
	t.Helper()
	within := func(q Quantity, v, low, high float64) {
		if s.Has&q != 0 && !(v >= low && v <= high) {
			t.Errorf("%s: %v has %g", name, s, v)
		}
	}
	within(Power, s.Watts, 0, maxWatts)
	within(Counter, s.Joules, 0, math.MaxFloat64)
	within(Supply, s.Volts, 0, maxVolts)
	within(Heat, s.Celsius, minCelsius, maxCelsius)
	within(Clock, s.Hertz, 1, maxHertz)
	if s.Has == 0 || s.Time.IsZero() || s.Throttled&^throttledMask != 0 {
		t.Errorf("%s: %+v holds nothing, has no time or unknown bits", name, s)
	}
}

// same compares what does not depend on the time.
func same(a, b Sample) bool {
	if a.Has&Counter != 0 {
		a.Watts, a.Raw, b.Watts, b.Raw = 0, 0, 0, 0
		a.Has, b.Has = a.Has&^Power, b.Has&^Power
	}
	a.Time, b.Time = time.Time{}, time.Time{}
	return a == b
}

var trees = []string{"jetson-orin-nano.txt", "jetson-agx.txt", "jetson-nano-jetpack4.txt", "pi4-ina226.txt", "laptop.txt", "qemu-raspi3b.txt"}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		file, name string
		has        Quantity
		want       Sample
		includes   string
	}{
		{"jetson-orin-nano.txt", "jetson-ina3221", Power | Supply, Sample{Watts: 4.952 * 1.48, Volts: 4.952}, "VDD_IN"},
		{"jetson-agx.txt", "jetson-ina3221", Power, Sample{Watts: 19*.2 + 19*.05 + 5*.6 + 5*.1}, "the sum of VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO"},
		{"jetson-nano-jetpack4.txt", "jetson-ina3221", Power | Supply, Sample{Watts: 2.633, Volts: 5.064}, "POM_5V_IN"},
		{"pi4-ina226.txt", "hwmon ina226 power1", Power, Sample{Watts: 3.1}, "ina226"},
		{"pi4-ina226.txt", "cpu", Heat | Clock | Throttle, Sample{Celsius: 42.842, Hertz: 1.5e9, Throttled: UnderVoltage | UnderVoltage<<16}, ""},
		{"qemu-raspi3b.txt", "cpu", Heat, Sample{Celsius: 25.178}, ""},
		{"laptop.txt", "rapl", Counter | Power, Sample{}, "package-0, dram"},
		{"laptop.txt", "battery BAT0", Power | Supply, Sample{Watts: 11.8 * .7, Volts: 11.8}, "whole machine"},
		{"laptop.txt", "hwmon ltc4282 energy1", Counter | Power, Sample{}, "ltc4282"},
	} {
		t.Run(c.file+" "+c.name, func(t *testing.T) {
			samples, found := readAll(t, fixture(t, c.file), Options{})
			s, ok := samples[c.name]
			if !ok {
				t.Fatalf("no reading: %+v", found)
			}
			near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
			if s.Has != c.has || !near(s.Watts, c.want.Watts) || !near(s.Volts, c.want.Volts) || s.Celsius != c.want.Celsius || s.Hertz != c.want.Hertz || s.Throttled != c.want.Throttled {
				t.Errorf("read %+v, not %+v", s, c.want)
			}
			i := slices.IndexFunc(found, func(f Found) bool { return f.Name == c.name })
			if got := found[i].Sensor.Info().Includes; !strings.Contains(got, c.includes) {
				t.Errorf("includes %q, not %q", got, c.includes)
			}
		})
	}
}

// Every kind is named on a machine that has none, with a reason.
func TestFindNothing(t *testing.T) {
	samples, found := readAll(t, fstest.MapFS{}, Options{})
	var names []string
	for _, f := range found {
		names = append(names, f.Name)
	}
	if want := []string{"pi5-pmic", "jetson-ina3221", "battery", "rapl", "hwmon", "pi-firmware", "cpu"}; len(samples) != 0 || !slices.Equal(names, want) {
		t.Errorf("found %v in %v", samples, names)
	}
}

// A file that ends early must not give another value.
func TestFilesTruncated(t *testing.T) {
	for _, name := range trees {
		tree := fixture(t, name)
		whole, _ := readAll(t, tree, Options{})
		for path, f := range tree {
			for n := range len(f.Data) {
				part, _ := readAll(t, with(tree, path, string(f.Data[:n])), Options{})
				for sensor, s := range part {
					if strings.HasSuffix(path, "/scope") && sensor == "battery mouse" {
						continue
					}
					if strings.HasPrefix(sensor, "cpu") && s.Has != whole[sensor].Has {
						continue // one of its files is left out, which Has says
					}
					if !same(s, whole[sensor]) {
						t.Errorf("%s with %s cut after %d bytes: %s reads %+v, not %+v", name, path, n, sensor, s, whole[sensor])
					}
				}
			}
		}
	}
}

func TestFilesHostile(t *testing.T) {
	hostile := []string{
		"NaN\n", "inf\n", "-inf\n", "1e999\n", "1e3\n", "0x10\n", "99999999999999999999\n", "9223372036854775807\n", "-9223372036854775808\n", "-5000000\n", "+5\n", "1_000\n",
		"\n", " 12\n", "12 \n", "12\n13\n", "12\x00\n", "1.5\n", "<nil>\n", "\xff\xfe\n", strings.Repeat("9", 4096) + "\n", strings.Repeat("1\n", 100),
	}
	for _, name := range trees {
		tree := fixture(t, name)
		whole, _ := readAll(t, tree, Options{})
		for path := range tree {
			base := filepath.Base(path)
			if base == "name" || base == "type" || base == "status" || base == "scope" || strings.Contains(base, "label") || strings.Contains(base, "rail_name") {
				continue
			}
			for _, bad := range hostile {
				if strings.HasSuffix(base, "energy_uj") && strings.HasPrefix(bad, "9223") || strings.HasPrefix(base, "energy1") && bad == "9223372036854775807\n" {
					continue // a counter may be anywhere within its range
				}
				part, _ := readAll(t, with(tree, path, bad), Options{})
				for sensor, s := range part {
					if !same(s, whole[sensor]) && s.Has == whole[sensor].Has {
						if sensor == "battery BAT0" && bad == "-5000000\n" {
							continue // 5 A of discharge
						}
						t.Errorf("%s with %s = %q: %s reads %+v", name, path, bad, sensor, s)
					}
				}
			}
		}
	}
}

// Chips of the same name are told apart, and processors without thermal zones have their temperature under hwmon.
func TestFindHwmon(t *testing.T) {
	tree := fixture(t, "pi4-ina226.txt")
	for path, content := range map[string]string{
		"sys/class/hwmon/hwmon3/name": "ina226\n", "sys/class/hwmon/hwmon3/power1_input": "2000000\n", "sys/class/hwmon/hwmon3/power1_label": "5V input\n",
		"sys/class/hwmon/hwmon4/name": "amdgpu\n", "sys/class/hwmon/hwmon4/power1_average": "7000000\n",
		"sys/class/hwmon/hwmon5/name": "coretemp\n", "sys/class/hwmon/hwmon5/temp1_input": "51000\n", "sys/class/hwmon/hwmon5/temp3_input": "53000\n",
	} {
		tree = with(tree, path, content)
	}
	delete(tree, "sys/class/thermal/thermal_zone0/type")
	delete(tree, "sys/class/thermal/thermal_zone0/temp")
	samples, found := readAll(t, tree, Options{})
	for name, watts := range map[string]float64{"hwmon ina226 power1": 3.1, "hwmon ina226 power1 #2": 2, "hwmon amdgpu power1": 7} {
		if s := samples[name]; s.Watts != watts {
			t.Errorf("%s: %+v in %+v", name, s, found)
		}
	}
	if s := samples["cpu"]; s.Celsius != 53 {
		t.Errorf("%+v", s)
	}
	i := slices.IndexFunc(found, func(f Found) bool { return f.Name == "hwmon ina226 power1 #2" })
	if got := found[i].Sensor.Info().Includes; !strings.Contains(got, "5V input") {
		t.Errorf("includes %q", got)
	}
}

// plain hides the ReadAt of a tree's files.
type plain struct{ fs.FS }

func (p plain) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if _, isDir := f.(fs.ReadDirFile); err != nil || isDir {
		return f, err
	}
	return struct{ fs.File }{f}, nil
}

func TestFilesWithoutReadAt(t *testing.T) {
	tree := fixture(t, "jetson-agx.txt")
	want, _ := readAll(t, tree, Options{})
	got, _ := readAll(t, plain{tree}, Options{})
	if len(got) != 1 || !same(got["jetson-ina3221"], want["jetson-ina3221"]) {
		t.Errorf("%+v, not %+v", got, want)
	}
}

// 0 W of a board that runs is no reading.
func TestFilesZero(t *testing.T) {
	for _, c := range []struct{ file, path, sensor string }{
		{"pi4-ina226.txt", "sys/class/hwmon/hwmon2/power1_input", "hwmon ina226 power1"},
		{"jetson-orin-nano.txt", "sys/class/hwmon/hwmon3/curr1_input", "jetson-ina3221"},
		{"jetson-nano-jetpack4.txt", "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input", "jetson-ina3221"},
		{"laptop.txt", "sys/class/power_supply/BAT0/current_now", "battery BAT0"},
	} {
		samples, found := readAll(t, with(fixture(t, c.file), c.path, "0\n"), Options{})
		if s, ok := samples[c.sensor]; ok {
			t.Errorf("%s: read %+v", c.sensor, s)
		}
		i := slices.IndexFunc(found, func(f Found) bool { return f.Name == c.sensor })
		if i < 0 || !strings.Contains(found[i].Reason, "no reading") {
			t.Errorf("%s: %+v", c.sensor, found)
		}
	}
	samples, _ := readAll(t, with(fixture(t, "laptop.txt"), "sys/class/power_supply/BAT0/status", "Charging\n"), Options{})
	if s, ok := samples["battery BAT0"]; ok {
		t.Errorf("a battery that is charged gives %+v", s)
	}
}

// deny is a tree in which one file may not be opened.
type deny struct {
	fstest.MapFS
	path string
}

func (d deny) Open(name string) (fs.File, error) {
	if name == d.path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.MapFS.Open(name)
}

func TestPermission(t *testing.T) {
	for _, c := range []struct{ file, path, sensor, mend string }{
		{"laptop.txt", "sys/class/powercap/intel-rapl:0/energy_uj", "rapl", "sudo chmod o+r /sys/class/powercap/intel-rapl:*/energy_uj"},
		{"pi4-ina226.txt", "sys/class/hwmon/hwmon2/power1_input", "hwmon ina226 power1", "sudo chmod o+r /sys/class/hwmon/hwmon2/power1_input"},
	} {
		_, found := readAll(t, deny{fixture(t, c.file), c.path}, Options{})
		i := slices.IndexFunc(found, func(f Found) bool { return f.Name == c.sensor })
		if i < 0 || found[i].Sensor != nil || found[i].Mend != c.mend || !strings.Contains(found[i].Reason, "/"+c.path) {
			t.Errorf("%s: %+v", c.sensor, found)
		}
	}
	root := fstest.MapFS{"dev/vcio": &fstest.MapFile{}}
	denied := func() (Mailbox, error) {
		return nil, &fs.PathError{Op: "open", Path: "/dev/vcio", Err: fs.ErrPermission}
	}
	_, found := readAll(t, root, Options{Mailbox: denied})
	if f := found[0]; f.Name != "pi5-pmic" || !strings.HasPrefix(f.Mend, "sudo usermod -aG video") {
		t.Errorf("%+v", f)
	}
}

// RAPL's counter wraps at its own range, not at a power of two.
func TestRAPLWrap(t *testing.T) {
	dir := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for path, f := range fixture(t, "laptop.txt") {
		write(path, string(f.Data))
	}
	f := findRAPL(os.DirFS(dir))
	if f.Sensor == nil {
		t.Fatal(f.Reason)
	}
	defer f.Sensor.Close()
	if s, err := f.Sensor.Read(t.Context()); err != nil || s.Has != Counter|Restart || s.Joules != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	time.Sleep(5 * time.Millisecond)
	write("sys/class/powercap/intel-rapl:0/energy_uj", "671150\n") // 1 J after the wrap
	write("sys/class/powercap/intel-rapl:0:2/energy_uj", "1500000\n")
	s, err := f.Sensor.Read(t.Context())
	if err != nil || s.Has != Counter|Power || math.Abs(s.Joules-1.5) > 1e-9 || s.Watts <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
	write("sys/class/powercap/intel-rapl:0/energy_uj", "262143328851\n")
	if s, err := f.Sensor.Read(t.Context()); err == nil {
		t.Errorf("beyond its range: %+v", s)
	}
}

// The files are open: reading takes no memory.
func TestFilesAllocate(t *testing.T) {
	dir := t.TempDir()
	for path, f := range fixture(t, "jetson-orin-nano.txt") {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, f.Data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	f := findJetson(os.DirFS(dir))
	if f.Sensor == nil {
		t.Fatal(f.Reason)
	}
	defer f.Sensor.Close()
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := f.Sensor.Read(ctx); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a reading", n)
	}
}

func FuzzFiles(f *testing.F) {
	for i := range trees {
		for j := range 8 {
			f.Add(uint8(i), uint8(j), []byte("4242\n"))
		}
		f.Add(uint8(i), uint8(i), []byte("NC\n"))
		f.Add(uint8(i), uint8(3), bytes.Repeat([]byte("9"), 200))
	}
	f.Fuzz(func(t *testing.T, tree, file uint8, content []byte) {
		root := fixture(t, trees[int(tree)%len(trees)])
		paths := slices.Sorted(maps.Keys(root))
		readAll(t, with(root, paths[int(file)%len(paths)], string(content)), Options{})
	})
}

func ExampleFind() {
	for _, f := range Find(os.DirFS("testdata"), Options{}) { // no root of a file system: nothing is there
		if f.Sensor != nil {
			fmt.Println(f.Sensor.Info())
			f.Sensor.Close()
		} else if f.Name == "cpu" {
			fmt.Println(f.Name+":", f.Reason)
		}
	}
	// Output: cpu: no thermal zone and no cpufreq: a virtual machine has none
}

// The kernel's alarm is of the last two seconds: it is now, and then since boot.
func TestUnderVoltage(t *testing.T) {
	tree := fixture(t, "pi4-ina226.txt")
	const alarm = "sys/class/hwmon/hwmon1/in0_lcrit_alarm"
	tree[alarm] = &fstest.MapFile{Data: []byte("0\n")}
	f := findCPU(tree)
	if f.Sensor == nil {
		t.Fatal(f.Reason)
	}
	defer f.Sensor.Close()
	for i, c := range []struct {
		alarm       string
		now, before Throttled
	}{{"0\n", 0, 0}, {"1\n", UnderVoltage, UnderVoltage}, {"1\n", UnderVoltage, UnderVoltage}, {"0\n", 0, UnderVoltage}} {
		tree[alarm].Data = []byte(c.alarm)
		s, err := f.Sensor.Read(t.Context())
		if err != nil || s.Throttled.Now() != c.now || s.Throttled.Before() != c.before {
			t.Errorf("reading %d: %v, %v", i, s.Throttled, err)
		}
	}
}

// A named pipe where a file of the kernel should be is not waited for.
func TestPipes(t *testing.T) {
	dir := t.TempDir()
	for name := range fixture(t, "pi4-ina226.txt") {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), unix.Mkfifo(path, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan []Found, 1)
	go func() { ended <- Find(os.DirFS(dir), Options{}) }()
	select {
	case found := <-ended:
		for _, f := range found {
			if f.Sensor != nil {
				t.Errorf("%s is found", f.Name)
			}
			if f.Name == "cpu" && f.Reason != "open /sys/class/thermal/thermal_zone0/temp: it is a named pipe, not a file" {
				t.Errorf("%s: %s", f.Name, f.Reason)
			}
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for a pipe")
	}
}
