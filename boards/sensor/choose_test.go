package sensor

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// closes counts how many of a tree's files are open.
type closes struct {
	fs.FS
	open *int
}

type closing struct {
	fs.File
	open *int
}

func (c closing) Close() error { *c.open--; return c.File.Close() }

func (c closes) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if _, isDir := f.(fs.ReadDirFile); err != nil || isDir {
		return f, err
	}
	*c.open++
	return closing{f, c.open}, nil
}

func TestChoose(t *testing.T) {
	mailbox := Options{Mailbox: func() (Mailbox, error) { return pi5(t), nil }}
	for _, tt := range []struct {
		root              fs.FS
		name, power, heat string
		err               string // of Choose; with "", Reason of a power that is not there
	}{
		{fixture(t, "pi4-ina226.txt"), Auto, "hwmon ina226 power1", "cpu", ""},
		{fixture(t, "laptop.txt"), Auto, "battery BAT0", "", ""},
		{fixture(t, "laptop.txt"), "rapl", "rapl", "", ""},
		{raspberry, Auto, "pi5-pmic", "pi-firmware", ""},
		{fstest.MapFS{}, Auto, "", "", "none of pi5-pmic, jetson-ina3221, battery, rapl, hwmon can be read"},
		{deny{fixture(t, "pi4-ina226.txt"), "sys/class/hwmon/hwmon2/power1_input"}, Auto, "", "cpu", "permission denied"},
		{fixture(t, "pi4-ina226.txt"), "cpu", "", "", "cpu gives no power"},
		{fixture(t, "laptop.txt"), "pi5-pmic", "", "", "this is no Raspberry Pi"},
		{fixture(t, "laptop.txt"), "Rapl", "", "", `there is no sensor "Rapl"; there are auto, pi5-pmic, `},
		{fixture(t, "laptop.txt"), "", "", "", `there is no sensor ""`},
		{fixture(t, "laptop.txt"), "ina219:1:0x40", "", "", "is not like ina219:1:0x40:0.1"},
		{fixture(t, "laptop.txt"), "ina219:255:0x40:0.1", "", "", "/dev/i2c-255 is not there"},
	} {
		open := 0
		power, heat, err := Choose(closes{tt.root, &open}, tt.name, mailbox)
		named := tt.power == "" && (tt.name != Auto)
		switch {
		case named && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: %+v, %v; not %q", tt.name, power, err, tt.err)
		case !named && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case power.Name != tt.power && power.Sensor != nil || (power.Sensor == nil) != (tt.power == "") || heat.Name != tt.heat || (heat.Sensor == nil) != (tt.heat == ""):
			t.Errorf("%s: %+v and %+v", tt.name, power, heat)
		case !named && tt.power == "" && !strings.Contains(power.Reason, tt.err):
			t.Errorf("%s: %+v", tt.name, power)
		}
		for _, f := range []Found{power, heat} {
			if f.Sensor != nil {
				err = errors.Join(err, f.Sensor.Close())
			}
		}
		if open != 0 {
			t.Errorf("%s: %d files stay open", tt.name, open)
		}
	}
}

func TestParseINA(t *testing.T) {
	for s, want := range map[string]struct {
		bus int
		c   INA
	}{
		"ina219:1:0x40:0.1":   {1, INA{Chip: "ina219", Addr: 0x40, ShuntOhms: 0.1}},
		"ina226:10:65:.01":    {10, INA{Chip: "ina226", Addr: 65, ShuntOhms: 0.01}},
		"ina260:0:0x4f":       {0, INA{Chip: "ina260", Addr: 0x4f}},
		"ina226:1:0x40:99999": {1, INA{Chip: "ina226", Addr: 0x40, ShuntOhms: 99999}}, // OpenINA refuses it
	} {
		if bus, c, err := ParseINA(s); err != nil || bus != want.bus || c != want.c {
			t.Errorf("%s: %d, %+v, %v", s, bus, c, err)
		}
	}
	for _, s := range []string{
		"", "ina219", "ina219:1:0x40", "ina260:1:0x40:0.1", "ina999:1:0x40:0.1", "ina219:x:0x40:0.1", "ina219:-1:0x40:0.1", "ina219:256:0x40:0.1",
		"ina219:1:0xfffff:0.1", "ina219:1::0.1", "ina219:1:0x40:NaN", "ina219:1:0x40:-1", "ina219:1:0x40:1e3", "ina219:1:0x40:", "ina219:1:0x40:0.1:",
	} {
		if bus, c, err := ParseINA(s); err == nil {
			t.Errorf("%s: %d, %+v", s, bus, c)
		}
	}
}

func FuzzParseINA(f *testing.F) {
	for _, s := range []string{"ina219:1:0x40:0.1", "ina260:1:0x40", "ina226:255:0b1000000:.", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bus, c, err := ParseINA(s)
		if _, known := inaChips[c.Chip]; err == nil && (bus < 0 || bus > 255 || !known || !(c.ShuntOhms >= 0 && c.ShuntOhms < 1e31)) {
			t.Errorf("%q: %d, %+v", s, bus, c)
		}
	})
}
