package disk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Sector is the size of a sector in bytes. Cards and their images have no other.
const Sector = 512

// Kind is the kind of a partition table.
type Kind string

// The kinds that are read.
const (
	MBR Kind = "mbr"
	GPT Kind = "gpt"
)

// Partition is one entry of a table.
type Partition struct {
	Number int    // from 1, as the kernel counts
	Start  int64  // bytes from the start of the disk
	Size   int64  // bytes
	Type   string // MBR: two hexadecimal digits; GPT: a GUID in lower case
	Name   string // GPT only
}

// Table is a partition table.
type Table struct {
	Kind       Kind
	Partitions []Partition // in the order of their numbers, empty entries left out
}

// Read reads the table of a disk of size bytes. Errors name the field and its offset.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	if size < 2*Sector {
		return nil, fmt.Errorf("%d bytes are too few for a disk image", size)
	}
	var b [Sector]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("reading the first sector: %w", err)
	}
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil, errors.New("there is no partition table: the first sector does not end in 55 AA; is this the image of a whole card?")
	}
	for i := range 4 {
		if b[446+16*i+4] == 0xee { // the entry that keeps old programs off a disk with GPT
			return readGPT(r, size)
		}
	}
	t, err := readMBR(&b, size)
	if err != nil {
		return nil, err
	}
	return t, t.check(size)
}

func readMBR(b *[Sector]byte, size int64) (*Table, error) {
	t := &Table{Kind: MBR}
	for i := range 4 {
		e := b[446+16*i:][:16]
		switch {
		case e[4] == 0:
			continue
		case e[0]&0x7f != 0: // a boot sector of a file system has code or text here
			return nil, fmt.Errorf("partition %d: the flag at offset %d is %#02x, neither 0 nor 0x80: this is no partition table", i+1, 446+16*i, e[0])
		case e[4] == 0x05 || e[4] == 0x0f || e[4] == 0x85:
			return nil, fmt.Errorf("partition %d is an extended one (type %#02x, a NOOBS card?): use an image with primary partitions only", i+1, e[4])
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: i + 1,
			Start:  int64(binary.LittleEndian.Uint32(e[8:])) * Sector,
			Size:   int64(binary.LittleEndian.Uint32(e[12:])) * Sector,
			Type:   fmt.Sprintf("%02x", e[4]),
		})
	}
	return t, nil
}

// check refuses partitions that lie outside the disk or in each other.
func (t *Table) check(size int64) error {
	if len(t.Partitions) == 0 {
		return errors.New("the partition table is empty")
	}
	sorted := slices.SortedFunc(slices.Values(t.Partitions), func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	end, before := int64(Sector), 0
	for _, p := range sorted {
		switch {
		case p.Size <= 0:
			return fmt.Errorf("partition %d is empty", p.Number)
		case p.Start < end && before == 0:
			return fmt.Errorf("partition %d starts at byte %d, inside the partition table", p.Number, p.Start)
		case p.Start < end:
			return fmt.Errorf("partitions %d and %d overlap", before, p.Number)
		case p.Size > size-p.Start:
			return fmt.Errorf("partition %d ends at byte %d, and the disk has only %d: the image is cut short, copy or unpack it again", p.Number, p.Start+p.Size, size)
		}
		end, before = p.Start+p.Size, p.Number
	}
	return nil
}
