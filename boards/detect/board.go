package detect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"bimamba/boards/internal/regular"
)

// Board is what is known of a board. In its JSON form, which keeps its names, fields that could not be read are absent.
type Board struct {
	ID         string   `json:"id"`                   // pi-zero-2w, pi-5, orin-nano, ..., else arm64, x86, or the kernel's name of the machine
	Name       string   `json:"name,omitempty"`       // the usual name of a known board
	Model      string   `json:"model,omitempty"`      // as the device tree or the firmware has it
	Vendor     string   `json:"vendor,omitempty"`     //
	SoC        string   `json:"soc,omitempty"`        //
	Compatible []string `json:"compatible,omitempty"` // of the device tree's root
	Serial     bool     `json:"serial"`               // has a serial number, which is not told
	Emulated   string   `json:"emulated,omitempty"`   // what shows that it is emulated: its speed and power are of no account then

	Arch     string `json:"arch,omitempty"`            // of the kernel: aarch64, armv7l, x86_64
	Userland int    `json:"userland_bits,omitempty"`   // of the system's programs: 32 or 64
	Kernel   string `json:"kernel,omitempty"`          // its release
	OS       string `json:"os,omitempty"`              // as /etc/os-release calls it
	PageSize int    `json:"page_size_bytes,omitempty"` //
	Cmdline  string `json:"-"`                         // the kernel's command line

	Cores    []CoreType `json:"cores,omitempty"`         // the cores that are on, the fastest kind last
	Present  int        `json:"cores_present,omitempty"` // how many there are
	Online   int        `json:"cores_online,omitempty"`  // how many are on
	Features []string   `json:"features,omitempty"`      // of the CPU, those that matter to kernels: asimd, asimddp, ... or avx2, ...

	Memory   Memory    `json:"memory"`
	Swap     []Swap    `json:"swap,omitempty"`
	Storage  []Storage `json:"storage,omitempty"` // what the paths of Options lie on
	Cgroup   Cgroup    `json:"cgroup"`
	Throttle *Throttle `json:"throttle,omitempty"`
	Devices  []Device  `json:"devices,omitempty"` // those of sensors
	UID      int       `json:"-"`                 // of this process, -1 if unknown

	Missing []Missing `json:"missing,omitempty"`

	exe      string // the architecture of this program, "" if unknown
	bootFile string // where the kernel's command line is written, "" if unknown
	bootAsks bool   // it has enableMemory
}

// Missing is something that could not be read.
type Missing struct {
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Memory is bytes of RAM.
type Memory struct {
	Total     int64 `json:"total_bytes,omitempty"`     // what the kernel manages: RAM less the firmware's and the GPU's part
	Available int64 `json:"available_bytes,omitempty"` // what programs can still get without swapping
	CMA       int64 `json:"cma_bytes,omitempty"`       // set aside for devices; programs get it as long as these do not need it
}

// Swap is a swap area.
type Swap struct {
	Name string `json:"name"` // device or file
	Kind string `json:"kind"` // of the storage below it, see Storage
	Size int64  `json:"size_bytes"`
	Used int64  `json:"used_bytes"`
}

// Cgroup is how this system limits programs.
type Cgroup struct {
	Version     int      `json:"version,omitempty"`     // 1 or 2
	Controllers []string `json:"controllers,omitempty"` // at the root
}

// Device is a sensors' device file.
type Device struct {
	Path    string `json:"path"`
	Group   string `json:"group"`   // whose members may open it
	Allowed bool   `json:"allowed"` // this user is one of them, or root
}

// Options of Read.
type Options struct {
	Paths    []string                     // absolute, without symbolic links: what storage is asked about; / if there are none
	Throttle func() (ThrottleBits, error) // reads the firmware's throttle state (package boards/sensor); nil: the kernel's alarm file is all there is
}

// maxFile bounds what is read of any file.
const maxFile = 1 << 20

// reader reads small files below a root and keeps a list of what went wrong.
type reader struct {
	root    fs.FS
	missing []Missing
}

// bytes is the content of a file, without waiting for its size, which is 0 below /proc.
func (r *reader) bytes(name string) ([]byte, error) {
	f, err := regular.Open(r.root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return b, nil
}

// text is a file of printable text, without spaces at its ends.
func (r *reader) text(name string) (string, error) {
	b, err := r.bytes(name)
	if err != nil {
		return "", err
	}
	b = bytes.TrimSpace(b)
	if i := bytes.IndexFunc(b, func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f || c == '\ufffd' }); i >= 0 {
		return "", fmt.Errorf("%s: byte %d is no text", name, i)
	}
	if len(b) == 0 {
		return "", fmt.Errorf("%s is empty", name)
	}
	return string(b), nil
}

// word is a file of one short line.
func (r *reader) word(name string) (string, error) {
	s, err := r.text(name)
	if err == nil && (strings.Contains(s, "\n") || len(s) > 1024) {
		return "", fmt.Errorf("%s has more than one short line", name)
	}
	return s, err
}

// number is a file of one whole number from lo to hi.
func (r *reader) number(name string, lo, hi int64) (int64, error) {
	s, err := r.word(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < lo || n > hi {
		return 0, fmt.Errorf("%s: %.40q is no number from %d to %d", name, s, lo, hi)
	}
	return n, nil
}

// miss notes that what could not be read.
func (r *reader) miss(what string, err error) {
	reason := err.Error()
	var p *fs.PathError
	if errors.As(err, &p) {
		reason = "/" + p.Path + ": " + p.Err.Error()
	}
	r.missing = append(r.missing, Missing{what, reason})
}

// Read reads what is known of the board whose files are below root.
func Read(root fs.FS, opt Options) *Board {
	r := &reader{root: root}
	b := &Board{UID: -1}
	r.system(b)
	r.identity(b)
	r.cpus(b)
	r.memory(b)
	mounts := r.mounts()
	r.storage(b, mounts, opt.Paths)
	r.swaps(b, mounts)
	r.cgroup(b)
	r.throttle(b, opt.Throttle)
	r.devices(b)
	b.Emulated = r.emulated(b)
	b.Missing = r.missing
	return b
}
