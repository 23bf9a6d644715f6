package unit

// Where the drop-ins of the current version are: symbolic links to its files, so that they are switched with it.
const (
	VersionPath      = "/etc/systemd/system/bimambad.service.d/20-bimamba-version.conf"
	VersionSlicePath = "/etc/systemd/system/bimamba.slice.d/20-bimamba-version.conf"
)

// SlotFiles are what a board needs to take deployments (package bimamba/boards/slot), beside [Files]: a drop-in that rolls a trial back when the daemon ends
// badly, the check at boot, and the timer of trials. Links at [VersionPath] and [VersionSlicePath] belong to them.
func SlotFiles() []File {
	const dir = "/etc/systemd/system/"
	var p Params
	return []File{
		{dir + "bimambad.service.d/10-bimamba-slot.conf", 0o644, p.render("slot.conf")},
		{dir + "bimamba-slot.service", 0o644, p.render("bimamba-slot.service")},
		{dir + "bimamba-slot-expire.service", 0o644, p.render("bimamba-slot-expire.service")},
		{dir + "bimamba-slot-expire.timer", 0o644, p.render("bimamba-slot-expire.timer")},
	}
}

// Version is the drop-in for a version whose files lie in dir: which daemon is started, with which model and, with config, which configuration file, and the
// limits of memory. A slice for it is [Slice].
func Version(p Params, dir string, config bool) string {
	return render("version.conf", struct {
		Params
		Dir    string
		Config bool
	}{p.withDefaults(), dir, config})
}
