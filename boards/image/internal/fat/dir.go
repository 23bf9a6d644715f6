package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf16"
)

// Attributes of an entry.
const (
	attrLabel   = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
	attrLong    = 0x0f // a part of a long name
)

const slotSize = 32

// entry is a file or a directory in its directory.
type entry struct {
	name  string   // the long name, or the short one where there is no other
	short [11]byte // upper case, padded
	first uint32   // cluster, 0 for an empty file
	size  uint32
	slot  int // of the short name; the long name's parts come before it
	slots int // with those of the long name
	dir   *dir
	chain []uint32
}

// dir is a directory, all of it in memory.
type dir struct {
	path    string
	chain   []uint32 // nil for FAT16's root
	b       []byte
	entries []*entry
	changed bool
	fresh   bool // made by the change at work: nothing on the disk refers to it
}

// checkAll reads every directory and checks all that fsck.fat does about chains, sizes and "..".
func (v *Volume) checkAll() error {
	used := make([]bool, v.fat.entries())
	n := 0
	v.root = &dir{path: "/"}
	if v.fat.wide {
		chain, err := v.fat.chain(binary.LittleEndian.Uint32(v.boot[44:])&0x0fffffff, used)
		if err != nil || len(chain) == 0 {
			return errDamaged("the root directory has no clusters: %v", err)
		}
		v.root.chain = chain
	}
	if err := v.loadDir(v.root, 0, used, &n, 0); err != nil {
		return err
	}
	for c := uint32(2); c < v.fat.entries(); c++ {
		if e := v.fat.get(c); e != entryFree && e != entryBad && !used[c] {
			return errDamaged("cluster %d is in use by no file", c)
		}
	}
	if v.infoAt != 0 {
		b := make([]byte, 512)
		if _, err := v.f.ReadAt(b, v.infoAt); err != nil {
			return fmt.Errorf("reading the FSInfo sector: %w", err)
		}
		if string(b[:4]) != "RRaA" || string(b[484:488]) != "rrAa" {
			return errDamaged("the FSInfo sector at byte %d has not its signatures", v.infoAt)
		}
	}
	return nil
}

// loadDir reads d, whose chain is known, and all below it.
func (v *Volume) loadDir(d *dir, parent uint32, used []bool, n *int, depth int) error {
	if depth > maxDepth {
		return errDamaged("%s lies in more than %d directories", d.path, maxDepth)
	}
	if int64(len(d.chain))*v.cluster > maxDir+v.cluster {
		return errDamaged("the directory %s has more than %d bytes", d.path, maxDir)
	}
	var err error
	if d.chain == nil {
		d.b = make([]byte, v.rootSize)
		_, err = v.f.ReadAt(d.b, v.rootStart)
	} else {
		d.b, err = v.readChain(d.chain)
	}
	if err != nil {
		return fmt.Errorf("reading the directory %s: %w", d.path, err)
	}
	if d != v.root {
		if err := v.checkDots(d, parent); err != nil {
			return err
		}
	}
	self := uint32(0)
	if d != v.root {
		self = d.chain[0]
	}
	if d.entries, err = v.parseDir(d); err != nil {
		return err
	}
	for _, e := range d.entries {
		if *n++; *n > maxEntries {
			return fmt.Errorf("the file system has more than %d files", maxEntries)
		}
		path := strings.TrimSuffix(d.path, "/") + "/" + e.name
		if e.first != 0 {
			if e.chain, err = v.fat.chain(e.first, used); err != nil {
				return errDamaged("%s: %v", path, err)
			}
		}
		if e.dir == nil {
			if want := (int64(e.size) + v.cluster - 1) / v.cluster; int64(len(e.chain)) != want {
				return errDamaged("%s is %d bytes long, and has %d clusters instead of %d", path, e.size, len(e.chain), want)
			}
			continue
		}
		if len(e.chain) == 0 {
			return errDamaged("the directory %s has no clusters", path)
		}
		e.dir.path, e.dir.chain = path, e.chain
		if err := v.loadDir(e.dir, self, used, n, depth+1); err != nil {
			return err
		}
	}
	return nil
}

var dot, dotDot = [11]byte([]byte(".          ")), [11]byte([]byte("..         "))

// checkDots checks the two entries that a directory starts with. The parent is 0 where it is the root.
func (v *Volume) checkDots(d *dir, parent uint32) error {
	for i, want := range []struct {
		name  [11]byte
		first uint32
	}{{dot, d.chain[0]}, {dotDot, parent}} {
		b := d.b[i*slotSize:][:slotSize]
		if !bytes.Equal(b[:11], want.name[:]) || b[11]&attrDir == 0 || v.first(b) != want.first {
			return errDamaged("the directory %s has a wrong entry %q", d.path, strings.TrimSpace(string(want.name[:])))
		}
	}
	return nil
}

// first is the first cluster in a slot.
func (v *Volume) first(b []byte) uint32 {
	c := uint32(binary.LittleEndian.Uint16(b[26:]))
	if v.fat.wide {
		c |= uint32(binary.LittleEndian.Uint16(b[20:])) << 16
	}
	return c
}

// parseDir finds the entries of d, without labels, ".", ".." and what was removed.
func (v *Volume) parseDir(d *dir) ([]*entry, error) {
	var entries []*entry
	var long longName
	for slot := 0; slot*slotSize < len(d.b); slot++ {
		b := d.b[slot*slotSize:][:slotSize]
		switch {
		case b[0] == 0:
			return entries, nil
		case b[0] == 0xe5:
			long = longName{}
			continue
		case b[11]&0x3f == attrLong:
			long.add(b)
			continue
		case b[11]&attrLabel != 0:
			long = longName{}
			continue
		}
		e := &entry{short: [11]byte(b[:11]), first: v.first(b), size: binary.LittleEndian.Uint32(b[28:]), slot: slot, slots: 1}
		if e.short == dot || e.short == dotDot {
			if d == v.root || slot > 1 {
				return nil, errDamaged("the directory %s has an entry %q in the wrong place", d.path, strings.TrimSpace(string(b[:11])))
			}
			continue
		}
		e.name = shortName(b)
		if name, ok := long.complete(e.short); ok {
			e.name, e.slots = name, 1+long.n
		}
		long = longName{}
		if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
			return nil, errDamaged("the directory %s has an entry with the name %q", d.path, e.name)
		}
		if b[11]&attrDir != 0 {
			e.dir = &dir{}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// shortName is the name in a slot, in the case that Windows NT's flags say.
func shortName(b []byte) string {
	base, ext := string(bytes.TrimRight(b[:8], " ")), string(bytes.TrimRight(b[8:11], " "))
	if strings.HasPrefix(base, "\x05") { // 0xe5, which would mark it as removed
		base = "\xe5" + base[1:]
	}
	if b[12]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if b[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		base += "." + ext
	}
	return strings.ToValidUTF8(base, "?") // bytes of some code page
}

// longName is a name in the making: its parts come last first.
type longName struct {
	units []uint16
	sum   byte
	left  int // parts that are to come
	n     int // parts
	bad   bool
}

func (l *longName) add(b []byte) {
	order := int(b[0] & 0x3f)
	if b[0]&0x40 != 0 {
		*l = longName{sum: b[13], left: order, n: order}
	}
	if order == 0 || order > 20 || order != l.left || b[13] != l.sum {
		l.bad = true
		return
	}
	l.left--
	part := make([]uint16, 0, 13)
	for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := r[0]; i < r[1]; i += 2 {
			part = append(part, binary.LittleEndian.Uint16(b[i:]))
		}
	}
	l.units = append(part, l.units...)
}

// complete is the name, if it belongs to the short one.
func (l *longName) complete(short [11]byte) (string, bool) {
	if l.n == 0 || l.bad || l.left != 0 || checksum(short) != l.sum {
		return "", false
	}
	for i, u := range l.units {
		if u == 0 {
			l.units = l.units[:i]
			break
		}
	}
	return string(utf16.Decode(l.units)), true
}

// checksum ties the parts of a long name to their short one.
func checksum(short [11]byte) byte {
	sum := byte(0)
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// find is the entry of a name, whose case does not matter, nil if there is none.
func (d *dir) find(name string) *entry {
	for _, e := range d.entries {
		if strings.EqualFold(e.name, name) || strings.EqualFold(shortName(append(e.short[:], 0, 0)), name) {
			return e
		}
	}
	return nil
}

// setSlot writes where a file is, and when it was made, to its slot.
func (v *Volume) setSlot(d *dir, e *entry, at time.Time) {
	le := binary.LittleEndian
	b := d.b[e.slot*slotSize:][:slotSize]
	le.PutUint16(b[26:], uint16(e.first))
	le.PutUint16(b[20:], 0) // FAT16 has something else here
	if v.fat.wide {
		le.PutUint16(b[20:], uint16(e.first>>16))
	}
	if e.dir == nil {
		le.PutUint32(b[28:], e.size)
	}
	date, clock := stamp(at)
	le.PutUint16(b[18:], date)
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	d.changed = true
}

// stamp is a time as FAT has it: local time of nobody knows where, from 1980 to 2107, in steps of 2 seconds.
func stamp(t time.Time) (date, clock uint16) {
	if t.Year() < 1980 || t.Year() > 2107 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// Info is about a file or directory.
type Info struct {
	Name string
	Size int64
	Dir  bool
}

// lookup walks to a path with slashes. The root has no entry.
func (v *Volume) lookup(path string) (*dir, *entry, error) {
	d, e := v.root, (*entry)(nil)
	for _, name := range split(path) {
		if d == nil {
			return nil, nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		if e = d.find(name); e == nil {
			return nil, nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		d = e.dir
	}
	return d, e, nil
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// Stat tells about a file or directory. The error wraps [fs.ErrNotExist] where there is none.
func (v *Volume) Stat(path string) (Info, error) {
	_, e, err := v.lookup(path)
	if err != nil || e == nil {
		return Info{Name: "/", Dir: true}, err
	}
	return Info{e.name, int64(e.size), e.dir != nil}, nil
}

// ReadDir lists a directory, in the order of its entries.
func (v *Volume) ReadDir(path string) ([]Info, error) {
	d, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, fmt.Errorf("%s is no directory", path)
	}
	list := make([]Info, 0, len(d.entries))
	for _, e := range d.entries {
		list = append(list, Info{e.name, int64(e.size), e.dir != nil})
	}
	return list, nil
}

// errDir is what reading a directory as a file gives.
var errDir = errors.New("it is a directory")

// Open gives a reader of a file.
func (v *Volume) Open(path string) (*Reader, error) {
	_, e, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	if e == nil || e.dir != nil {
		return nil, fmt.Errorf("%s: %w", path, errDir)
	}
	return &Reader{v: v, chain: e.chain, size: int64(e.size)}, nil
}

// ReadFile reads a file of at most limit bytes.
func (v *Volume) ReadFile(path string, limit int64) ([]byte, error) {
	r, err := v.Open(path)
	if err != nil {
		return nil, err
	}
	if r.size > limit {
		return nil, fmt.Errorf("%s is %d bytes long, more than %d", path, r.size, limit)
	}
	b, err := v.readChain(r.chain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b[:r.size], nil
}

// Label is the volume's name, "" if it has none. It stands in the root directory; the boot sector has a copy.
func (v *Volume) Label() string {
	for slot := 0; slot*slotSize < len(v.root.b); slot++ {
		b := v.root.b[slot*slotSize:][:slotSize]
		if b[0] == 0 {
			break
		}
		if b[0] != 0xe5 && b[11]&0x3f == attrLabel {
			return strings.ToValidUTF8(string(bytes.TrimRight(b[:11], " ")), "?")
		}
	}
	return ""
}
