package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// File is what a file system lies in: an image, or a partition of one. It may also have a Sync method, which is called between the steps of a change.
type File interface {
	io.ReaderAt
	io.WriterAt
}

// Limits of what is read. A boot partition is far below each.
const (
	maxTable   = 64 << 20 // bytes of a file allocation table: 16 million clusters
	maxDir     = 2 << 20  // bytes of a directory: 65,536 entries, the format's own limit
	maxEntries = 1 << 18  // files and directories together
	maxDepth   = 64       // directories in each other
)

// Volume is a file system.
type Volume struct {
	f    File
	fat  *table
	root *dir
	boot []byte // its boot sector

	cluster   int64 // bytes of a cluster
	dataStart int64 // bytes from the start to cluster 2
	rootStart int64 // FAT16: the root directory, which has a fixed place
	rootSize  int64
	infoAt    int64 // FAT32: the FSInfo sector, 0 if there is none
}

// errDamaged is why a file system is not touched.
func errDamaged(format string, args ...any) error {
	return fmt.Errorf("%s; nothing was written; `fsck.fat -a` may mend it", fmt.Sprintf(format, args...))
}

// Open reads the file system in the first size bytes of f, and all of its directories. It writes nothing.
func Open(f File, size int64) (*Volume, error) {
	b := make([]byte, 512)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("reading the boot sector: %w", err)
	}
	v := &Volume{f: f, boot: b}
	if err := v.parse(size); err != nil {
		return nil, err
	}
	if err := v.fat.load(f); err != nil {
		return nil, err
	}
	if err := v.checkAll(); err != nil {
		return nil, err
	}
	return v, nil
}

// parse computes where everything is.
func (v *Volume) parse(size int64) error {
	b, le := v.boot, binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa {
		return errors.New("this is no FAT file system: its first sector does not end in 55 AA")
	}
	if bytes.HasPrefix(b[3:], []byte("EXFAT   ")) || bytes.HasPrefix(b[3:], []byte("NTFS    ")) {
		return fmt.Errorf("this is %s, not FAT; Raspberry Pi's firmware reads only FAT, so make the partition anew as FAT32", bytes.TrimSpace(b[3:11]))
	}
	sector := int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	reserved := int64(le.Uint16(b[14:]))
	fats := int(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	total := int64(le.Uint16(b[19:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	fatSectors := int64(le.Uint16(b[22:]))
	if fatSectors == 0 {
		fatSectors = int64(le.Uint32(b[36:]))
	}
	switch {
	case sector < 512 || sector > 4096 || sector&(sector-1) != 0:
		return fmt.Errorf("this is no FAT file system: sectors of %d bytes (offset 11)", sector)
	case perCluster == 0 || perCluster&(perCluster-1) != 0:
		return fmt.Errorf("this is no FAT file system: clusters of %d sectors (offset 13)", perCluster)
	case reserved == 0 || fats == 0 || fats > 4 || fatSectors == 0:
		return fmt.Errorf("this is no FAT file system: %d reserved sectors, %d tables of %d sectors (offsets 14, 16, 22)", reserved, fats, fatSectors)
	case total*sector > size:
		return fmt.Errorf("the file system is %d bytes long, and its partition only %d", total*sector, size)
	case fatSectors*sector > maxTable:
		return fmt.Errorf("the table of the file system is %d bytes long, more than the %d that are read", fatSectors*sector, maxTable)
	}
	v.cluster = sector * perCluster
	v.rootStart = (reserved + int64(fats)*fatSectors) * sector
	rootSectors := (rootEntries*32 + sector - 1) / sector
	v.rootSize = rootEntries * 32
	v.dataStart = v.rootStart + rootSectors*sector
	clusters := (total*sector - v.dataStart) / v.cluster
	if total*sector <= v.dataStart || clusters < 1 {
		return errors.New("this is no FAT file system: there is no room for data in it")
	}
	v.fat = &table{at: reserved * sector, copies: fats, size: fatSectors * sector, clusters: uint32(clusters), wide: true}
	switch { // the number of clusters alone says which FAT it is
	case clusters < 4085:
		return fmt.Errorf("this is FAT12 (%d clusters), which is not written; make the partition larger", clusters)
	case clusters < 65525:
		v.fat.wide = false
		if rootEntries == 0 {
			return errors.New("a FAT16 without a root directory (offset 17)")
		}
	case rootEntries != 0 || le.Uint16(b[22:]) != 0:
		return fmt.Errorf("a FAT32 (%d clusters) with the root directory or the table of a FAT16 (offsets 17, 22)", clusters)
	}
	state := b[37]
	if v.fat.wide {
		state = b[65]
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 {
			return errors.New("only one of the tables is in use (offset 40), which is not written")
		}
		if version := le.Uint16(b[42:]); version != 0 {
			return fmt.Errorf("FAT32 of version %d.%d (offset 42) is not known", version>>8, version&0xff)
		}
		if info := int64(le.Uint16(b[48:])); info != 0 && info != 0xffff && info < reserved {
			v.infoAt = info * sector
		}
		v.rootStart, v.rootSize = 0, 0
	}
	if int64(v.fat.entries())*v.fat.width() > v.fat.size {
		return fmt.Errorf("the table has %d bytes, too few for %d clusters", v.fat.size, clusters)
	}
	if state&1 != 0 { // set by Linux while it is mounted
		return errDamaged("the file system was not unmounted")
	}
	return nil
}

// Bits is 16 or 32.
func (v *Volume) Bits() int { return int(v.fat.width()) * 8 }

// Free is the number of bytes in free clusters.
func (v *Volume) Free() int64 { return int64(v.fat.free()) * v.cluster }

// Unused calls fn with runs of bytes, ascending, that belong to no file: their content means nothing.
func (v *Volume) Unused(fn func(start, end int64)) {
	start := uint32(0)
	for c := uint32(2); c <= v.fat.entries(); c++ {
		isFree := c < v.fat.entries() && v.fat.get(c) == entryFree
		switch {
		case isFree && start == 0:
			start = c
		case !isFree && start != 0:
			fn(v.offset(start), v.offset(c))
			start = 0
		}
	}
}

// ClusterSize is the number of bytes in a cluster: files take whole ones.
func (v *Volume) ClusterSize() int64 { return v.cluster }

// offset is where a cluster is.
func (v *Volume) offset(c uint32) int64 { return v.dataStart + int64(c-2)*v.cluster }

// readChain reads what is in the clusters of a chain.
func (v *Volume) readChain(chain []uint32) ([]byte, error) {
	b := make([]byte, int64(len(chain))*v.cluster)
	for i, c := range chain {
		if _, err := v.f.ReadAt(b[int64(i)*v.cluster:][:v.cluster], v.offset(c)); err != nil {
			return nil, fmt.Errorf("reading cluster %d at byte %d: %w", c, v.offset(c), err)
		}
	}
	return b, nil
}

// sync makes what was written durable.
func (v *Volume) sync() error {
	if s, ok := v.f.(interface{ Sync() error }); ok {
		return s.Sync()
	}
	return nil
}
