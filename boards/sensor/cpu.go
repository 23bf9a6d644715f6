package sensor

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// cpu reads the kernel's own temperatures and clocks, which every board has in some form.
type cpu struct {
	files attrs
	heat  []*attr // m°C
	clock []*attr // kHz
	alarm *attr   // of the Raspberry Pi's rpi_volt: 1 if the supply was too low in the last 2 s (drivers/hwmon/raspberrypi-hwmon.c)
	low   bool    // the alarm was on once
	has   Quantity
}

func (c *cpu) Info() Info {
	return Info{Name: cpuName, Quantities: c.has, Interval: time.Second}
}

func (c *cpu) Close() error { return c.files.Close() }

// Read leaves out what cannot be read now: zones of parts that sleep give errors.
func (c *cpu) Read(context.Context) (Sample, error) {
	s := Sample{Time: time.Now()}
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	for _, a := range c.heat {
		v, err := a.int(minCelsius*1000, maxCelsius*1000)
		if err != nil {
			keep(err)
		} else if t := float64(v) / 1000; s.Has&Heat == 0 || t > s.Celsius {
			s.Has |= Heat
			s.Celsius = t
		}
	}
	for _, a := range c.clock {
		v, err := a.int(1, maxHertz/1000)
		if err != nil {
			keep(err)
		} else {
			s.Has |= Clock
			s.Hertz = max(s.Hertz, float64(v)*1000)
		}
	}
	if c.alarm != nil {
		v, err := c.alarm.int(0, 1)
		if err != nil {
			keep(err)
		} else {
			s.Has |= Throttle
			s.Throttled = Throttled(v) * UnderVoltage
			if c.low = c.low || v != 0; c.low {
				s.Throttled |= UnderVoltage << 16
			}
		}
	}
	if s.Has == 0 {
		return Sample{}, noReading(cpuName, first)
	}
	return s, nil
}

// findCPU takes the thermal zones that are named for the processor, else the first; without zones the chips under hwmon that are.
func findCPU(root fs.FS) Found {
	const name = cpuName
	c := &cpu{}
	var first error
	open := func(file string, to *[]*attr) {
		a, err := c.files.open(root, file)
		if err == nil {
			*to = append(*to, a)
		} else if first == nil {
			first = err
		}
	}
	zones := entries(root, "sys/class/thermal", "thermal_zone")
	for _, zone := range zones {
		kind, _ := text(root, path.Join(zone, "type"))
		if kind = strings.ToLower(kind); strings.Contains(kind, "cpu") || strings.Contains(kind, "soc") || strings.Contains(kind, "pkg") {
			open(path.Join(zone, "temp"), &c.heat)
		}
	}
	if len(c.heat) == 0 && len(zones) > 0 {
		open(path.Join(zones[0], "temp"), &c.heat)
	}
	for _, dir := range entries(root, hwmonDir, "hwmon") {
		chip, _ := text(root, path.Join(dir, "name"))
		if len(zones) == 0 && slices.Contains([]string{"cpu_thermal", "coretemp", "k10temp"}, chip) {
			for _, file := range entries(root, dir, "temp") {
				if strings.HasSuffix(file, "_input") {
					open(file, &c.heat)
				}
			}
		}
		if chip == "rpi_volt" && c.alarm == nil {
			var alarm []*attr
			if open(path.Join(dir, "in0_lcrit_alarm"), &alarm); len(alarm) > 0 {
				c.alarm = alarm[0]
			}
		}
	}
	for _, policy := range entries(root, "sys/devices/system/cpu/cpufreq", "policy") {
		open(path.Join(policy, "scaling_cur_freq"), &c.clock)
	}
	if len(c.heat) > 0 {
		c.has |= Heat
	}
	if len(c.clock) > 0 {
		c.has |= Clock
	}
	if c.alarm != nil {
		c.has |= Throttle
	}
	if c.has == 0 {
		if first == nil {
			first = errors.New("no thermal zone and no cpufreq: a virtual machine has none")
		}
		return missing(name, first, "")
	}
	return Found{Name: name, Sensor: c}
}
