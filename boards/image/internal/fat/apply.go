package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"
)

// Change is one thing to do with a file.
type Change struct {
	Path   string    // with slashes; directories that are missing are made
	Remove bool      // a file, or an empty directory
	Data   io.Reader // what the file is to hold: Size bytes
	Size   int64
}

// SpaceError says that changes do not fit. Nothing was written.
type SpaceError struct {
	Need int64 // bytes in whole clusters
	Free int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("there is no room: %d bytes are needed and %d are free, %d too few", e.Need, e.Free, e.Need-e.Free)
}

// write is a content on its way.
type write struct {
	path  string
	data  io.Reader
	size  int64
	chain []uint32
}

// batch is a list of changes in the making.
type batch struct {
	v      *Volume
	at     time.Time
	writes []write
	need   int64 // clusters
	free   int64 // clusters at the start; what becomes free meanwhile is not used
	left   int64 // clusters of them that are not taken yet
	fresh  []*dir
	grown  []uint32 // clusters that were added to directories
}

// Apply makes all changes, or none where one is impossible: then nothing was written but, where a Data failed, clusters that were free.
// New entries and contents are dated at. After an error of writing the volume must not be used again.
func (v *Volume) Apply(at time.Time, changes []Change) error {
	free := int64(v.fat.free())
	b := &batch{v: v, at: at, free: free, left: free}
	if err := b.plan(changes); err != nil {
		return errors.Join(err, v.reload())
	}
	return b.commit()
}

// Need is the number of bytes in whole clusters that changes take, of which [Volume.Free] are there. It writes nothing, and does not read contents.
func (v *Volume) Need(changes []Change) (int64, error) {
	b := &batch{v: v, free: math.MaxInt64, left: int64(v.fat.free())}
	err := b.plan(changes)
	return b.need * v.cluster, errors.Join(err, v.reload())
}

// reload drops all that was planned.
func (v *Volume) reload() error {
	copy(v.fat.b, v.fat.disk)
	v.fat.next = 2
	return v.checkAll()
}

func (b *batch) plan(changes []Change) error {
	seen := map[string]bool{}
	for i := range changes {
		c := &changes[i]
		names := split(c.Path)
		if len(names) == 0 {
			return fmt.Errorf("%q names no file", c.Path)
		}
		key := strings.ToLower(strings.Join(names, "/"))
		if seen[key] {
			return fmt.Errorf("%s is to be changed twice", c.Path)
		}
		seen[key] = true
		if err := b.change(c, names); err != nil {
			return err
		}
	}
	if b.need > b.free {
		return &SpaceError{Need: b.need * b.v.cluster, Free: b.free * b.v.cluster}
	}
	return nil
}

func (b *batch) change(c *Change, names []string) error {
	last := names[len(names)-1]
	d := b.v.root
	for i, name := range names[:len(names)-1] {
		e := d.find(name)
		switch {
		case e == nil && c.Remove:
			return fmt.Errorf("%s: %w", c.Path, fs.ErrNotExist)
		case e == nil && i >= maxDepth:
			return fmt.Errorf("%s lies in more than %d directories", c.Path, maxDepth)
		case e == nil:
			var err error
			if e, err = b.mkdir(d, name); err != nil {
				return err
			}
		case e.dir == nil:
			return fmt.Errorf("%s: %s is a file, not a directory", c.Path, e.name)
		}
		d = e.dir
	}
	e := d.find(last)
	switch {
	case c.Remove && e == nil:
		return fmt.Errorf("%s: %w", c.Path, fs.ErrNotExist)
	case c.Remove && e.dir != nil && len(e.dir.entries) > 0:
		return fmt.Errorf("%s is a directory that is not empty", c.Path)
	case c.Remove:
		b.remove(d, e)
		return nil
	case e != nil && e.dir != nil:
		return fmt.Errorf("%s: %w", c.Path, errDir)
	case c.Size < 0 || c.Size > math.MaxUint32:
		return fmt.Errorf("%s: a file of %d bytes is too large for FAT, which has 4 GiB less a byte", c.Path, c.Size)
	}
	if e == nil {
		var err error
		if e, err = b.create(d, last, attrArchive); err != nil {
			return err
		}
	}
	for _, cl := range e.chain {
		b.v.fat.set(cl, entryFree)
	}
	e.size = uint32(c.Size)
	if e.chain, e.first = b.alloc((c.Size + b.v.cluster - 1) / b.v.cluster); len(e.chain) > 0 || c.Size == 0 {
		b.writes = append(b.writes, write{c.Path, c.Data, c.Size, e.chain})
	}
	b.v.setSlot(d, e, b.at)
	return nil
}

// alloc takes clusters if there are as many, and counts them in any case.
func (b *batch) alloc(n int64) ([]uint32, uint32) {
	b.need += n
	if n == 0 || n > b.left {
		return nil, 0 // if they are too many, plan says so at its end
	}
	b.left -= n
	chain := b.v.fat.alloc(int(n))
	return chain, chain[0]
}

func (b *batch) remove(d *dir, e *entry) {
	for _, c := range e.chain {
		b.v.fat.set(c, entryFree)
	}
	for s := e.slot - e.slots + 1; s <= e.slot; s++ {
		d.b[s*slotSize] = 0xe5
	}
	d.entries = slices.DeleteFunc(d.entries, func(x *entry) bool { return x == e })
	d.changed = true
}

// create adds an empty entry to d.
func (b *batch) create(d *dir, name string, attr byte) (*entry, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	e := &entry{name: name}
	var long bool
	e.short, long = d.shorten(name)
	var slots []byte
	if long {
		slots = longSlots(name, e.short)
	}
	s := make([]byte, slotSize)
	copy(s, e.short[:])
	if s[0] == 0xe5 {
		s[0] = 0x05
	}
	s[11] = attr
	date, clock := stamp(b.at)
	binary.LittleEndian.PutUint16(s[14:], clock)
	binary.LittleEndian.PutUint16(s[16:], date)
	slots = append(slots, s...)
	e.slots = len(slots) / slotSize
	at, err := b.room(d, e.slots)
	if err != nil {
		return nil, err
	}
	copy(d.b[at*slotSize:], slots)
	e.slot = at + e.slots - 1
	d.entries = append(d.entries, e)
	d.changed = true
	return e, nil
}

// room finds n slots in a row, and makes the directory longer where there are none.
func (b *batch) room(d *dir, n int) (int, error) {
	run := 0
	for s := 0; s*slotSize < len(d.b); s++ {
		switch d.b[s*slotSize] {
		case 0:
			// The end. All behind it counts as empty, whatever it holds.
			clear(d.b[s*slotSize:])
			start := s - run
			for (start+n)*slotSize > len(d.b) {
				if err := b.grow(d); err != nil {
					return 0, err
				}
			}
			return start, nil
		case 0xe5:
			if run++; run == n {
				return s - n + 1, nil
			}
		default:
			run = 0
		}
	}
	start := len(d.b)/slotSize - run
	for (start+n)*slotSize > len(d.b) {
		if err := b.grow(d); err != nil {
			return 0, err
		}
	}
	return start, nil
}

// grow adds a cluster to a directory.
func (b *batch) grow(d *dir) error {
	if d.chain == nil {
		return fmt.Errorf("the root directory is full: FAT16 has room for %d entries there", len(d.b)/slotSize)
	}
	if int64(len(d.b))+b.v.cluster > maxDir {
		return fmt.Errorf("the directory %s is full", d.path)
	}
	d.b = append(d.b, make([]byte, b.v.cluster)...)
	if chain, first := b.alloc(1); chain != nil {
		b.v.fat.set(d.chain[len(d.chain)-1], first)
		d.chain = append(d.chain, first)
		b.grown = append(b.grown, first)
	}
	return nil
}

func (b *batch) mkdir(parent *dir, name string) (*entry, error) {
	e, err := b.create(parent, name, attrDir)
	if err != nil {
		return nil, err
	}
	e.chain, e.first = b.alloc(1)
	e.dir = &dir{path: strings.TrimSuffix(parent.path, "/") + "/" + name, chain: e.chain, b: make([]byte, b.v.cluster), fresh: true}
	if e.dir.chain == nil {
		e.dir.chain = []uint32{0} // there is no room; all goes on only to count how much there is not
	}
	b.v.setSlot(parent, e, b.at)
	up := uint32(0)
	if parent != b.v.root {
		up = parent.chain[0]
	}
	for i, x := range []*entry{{short: dot, first: e.first, slot: 0, dir: e.dir}, {short: dotDot, first: up, slot: 1, dir: e.dir}} {
		s := e.dir.b[i*slotSize:][:slotSize]
		copy(s, parent.b[e.slot*slotSize:][:slotSize]) // the dates
		copy(s, x.short[:])
		b.v.setSlot(e.dir, x, b.at)
	}
	b.fresh = append(b.fresh, e.dir)
	return e, nil
}

// commit writes what was planned. Each step leads from one sound state to another.
func (b *batch) commit() error {
	v, t := b.v, b.v.fat
	// While it is written, the file system says that it is.
	final := bytes.Clone(t.b)
	copy(t.b, t.disk)
	t.setClean(false)
	if err := t.write(v.f, t.b); err != nil {
		return err
	}
	if err := v.sync(); err != nil {
		return err
	}
	// Contents, and directories that nothing refers to.
	for i := range b.writes {
		if err := v.writeData(&b.writes[i]); err != nil {
			// Only free clusters were touched.
			t.setClean(true)
			return errors.Join(err, t.write(v.f, t.b), v.sync(), v.reload())
		}
	}
	for _, c := range b.grown { // a directory's end is in its old part no longer once the tables are written
		if _, err := v.f.WriteAt(make([]byte, v.cluster), v.offset(c)); err != nil {
			return fmt.Errorf("writing cluster %d: %w", c, err)
		}
	}
	for _, d := range b.fresh {
		if err := v.writeDir(d); err != nil {
			return err
		}
	}
	if err := v.sync(); err != nil {
		return err
	}
	// The tables, in which all that was in use still is.
	copy(t.b, final)
	t.setClean(false)
	for c := uint32(2); c < t.entries(); c++ {
		if t.get(c) == entryFree && t.onDisk(c) != entryFree {
			t.set(c, t.onDisk(c))
		}
	}
	if err := t.write(v.f, t.b); err != nil {
		return err
	}
	if err := v.sync(); err != nil {
		return err
	}
	// The directories, which from now on refer to the new contents.
	if err := v.writeChanged(v.root); err != nil {
		return err
	}
	if err := v.sync(); err != nil {
		return err
	}
	// What nothing refers to any more becomes free.
	copy(t.b, final)
	t.setClean(false)
	if err := errors.Join(t.write(v.f, t.b), v.writeInfo(), v.sync()); err != nil {
		return err
	}
	t.setClean(true)
	return errors.Join(t.write(v.f, t.b), v.sync())
}

func (v *Volume) writeData(w *write) error {
	// A cluster may be as small as a sector; clusters in a row are written at once.
	buf := make([]byte, max(v.cluster, 1<<20/v.cluster*v.cluster))
	left := w.size
	for i := 0; i < len(w.chain); {
		run := 1
		for i+run < len(w.chain) && w.chain[i+run] == w.chain[i]+uint32(run) && int64(run+1)*v.cluster <= int64(len(buf)) {
			run++
		}
		n := min(left, int64(run)*v.cluster)
		if m, err := io.ReadFull(w.data, buf[:n]); err != nil {
			return fmt.Errorf("%s: its content ended %d bytes early: %w", w.path, left-int64(m), err)
		}
		clear(buf[n : int64(run)*v.cluster])
		if _, err := v.f.WriteAt(buf[:int64(run)*v.cluster], v.offset(w.chain[i])); err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
		left -= n
		i += run
	}
	if w.data != nil {
		if n, _ := w.data.Read(buf[:1]); n != 0 {
			return fmt.Errorf("%s: its content is longer than the %d bytes that were said", w.path, w.size)
		}
	}
	return nil
}

func (v *Volume) writeDir(d *dir) error {
	d.changed, d.fresh = false, false
	if d.chain == nil {
		_, err := v.f.WriteAt(d.b, v.rootStart)
		return err
	}
	for i, c := range d.chain {
		if _, err := v.f.WriteAt(d.b[int64(i)*v.cluster:][:v.cluster], v.offset(c)); err != nil {
			return fmt.Errorf("writing the directory %s: %w", d.path, err)
		}
	}
	return nil
}

// writeChanged writes the changed directories of a tree.
func (v *Volume) writeChanged(d *dir) error {
	if d.changed {
		if err := v.writeDir(d); err != nil {
			return err
		}
	}
	for _, e := range d.entries {
		if e.dir != nil {
			if err := v.writeChanged(e.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInfo writes how much is free, which FAT32 keeps so that nobody has to count.
func (v *Volume) writeInfo() error {
	if v.infoAt == 0 {
		return nil
	}
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], v.fat.free())
	binary.LittleEndian.PutUint32(b[4:], v.fat.next)
	_, err := v.f.WriteAt(b[:], v.infoAt+488)
	return err
}
