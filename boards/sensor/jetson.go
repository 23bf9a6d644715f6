package sensor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// jetsonRail is a channel of an INA3221: volts and amperes (hwmon), or watts (JetPack 4).
type jetsonRail struct {
	label               string
	volts, amps, milliW *attr
}

// jetson sums up channels of one or two INA3221.
type jetson struct {
	rails    []jetsonRail
	total    bool // the only rail is the module's input
	files    attrs
	includes string
}

func (j *jetson) Info() Info {
	return Info{
		Name: "jetson-ina3221", Quantities: Power | Supply, Interval: 100 * time.Millisecond,
		Error: 0.05, ErrorSource: "assumed: NVIDIA publishes no tolerance of the shunts", Includes: j.includes,
	}
}

func (j *jetson) Close() error { return j.files.Close() }

func (j *jetson) Read(context.Context) (Sample, error) {
	start := time.Now()
	var s Sample
	watts := 0.0
	for i := range j.rails {
		w, v, err := j.rails[i].read()
		if err != nil {
			return Sample{}, noReading("jetson-ina3221", fmt.Errorf("%s: %w", j.rails[i].label, err))
		}
		watts += w
		if j.total && v > 0 {
			s.Has |= Supply
			s.Volts = v
		}
	}
	if watts == 0 {
		return Sample{}, errors.New("jetson-ina3221: no reading: all rails are 0")
	}
	s.Time = middle(start)
	if err := s.power(watts); err != nil {
		return Sample{}, noReading("jetson-ina3221", err)
	}
	return s, nil
}

func (r *jetsonRail) read() (watts, volts float64, err error) {
	if r.volts != nil {
		mv, err := r.volts.int(0, maxVolts*1000)
		if err != nil {
			return 0, 0, err
		}
		volts = float64(mv) / 1000
	}
	if r.milliW != nil {
		mw, err := r.milliW.int(0, maxWatts*1000)
		return float64(mw) / 1000, volts, err
	}
	ma, err := r.amps.int(0, 1e6)
	return volts * float64(ma) / 1000, volts, err
}

// findJetson finds the INA3221 that NVIDIA solders on: under hwmon, or in JetPack 4 under iio. It needs the rails' labels: without them nobody knows
// which rail is the input of the others.
func findJetson(root fs.FS) Found {
	const name = "jetson-ina3221"
	j := &jetson{}
	err := j.hwmon(root)
	if err == nil && len(j.rails) == 0 {
		err = j.iio(root)
	}
	if err != nil {
		j.Close()
		return missing(name, err, "")
	}
	if len(j.rails) == 0 {
		return Found{Name: name, Reason: "no INA3221 with labelled channels under /" + hwmonDir + " or /" + iioDir}
	}
	for _, r := range j.rails {
		if r.label == "VDD_IN" || r.label == "POM_5V_IN" {
			j.rails, j.total = []jetsonRail{r}, true
			j.includes = "the whole module (" + r.label + "); without its carrier board"
			return Found{Name: name, Sensor: j}
		}
	}
	var labels []string
	for _, r := range j.rails {
		labels = append(labels, r.label)
	}
	j.includes = "the sum of " + strings.Join(labels, ", ") + "; without other rails and the carrier board"
	return Found{Name: name, Sensor: j}
}

// hwmon: channels 1 to 3 are rails; 4 to 6 are voltages of shunts, 7 their sum (Documentation/hwmon/ina3221.rst).
func (j *jetson) hwmon(root fs.FS) error {
	for _, dir := range entries(root, hwmonDir, "hwmon") {
		chip, err := text(root, path.Join(dir, "name"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it could be the second INA3221, without which the sum is wrong
			return err
		}
		if chip != "ina3221" {
			continue
		}
		for n := 1; n <= 3; n++ {
			in, curr := path.Join(dir, "in"+strconv.Itoa(n)), path.Join(dir, "curr"+strconv.Itoa(n))
			if !exists(root, in+"_label") {
				continue
			}
			label, err := text(root, in+"_label")
			if err != nil {
				return err
			}
			if unconnected(label) {
				continue
			}
			r := jetsonRail{label: label}
			if r.volts, err = j.files.open(root, in+"_input"); err != nil {
				return err
			}
			if r.amps, err = j.files.open(root, curr+"_input"); err != nil {
				return err
			}
			j.rails = append(j.rails, r)
		}
	}
	return nil
}

const iioDir = "sys/bus/i2c/drivers/ina3221x"

// iio is JetPack 4's form: rail_name_N and in_powerN_input in milliwatts, N from 0 to 2.
func (j *jetson) iio(root fs.FS) error {
	for _, chip := range entries(root, iioDir, "") {
		for _, dir := range entries(root, chip, "iio:device") {
			for n := range 3 {
				file := path.Join(dir, "rail_name_"+strconv.Itoa(n))
				if !exists(root, file) {
					continue
				}
				label, err := text(root, file)
				if err != nil {
					return err
				}
				if unconnected(label) {
					continue
				}
				r := jetsonRail{label: label}
				if r.milliW, err = j.files.open(root, path.Join(dir, "in_power"+strconv.Itoa(n)+"_input")); err != nil {
					return err
				}
				if r.volts, err = j.files.open(root, path.Join(dir, "in_voltage"+strconv.Itoa(n)+"_input")); err != nil {
					return err
				}
				j.rails = append(j.rails, r)
			}
		}
	}
	return nil
}

// unconnected: NVIDIA labels unused channels NC.
func unconnected(label string) bool { return strings.Contains(label, "NC") }
