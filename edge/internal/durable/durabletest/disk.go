// Package durabletest has a disk in memory that loses its power when a test wants it to.
package durabletest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"

	"bimamba/edge/internal/durable"
)

// ErrCut is what every operation returns once the power is gone.
var ErrCut = errors.New("no power")

// ErrIO is what an operation of a disk that fails returns.
var ErrIO = errors.New("input/output error")

// Disk is a folder on a disk. What was not synced may be lost, as far as it came, or there in part when the power comes back.
type Disk struct {
	mu      sync.Mutex
	now     map[string]*inode // as programs see it
	then    map[string]*inode // as it is on the platter,
	pending []func(map[string]*inode)
	ops     int
	cut     int // the operation at which the power goes; 0 for none
	failing func(op int) bool
}

// inode is a file, whatever it is called.
type inode struct {
	data   []byte
	synced []byte
	whole  bool // synced is data
}

// New is an empty disk.
func New() *Disk { return &Disk{now: map[string]*inode{}, then: map[string]*inode{}} }

// CutAt makes the power go at the nth operation from now on that changes something, in its midst.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = d.ops + n
}

// Fail makes operations that change something return ErrIO where failing says so of their number from now on, 1 for the first; nil ends that.
func (d *Disk) Fail(failing func(op int) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing = nil; failing != nil {
		from := d.ops
		d.failing = func(op int) bool { return failing(op - from) }
	}
}

// Dead tells whether the power has gone.
func (d *Disk) Dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut > 0 && d.ops >= d.cut
}

// Ops is how many operations have changed something, or tried to.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Reboot is what a program finds once the power is back: of what was not synced, as much as rng says.
func (d *Disk) Reboot(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range d.pending[:rng.IntN(len(d.pending)+1)] { // a journal keeps them in order
		op(d.then)
	}
	d.pending, d.cut, d.failing = nil, 0, nil
	d.now = map[string]*inode{}
	for name, f := range d.then {
		if !f.whole {
			switch rng.IntN(3) {
			case 0:
				f.data = f.synced
			case 1:
				f.data = slices.Clone(f.data[:rng.IntN(len(f.data)+1)])
			default: // its length came, its bytes did not
				f.data = make([]byte, len(f.data))
			}
			f.synced, f.whole = f.data, true
		}
		d.now[name] = f
	}
}

// op counts an operation. Partly says that it is the one in whose midst the power goes.
func (d *Disk) op() (partly bool, err error) {
	d.ops++
	switch {
	case d.cut > 0 && d.ops == d.cut:
		return true, nil
	case d.cut > 0 && d.ops > d.cut:
		return false, ErrCut
	case d.failing != nil && d.failing(d.ops):
		return false, ErrIO
	}
	return false, nil
}

// change does a change of names, and again on the platter when the folder is synced.
func (d *Disk) change(do func(map[string]*inode)) error {
	partly, err := d.op()
	if err != nil {
		return err
	}
	do(d.now)
	d.pending = append(d.pending, do)
	if partly {
		return ErrCut
	}
	return nil
}

func missing(name string) error { return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist} }

// Create is of durable.Files.
func (d *Disk) Create(name string) (durable.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	f := &inode{}
	if err := d.change(func(m map[string]*inode) { m[name] = f }); err != nil {
		return nil, err
	}
	return &file{d, f}, nil
}

// Read is of durable.Files.
func (d *Disk) Read(name string, limit int) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.now[name]
	switch {
	case d.cut > 0 && d.ops >= d.cut:
		return nil, ErrCut
	case f == nil:
		return nil, missing(name)
	case len(f.data) > limit:
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return slices.Clone(f.data), nil
}

// Rename is of durable.Files.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now[from] == nil {
		return missing(from)
	}
	return d.change(func(m map[string]*inode) { m[to] = m[from]; delete(m, from) })
}

// Remove is of durable.Files.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now[name] == nil {
		return missing(name)
	}
	return d.change(func(m map[string]*inode) { delete(m, name) })
}

// Names is of durable.Files.
func (d *Disk) Names() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut > 0 && d.ops >= d.cut {
		return nil, ErrCut
	}
	var names []string
	for name := range d.now {
		names = append(names, name)
	}
	return names, nil
}

// Sync is of durable.Files.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	partly, err := d.op()
	if err != nil {
		return err
	}
	if partly {
		return ErrCut // as much as Reboot says
	}
	for _, op := range d.pending {
		op(d.then)
	}
	d.pending = nil
	return nil
}

// Close is of durable.Files.
func (d *Disk) Close() error { return nil }

// Put makes a file, whole and on the disk.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := &inode{data: slices.Clone(data), synced: slices.Clone(data), whole: true}
	d.now[name], d.then[name] = f, f
}

type file struct {
	d *Disk
	f *inode
}

func (w *file) Write(b []byte) (int, error) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	partly, err := w.d.op()
	if err != nil {
		return 0, err
	}
	w.f.whole = false
	if partly {
		w.f.data = append(w.f.data, b[:len(b)/2]...)
		return len(b) / 2, ErrCut
	}
	w.f.data = append(w.f.data, b...)
	return len(b), nil
}

func (w *file) Sync() error {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	partly, err := w.d.op()
	if err != nil {
		return err
	}
	if partly {
		return ErrCut
	}
	w.f.synced, w.f.whole = slices.Clone(w.f.data), true
	return nil
}

func (w *file) Close() error { return nil }
