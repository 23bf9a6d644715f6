package sensor

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

const hwmonDir = "sys/class/hwmon"

// gauge reads one power*_input of hwmon, in microwatts.
type gauge struct {
	name, includes string
	power          *attr
}

func (g *gauge) Info() Info {
	return Info{
		Name: g.name, Quantities: Power, Interval: 100 * time.Millisecond,
		Error: 0.05, ErrorSource: "assumed: the kernel does not tell the tolerance of the shunt", Includes: g.includes,
	}
}

func (g *gauge) Close() error { return g.power.Close() }

func (g *gauge) Read(context.Context) (Sample, error) {
	start := time.Now()
	uw, err := g.power.int(0, maxWatts*1e6)
	if err != nil {
		return Sample{}, noReading(g.name, err)
	}
	if uw == 0 {
		return Sample{}, fmt.Errorf("%s: no reading: it gives 0 W: the chip has lost its calibration (reload its driver), or nothing is behind it", g.name)
	}
	s := Sample{Time: middle(start)}
	err = s.power(float64(uw) / 1e6)
	return s, err
}

// tally reads one or more counters of energy, in microjoules.
type tally struct {
	info  Info
	files attrs
	raw   []uint64
	sum   counters
}

func (m *tally) Info() Info   { return m.info }
func (m *tally) Close() error { return m.files.Close() }

func (m *tally) Read(context.Context) (Sample, error) {
	start := time.Now()
	for i, a := range m.files {
		v, err := a.int(0, 1<<63-1)
		if err == nil && m.sum.of[i].wrap != 0 && uint64(v) > m.sum.of[i].wrap {
			err = fmt.Errorf("/%s: %d is beyond the counter's range of %d", a.path, v, m.sum.of[i].wrap)
		}
		if err != nil {
			return Sample{}, noReading(m.info.Name, err)
		}
		m.raw[i] = uint64(v)
	}
	return m.sum.sample(m.raw, middle(start)), nil
}

// findHwmon finds every power*_input, or power*_average where there is none, and every energy*_input.
// Each is a sensor of its own: what they measure may overlap. Jetson's INA3221 is not among them: see findJetson.
func findHwmon(root fs.FS) []Found {
	var found []Found
	seen := map[string]int{}
	for _, dir := range entries(root, hwmonDir, "hwmon") {
		chip, err := text(root, path.Join(dir, "name"))
		if err != nil || chip == "ina3221" {
			continue
		}
		for _, kind := range []string{"power", "energy"} {
			for _, file := range entries(root, dir, kind) {
				channel, isInput := strings.CutSuffix(path.Base(file), "_input")
				if !isInput {
					var isAverage bool
					if channel, isAverage = strings.CutSuffix(channel, "_average"); !isAverage || exists(root, path.Join(dir, channel+"_input")) {
						continue
					}
				}
				name := "hwmon " + chip + " " + channel
				if seen[name]++; seen[name] > 1 {
					name += " #" + strconv.Itoa(seen[name])
				}
				label, _ := text(root, path.Join(dir, channel+"_label")) // most chips have none
				found = append(found, openHwmon(root, file, name, kind, chip, label))
			}
		}
	}
	if len(found) == 0 {
		return []Found{{Name: "hwmon", Reason: "no chip under /" + hwmonDir + " measures power or energy"}}
	}
	return found
}

func openHwmon(root fs.FS, file, name, kind, chip, label string) Found {
	a, err := openAttr(root, file)
	if err != nil {
		return missing(name, err, "sudo chmod o+r /"+file)
	}
	includes := "what chip " + chip + " is wired to"
	if label != "" {
		includes += ": " + label
	}
	if kind == "power" {
		return Found{Name: name, Sensor: &gauge{name: name, includes: includes, power: a}}
	}
	return Found{Name: name, Sensor: &tally{
		info: Info{
			Name: name, Quantities: Counter | Power, Interval: 100 * time.Millisecond, MaxGap: 10 * time.Minute,
			Error: 0.05, ErrorSource: "assumed: the kernel does not tell the chip's tolerance", Includes: includes,
		},
		files: attrs{a}, raw: make([]uint64, 1), sum: counters{of: []counter{{unit: 1e-6}}},
	}}
}
