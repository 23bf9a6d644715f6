package sensor

import (
	"context"
	"errors"
	"io/fs"
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
		findMailbox(root, opt, "pi-firmware", func(m Mailbox) Sensor { return newFirmware(m) }),
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
	f := Found{Name: name, Reason: err.Error()}
	if errors.Is(err, fs.ErrPermission) {
		f.Mend = mend
	}
	return f
}
