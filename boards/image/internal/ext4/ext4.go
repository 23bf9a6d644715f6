package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Features that change where things are (s_feature_incompat).
const (
	hasFileType  = 0x2 // entries of directories say what they name
	hasRecover   = 0x4 // the journal has to be replayed
	hasExtents   = 0x40
	has64bit     = 0x80
	hasMMP       = 0x100
	hasFlexBG    = 0x200
	hasEAInode   = 0x400
	hasCsumSeed  = 0x2000
	hasLargeDir  = 0x4000
	hasInline    = 0x8000
	hasCasefold  = 0x20000
	knownFeature = hasFileType | hasExtents | has64bit | hasMMP | hasFlexBG | hasEAInode | hasCsumSeed | hasLargeDir | hasInline | hasCasefold
)

const superblock = 1024 // its offset in bytes

var le = binary.LittleEndian

// FS is a file system.
type FS struct {
	r             io.ReaderAt
	block         int64
	inodes        uint32
	perGroup      uint32 // inodes
	inodeSize     int64
	descAt        int64 // of the group descriptors
	descSize      int64
	blocks        uint64
	inodeTableTop bool // descriptors have the upper half of 64 bits
}

// Is tells whether r starts with a file system of this kind.
func Is(r io.ReaderAt) bool {
	var magic [2]byte
	_, err := r.ReadAt(magic[:], superblock+56)
	return err == nil && le.Uint16(magic[:]) == 0xef53
}

// Open reads the superblock of the file system in the first size bytes of r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, 1024)
	if _, err := r.ReadAt(b, superblock); err != nil {
		return nil, fmt.Errorf("reading the superblock: %w", err)
	}
	if le.Uint16(b[56:]) != 0xef53 {
		return nil, errors.New("this is no ext4 file system: the superblock has not its mark")
	}
	log := le.Uint32(b[24:])
	if log > 6 {
		return nil, fmt.Errorf("blocks of 2^%d KiB are not known", log)
	}
	f := &FS{r: r, block: 1024 << log, inodes: le.Uint32(b), perGroup: le.Uint32(b[40:]), inodeSize: 128, descSize: 32, blocks: uint64(le.Uint32(b[4:]))}
	features := le.Uint32(b[96:])
	switch {
	case features&hasRecover != 0:
		return nil, errors.New("the file system was not unmounted, and its journal is not replayed: run `e2fsck -p` on it, or take a fresh image")
	case features&^knownFeature != 0:
		return nil, fmt.Errorf("the file system has features that are not known (%#x)", features&^knownFeature)
	}
	if le.Uint32(b[76:]) > 0 { // not the very first revision
		f.inodeSize = int64(le.Uint16(b[88:]))
	}
	if features&has64bit != 0 {
		f.descSize, f.inodeTableTop = int64(le.Uint16(b[254:])), true
		f.blocks |= uint64(le.Uint32(b[336:])) << 32
		if f.descSize < 64 {
			return nil, fmt.Errorf("group descriptors of %d bytes in a file system of 64 bits", f.descSize)
		}
	}
	first := int64(le.Uint32(b[20:]))
	switch {
	case f.inodeSize < 128 || f.inodeSize > f.block || f.inodeSize&(f.inodeSize-1) != 0:
		return nil, fmt.Errorf("inodes of %d bytes", f.inodeSize)
	case f.descSize > f.block || f.perGroup == 0 || f.inodes == 0:
		return nil, fmt.Errorf("group descriptors of %d bytes, %d inodes in a group of %d", f.descSize, f.perGroup, f.inodes)
	case first > 1:
		return nil, fmt.Errorf("the first block is %d", first)
	case f.blocks > uint64(size/f.block):
		return nil, fmt.Errorf("the file system has %d blocks of %d bytes, more than the %d bytes of its partition", f.blocks, f.block, size)
	}
	f.descAt = (first + 1) * f.block
	return f, nil
}

// inode is a file, directory or link.
type inode struct {
	mode  uint16
	flags uint32
	size  int64
	where [60]byte // blocks, or a short link's target
}

const (
	flagExtents = 0x80000
	flagInline  = 0x10000000
	flagEncrypt = 0x800

	typeMask = 0xf000
	typeDir  = 0x4000
	typeFile = 0x8000
	typeLink = 0xa000
)

const rootInode = 2

func (f *FS) inode(n uint32) (*inode, error) {
	if n == 0 || n > f.inodes {
		return nil, fmt.Errorf("there is no inode %d", n)
	}
	group, index := (n-1)/f.perGroup, (n-1)%f.perGroup
	desc := make([]byte, f.descSize)
	if _, err := f.r.ReadAt(desc, f.descAt+int64(group)*f.descSize); err != nil {
		return nil, fmt.Errorf("reading group descriptor %d: %w", group, err)
	}
	table := uint64(le.Uint32(desc[8:]))
	if f.inodeTableTop {
		table |= uint64(le.Uint32(desc[40:])) << 32
	}
	if table == 0 || table >= f.blocks {
		return nil, fmt.Errorf("group descriptor %d has its inodes in block %d of %d", group, table, f.blocks)
	}
	b := make([]byte, 128)
	if _, err := f.r.ReadAt(b, int64(table)*f.block+int64(index)*f.inodeSize); err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", n, err)
	}
	i := &inode{mode: le.Uint16(b), flags: le.Uint32(b[32:]), where: [60]byte(b[40:100])}
	size := uint64(le.Uint32(b[4:])) | uint64(le.Uint32(b[108:]))<<32
	if size >= 1<<56 {
		return nil, fmt.Errorf("inode %d is said to be %d bytes long", n, size)
	}
	i.size = int64(size)
	return i, nil
}

// content reads a whole file of at most limit bytes.
func (f *FS) content(i *inode, limit int64) ([]byte, error) {
	switch {
	case i.size > limit:
		return nil, fmt.Errorf("it is %d bytes long, more than %d", i.size, limit)
	case i.flags&flagEncrypt != 0:
		return nil, errors.New("it is encrypted")
	case i.flags&flagInline != 0:
		return nil, errors.New("its content lies in its inode, which is not read")
	}
	out := make([]byte, i.size)
	for n := int64(0); n*f.block < i.size; n++ {
		at, err := f.lookup(i, uint64(n))
		if err != nil {
			return nil, err
		}
		if at == 0 { // a hole
			continue
		}
		part := out[n*f.block : min((n+1)*f.block, i.size)]
		if _, err := f.r.ReadAt(part, int64(at)*f.block); err != nil {
			return nil, fmt.Errorf("reading block %d: %w", at, err)
		}
	}
	return out, nil
}

// lookup is the block that has block n of a file, 0 for a hole.
func (f *FS) lookup(i *inode, n uint64) (uint64, error) {
	var at uint64
	var err error
	if i.flags&flagExtents != 0 {
		at, err = f.extent(i.where[:], n)
	} else {
		at, err = f.mapped(i, n)
	}
	if err == nil && at >= f.blocks {
		err = fmt.Errorf("block %d of %d", at, f.blocks)
	}
	return at, err
}

// extent walks the tree of extents. A node has a depth, which becomes less at each step.
func (f *FS) extent(node []byte, n uint64) (uint64, error) {
	for depth := -1; ; {
		count, d := int(le.Uint16(node[2:])), int(le.Uint16(node[6:]))
		if le.Uint16(node) != 0xf30a || d > 5 || depth >= 0 && d != depth-1 || 12+12*count > len(node) {
			return 0, fmt.Errorf("a node of the tree of extents has mark %04x, depth %d, and %d entries", le.Uint16(node), d, count)
		}
		depth = d
		var best []byte // the last entry that starts at or before n
		for k := range count {
			e := node[12+12*k:][:12]
			if uint64(le.Uint32(e)) > n {
				break
			}
			best = e
		}
		if best == nil {
			return 0, nil
		}
		if depth == 0 {
			length, start := uint64(le.Uint16(best[4:])), uint64(le.Uint32(best[8:]))|uint64(le.Uint16(best[6:]))<<32
			unwritten := length > 1<<15
			if unwritten {
				length -= 1 << 15
			}
			if skip := n - uint64(le.Uint32(best)); skip < length && !unwritten {
				return start + skip, nil
			}
			return 0, nil
		}
		next := uint64(le.Uint32(best[4:])) | uint64(le.Uint16(best[8:]))<<32
		if next == 0 || next >= f.blocks {
			return 0, fmt.Errorf("a node of the tree of extents is said to be in block %d of %d", next, f.blocks)
		}
		node = make([]byte, f.block)
		if _, err := f.r.ReadAt(node, int64(next)*f.block); err != nil {
			return 0, fmt.Errorf("reading block %d: %w", next, err)
		}
	}
}

// mapped walks the block map: 12 blocks, then those of one, two and three blocks of numbers.
func (f *FS) mapped(i *inode, n uint64) (uint64, error) {
	if n < 12 {
		return uint64(le.Uint32(i.where[4*n:])), nil
	}
	n -= 12
	per := uint64(f.block / 4)
	span := per
	for level := 1; level <= 3; level++ {
		if n >= span {
			n -= span
			span *= per
			continue
		}
		at := uint64(le.Uint32(i.where[4*(11+level):]))
		for ; level > 0 && at != 0; level-- {
			span /= per
			var b [4]byte
			if at >= f.blocks {
				return 0, fmt.Errorf("block %d of %d", at, f.blocks)
			}
			if _, err := f.r.ReadAt(b[:], int64(at)*f.block+4*int64(n/span)); err != nil {
				return 0, fmt.Errorf("reading block %d: %w", at, err)
			}
			n %= span
			at = uint64(le.Uint32(b[:]))
		}
		return at, nil
	}
	return 0, errors.New("it is longer than its block map")
}
