package slot

import (
	"cmp"
	"os"
	"path/filepath"
	"time"

	"bimamba/internal/boottime"
)

// Dir is where the store lies on a board.
const Dir = "/opt/bimamba"

// Incoming is the beginning of the names of programs that are on their way to bin/bimamba. A deployer's session removes those that others left.
const Incoming = Dir + "/bin/incoming"

const (
	manifestFile = "manifest.json"
	offerFile    = "offer.json"
	stateFile    = "state.json"
	undoState    = "state.undo"
	current      = "current"
	none         = "none" // what is current while no version is: drop-ins that change nothing
	undoCurrent  = "current.undo"
	program      = "bin/bimamba"
	logFile      = "log"

	maxConfirmed = 64      // that the state remembers
	maxLog       = 1 << 16 // bytes
	maxState     = 1 << 16
)

// Service is the daemon's service, as far as a switch needs it.
type Service interface {
	Stop() error    // ends the daemon; one that does not run is fine
	Restart() error // reads the units' files again and starts the daemon with them; returns when it is ready, or is not going to be
	Reload() error  // reads the units' files again: for the start that is under way
	Watch(on bool)  // starts or stops the timer that calls [Store.Expire]
}

// Store is the folder of versions of a board. Its methods may be called by several processes at a time.
type Store struct {
	disk    disk
	root    string
	service Service
	now     func() (boot string, up time.Duration, err error)
	verity  verity
}

// Open is the store of the system below root, "/" on the board itself. Nothing needs to be there yet.
func Open(root string, s Service) *Store {
	return &Store{disk: disk{dir: filepath.Join(root, Dir)}, root: root, service: s, now: sinceBoot, verity: kernelVerity}
}

// sinceBoot is the boot's id and the time since then.
func sinceBoot() (boot string, up time.Duration, err error) {
	boot, err = boottime.ID()
	return boot, boottime.Now(), err
}

// current is the version that is current, "" if none is.
func (s *Store) current() string {
	target, err := os.Readlink(s.disk.path(current))
	if err != nil {
		return ""
	}
	if id := filepath.Base(target); validID(id) {
		return id
	}
	return ""
}

// Package is the name of what a package, or an image, installed, where it stands beside the IDs of versions. It is no folder: it is current while no version is.
const Package = "package"

// named is an ID as others know it.
func named(id string) string { return cmp.Or(id, Package) }

// target is what current leads to for id.
func target(id string) string {
	if id == "" || id == Package {
		return none
	}
	return filepath.Join("versions", id)
}

// point makes id current, durably; "" makes none current.
func (s *Store) point(id string) error {
	if err := s.disk.symlink(target(id), current+".new"); err != nil {
		return err
	}
	return s.disk.rename(current+".new", current)
}
