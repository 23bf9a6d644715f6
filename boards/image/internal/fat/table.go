package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// table is the file allocation table: for each cluster the next one of its file.
type table struct {
	at       int64 // of the first copy, in bytes
	size     int64 // of a copy, in bytes
	copies   int
	clusters uint32
	wide     bool // FAT32
	b        []byte
	disk     []byte // what is on the disk
	next     uint32 // where the search for free clusters goes on
}

// Values of entries, as FAT32 has them; FAT16's are their low 16 bits.
const (
	entryFree = 0
	entryBad  = 0x0ffffff7
	entryEnd  = 0x0fffffff // all from 0x0ffffff8 on end a chain
	minEnd    = 0x0ffffff8
)

func (t *table) entries() uint32 { return t.clusters + 2 } // clusters are numbered from 2

func (t *table) width() int64 {
	if t.wide {
		return 4
	}
	return 2
}

func (t *table) load(f File) error {
	t.disk = make([]byte, t.size)
	if _, err := f.ReadAt(t.disk, t.at); err != nil {
		return fmt.Errorf("reading the file allocation table: %w", err)
	}
	other := make([]byte, t.size)
	used := int64(t.entries()) * t.width()
	for i := 1; i < t.copies; i++ {
		if _, err := f.ReadAt(other, t.at+int64(i)*t.size); err != nil {
			return fmt.Errorf("reading the file allocation table: %w", err)
		}
		if !bytes.Equal(other[:used], t.disk[:used]) {
			return errDamaged("the copies of the file allocation table differ")
		}
	}
	t.b = bytes.Clone(t.disk)
	if !t.clean() {
		return errDamaged("the file system was not unmounted, or had errors when it was read")
	}
	t.next = 2
	return nil
}

// get is the entry of a cluster, with FAT16's marks as FAT32's.
func (t *table) get(c uint32) uint32 {
	if t.wide {
		return binary.LittleEndian.Uint32(t.b[4*c:]) & 0x0fffffff
	}
	e := uint32(binary.LittleEndian.Uint16(t.b[2*c:]))
	if e >= 0xfff7 {
		e |= 0x0fff0000
	}
	return e
}

// set changes the entry of a cluster. The upper 4 bits of FAT32 are not ours.
func (t *table) set(c, e uint32) {
	if t.wide {
		old := binary.LittleEndian.Uint32(t.b[4*c:])
		binary.LittleEndian.PutUint32(t.b[4*c:], old&0xf0000000|e&0x0fffffff)
		return
	}
	binary.LittleEndian.PutUint16(t.b[2*c:], uint16(e))
}

// Bits in the entry of cluster 1: that it was unmounted, and that no error was met when it was last in use.
func (t *table) cleanBits() (unmounted, noErrors uint32) {
	if t.wide {
		return 0x08000000, 0x04000000
	}
	return 0x8000, 0x4000
}

func (t *table) clean() bool {
	unmounted, noErrors := t.cleanBits()
	return t.get(1)&(unmounted|noErrors) == unmounted|noErrors
}

// setClean sets the bit of the unmounting.
func (t *table) setClean(clean bool) {
	bit, _ := t.cleanBits()
	e := t.get(1) &^ bit
	if clean {
		e |= bit
	}
	t.set(1, e)
}

func (t *table) free() uint32 {
	n := uint32(0)
	for c := uint32(2); c < t.entries(); c++ {
		if t.get(c) == entryFree {
			n++
		}
	}
	return n
}

// errChain is what is wrong with a chain of clusters.
var errChain = errors.New("it leaves the file system, loops, or meets another file")

// chain is the clusters of a file that starts with cluster c. Each of them is marked in used, and must not have been.
func (t *table) chain(c uint32, used []bool) ([]uint32, error) {
	var chain []uint32
	for c < minEnd {
		if c < 2 || c >= t.entries() || used[c] {
			return nil, fmt.Errorf("its cluster %d is %d: %w", len(chain)+1, c, errChain)
		}
		used[c] = true
		chain = append(chain, c)
		c = t.get(c)
	}
	return chain, nil
}

// alloc takes n free clusters, which are linked to a chain. There are as many: the caller has counted.
func (t *table) alloc(n int) []uint32 {
	chain := make([]uint32, 0, n)
	for c, seen := t.next, uint32(0); len(chain) < n; c++ {
		if seen++; seen > t.entries() {
			panic("fat: clusters were not counted") // a fault of this package
		}
		if c < 2 || c >= t.entries() {
			c = 2
		}
		// What the disk has in use stays until nothing refers to it.
		if t.get(c) == entryFree && t.onDisk(c) == entryFree {
			chain = append(chain, c)
			t.set(c, entryEnd)
			if k := len(chain); k > 1 {
				t.set(chain[k-2], c)
			}
			t.next = c + 1
		}
	}
	return chain
}

// onDisk is the entry of a cluster before any change.
func (t *table) onDisk(c uint32) uint32 {
	if t.wide {
		return binary.LittleEndian.Uint32(t.disk[4*c:]) & 0x0fffffff
	}
	return uint32(binary.LittleEndian.Uint16(t.disk[2*c:]))
}

// write writes the sectors of every copy in which b and the disk differ.
func (t *table) write(f File, b []byte) error {
	const step = 512
	for i := range t.copies {
		for at := 0; at < len(b); at += step {
			end := min(at+step, len(b))
			if bytes.Equal(b[at:end], t.disk[at:end]) {
				continue
			}
			if _, err := f.WriteAt(b[at:end], t.at+int64(i)*t.size+int64(at)); err != nil {
				return fmt.Errorf("writing the file allocation table: %w", err)
			}
		}
	}
	copy(t.disk, b)
	return nil
}
