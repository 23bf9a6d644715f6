package sensor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// battery reads what a battery gives: the power of the whole machine, while it runs on it.
type battery struct {
	name                       string
	files                      attrs
	status, power, amps, volts *attr
}

func (b *battery) Info() Info {
	return Info{
		Name: b.name, Quantities: Power | Supply, Interval: time.Second,
		Error: 0.05, ErrorSource: "assumed: fuel gauges give no accuracy", Includes: "the whole machine, while it runs on the battery alone",
	}
}

func (b *battery) Close() error { return b.files.Close() }

func (b *battery) Read(context.Context) (Sample, error) {
	start := time.Now()
	var s Sample
	watts, volts, err := b.read()
	if err == nil {
		err = s.power(watts)
	}
	if err != nil {
		return Sample{}, noReading(b.name, err)
	}
	s.Time = middle(start)
	if volts > 0 {
		s.Has |= Supply
		s.Volts = volts
	}
	return s, nil
}

func (b *battery) read() (watts, volts float64, err error) {
	status, err := b.status.line()
	if err != nil {
		return 0, 0, err
	}
	if string(status) != "Discharging" {
		return 0, 0, fmt.Errorf("the battery is not discharging (%s): pull the plug to measure with it", quoted(status))
	}
	if b.volts != nil {
		uv, err := b.volts.int(0, maxVolts*1e6)
		if err != nil {
			return 0, 0, err
		}
		volts = float64(uv) / 1e6
	}
	if b.power != nil {
		watts, err = magnitude(b.power, maxWatts*1e6)
		watts /= 1e6
	} else {
		var ua float64
		ua, err = magnitude(b.amps, 1e9)
		watts = volts * ua / 1e6
	}
	if err == nil && watts == 0 {
		err = errors.New("the battery gives 0 W while it discharges: its gauge does not measure")
	}
	return watts, volts, err
}

// magnitude reads a value of which some drivers write a discharge with a minus.
func magnitude(a *attr, limit int64) (float64, error) {
	v, err := a.int(-limit, limit)
	return float64(max(v, -v)), err
}

func findBattery(root fs.FS) []Found {
	const dir = "sys/class/power_supply"
	var found []Found
	for _, supply := range entries(root, dir, "") {
		name := "battery " + path.Base(supply)
		if kind, err := text(root, path.Join(supply, "type")); err != nil || kind != "Battery" {
			continue
		}
		if scope, err := text(root, path.Join(supply, "scope")); err == nil && scope == "Device" {
			found = append(found, Found{Name: name, Reason: "it is the battery of a mouse or another device"})
			continue
		}
		b := &battery{name: name}
		var err error
		b.status, err = b.files.open(root, path.Join(supply, "status"))
		if err == nil && exists(root, path.Join(supply, "voltage_now")) {
			b.volts, err = b.files.open(root, path.Join(supply, "voltage_now"))
		}
		switch {
		case err != nil:
		case exists(root, path.Join(supply, "power_now")):
			b.power, err = b.files.open(root, path.Join(supply, "power_now"))
		case b.volts == nil:
			err = errors.New("it has neither power_now nor voltage_now")
		default:
			b.amps, err = b.files.open(root, path.Join(supply, "current_now"))
		}
		if err != nil {
			b.Close()
			found = append(found, missing(name, err, ""))
			continue
		}
		found = append(found, Found{Name: name, Sensor: b})
	}
	if len(found) == 0 {
		return []Found{{Name: "battery", Reason: "no battery under /" + dir}}
	}
	return found
}
