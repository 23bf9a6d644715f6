package sensor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Names of the sensors that give no power.
const (
	firmwareName = "pi-firmware"
	cpuName      = "cpu"
)

// Found is a sensor that was looked for.
type Found struct {
	Name   string
	Sensor Sensor // nil if there is none that can be read
	Reason string // why not
	Mend   string // the command that gives the right to read it, "" if there is none
}

// Options of Find.
type Options struct {
	// Mailbox opens the Raspberry Pi's firmware; nil is [OpenMailbox]. It is called only where root has one of its devices.
	Mailbox func() (Mailbox, error)
}

// Find looks for every sensor that needs no description by its user. root is the root of the file system: os.DirFS("/").
//
// Every kind is in the answer, those of power first: the first that has a Sensor is the one to take unless its user says otherwise. Each sensor that is there was read once;
// its caller closes it.
func Find(root fs.FS, opt Options) []Found {
	if opt.Mailbox == nil {
		opt.Mailbox = OpenMailbox
	}
	found := []Found{
		findMailbox(root, opt, "pi5-pmic", func(m Mailbox) Sensor { return newPMIC(m) }),
		findJetson(root),
	}
	found = append(found, findBattery(root)...)
	found = append(found, findRAPL(root))
	found = append(found, findHwmon(root)...) // after RAPL: a graphics card is among them, too
	found = append(found,
		findMailbox(root, opt, firmwareName, func(m Mailbox) Sensor { return newFirmware(m) }),
		findCPU(root),
	)
	for i := range found {
		f := &found[i]
		if f.Sensor == nil {
			continue
		}
		if _, err := f.Sensor.Read(context.Background()); err != nil {
			f.Sensor.Close()
			f.Sensor, f.Reason = nil, err.Error()
		}
	}
	return found
}

// Auto is the name for the first sensor that can be read.
const Auto = "auto"

// Choose finds the sensor of power that name stands for, and the one of temperature, clocks and throttling. name is [Auto], a name that [Find] gives, or an INA chip
// as [ParseINA] reads it. The caller closes both.
//
// An error says that there is nothing of that name, or why it cannot be read. With Auto there is none: a Found without a Sensor says why it has none.
func Choose(root fs.FS, name string, opt Options) (power, heat Found, err error) {
	found := Find(root, opt)
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].Name
	}
	take := func(names []string, fits func(*Found) bool) Found {
		for i := range found {
			if f := found[i]; fits(&f) {
				found[i].Sensor = nil
				return f
			}
		}
		return Found{Reason: "none of " + strings.Join(names, ", ") + " can be read here; `bimamba doctor` says why"}
	}
	has := func(f *Found, q Quantity) bool { return f.Sensor != nil && f.Sensor.Info().Quantities&q != 0 }
	bus, chip, isINA := ParseINA(name)
	switch {
	case name == Auto:
		powers := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == firmwareName || n == cpuName }) // those never give power
		power = take(powers, func(f *Found) bool { return has(f, Power|Counter) })
		for _, f := range found { // what is there but may not be read is what its user wants to know of
			if power.Sensor == nil && f.Mend != "" {
				power.Reason, power.Mend = f.Reason, f.Mend
				break
			}
		}
	case isINA == nil:
		power.Name = name
		power.Sensor, err = OpenINA(bus, chip)
	default:
		power = take(names, func(f *Found) bool { return f.Name == name })
		switch {
		case power.Name == "" && strings.HasPrefix(name, "ina"):
			err = isINA
		case power.Name == "":
			err = fmt.Errorf("there is no sensor %.60q; there are %s, %s", name, Auto, strings.Join(names, ", "))
		case power.Sensor == nil:
			err = errors.New(power.Reason)
		case !has(&power, Power|Counter):
			err = fmt.Errorf("%s gives no power", name)
		}
	}
	heat = take(names, func(f *Found) bool { return has(f, Heat|Clock|Throttle) })
	if err != nil {
		found = append(found, power, heat)
		power, heat = Found{}, Found{}
	}
	for _, f := range found {
		if f.Sensor != nil {
			f.Sensor.Close()
		}
	}
	return power, heat, err
}

func findMailbox(root fs.FS, opt Options, name string, make func(Mailbox) Sensor) Found {
	if !exists(root, mailboxes[0]) && !exists(root, mailboxes[1]) {
		return Found{Name: name, Reason: "neither /dev/vcio_gencmd nor /dev/vcio is there: this is no Raspberry Pi, or its kernel is not Raspberry Pi's own"}
	}
	m, err := opt.Mailbox()
	if err != nil {
		return missing(name, err, "sudo usermod -aG video $USER   # then log in again; in a unit of systemd: SupplementaryGroups=video")
	}
	return Found{Name: name, Sensor: make(m)}
}

// missing is a sensor that err kept from being opened; mend helps if a right was missing.
func missing(name string, err error, mend string) Found {
	f := Found{Name: name, Reason: oneLine(err).Error()}
	if errors.Is(err, fs.ErrPermission) {
		f.Mend = mend
	}
	return f
}
