package sensor

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// findRAPL finds the energy counters of x86 packages and their memory. Only root may read them since CVE-2020-8694.
func findRAPL(root fs.FS) Found {
	const name, dir = "rapl", "sys/class/powercap"
	m := &tally{info: Info{
		Name: name, Quantities: Counter | Power, Interval: 100 * time.Millisecond,
		Error: 0.05, ErrorSource: "assumed: Intel and AMD publish no accuracy",
	}}
	fail := func(err error, mend string) Found {
		m.Close()
		return missing(name, err, mend)
	}
	var parts []string
	for _, zone := range entries(root, dir, "intel-rapl:") {
		part, err := text(root, path.Join(zone, "name"))
		if err != nil {
			return fail(err, "")
		}
		if !strings.HasPrefix(part, "package") && part != "dram" { // core and uncore are in the package; psys is not the same on any two machines
			continue
		}
		limit, err := openAttr(root, path.Join(zone, "max_energy_range_uj"))
		if err != nil {
			return fail(err, "")
		}
		wrap, err := limit.int(1e6, 1<<62)
		limit.Close()
		if err != nil {
			return fail(err, "")
		}
		if _, err := m.files.open(root, path.Join(zone, "energy_uj")); err != nil {
			return fail(err, "sudo chmod o+r /"+dir+"/intel-rapl:*/energy_uj")
		}
		m.sum.of = append(m.sum.of, counter{unit: 1e-6, wrap: uint64(wrap)})
		// More than a kilowatt is not expected of a package: within this time the counter wraps at most once.
		gap := time.Duration(min(float64(wrap)/1e6/1000, 600) * float64(time.Second))
		if m.info.MaxGap == 0 || gap < m.info.MaxGap {
			m.info.MaxGap = gap
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return Found{Name: name, Reason: fmt.Sprintf("no intel-rapl package under /%s: this is no x86 machine, or a virtual one", dir)}
	}
	m.raw = make([]uint64, len(parts))
	m.info.Includes = strings.Join(parts, ", ") + "; without the rest of the machine"
	return Found{Name: name, Sensor: m}
}
