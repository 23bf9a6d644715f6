package ext4

import (
	"fmt"
	"io"
	"math/bits"
)

const (
	roBigalloc   = 0x200 // s_feature_ro_compat: the bitmaps are of clusters of blocks
	blocksUninit = 0x2   // bg_flags: the bitmap is not on the disk
)

// Unused calls fn with runs of bytes, ascending, in which no file and no table lies: their content means nothing. What is not known for sure is left out, such as a group
// whose bitmap has not as many free blocks as its descriptor says.
func (f *FS) Unused(fn func(start, end int64)) error {
	super := make([]byte, 1024)
	if _, err := f.r.ReadAt(super, superblock); err != nil {
		return fmt.Errorf("reading the superblock: %w", err)
	}
	first, perGroup := uint64(le.Uint32(super[20:])), uint64(le.Uint32(super[32:]))
	if le.Uint32(super[100:])&roBigalloc != 0 || perGroup == 0 || perGroup > uint64(8*f.block) || f.blocks <= first {
		return nil
	}
	desc, bitmap := make([]byte, f.descSize), make([]byte, f.block)
	for group, at := int64(0), first; at < f.blocks; group, at = group+1, at+perGroup {
		if _, err := f.r.ReadAt(desc, f.descAt+group*f.descSize); err != nil {
			return fmt.Errorf("reading group descriptor %d: %w", group, err)
		}
		where, free := uint64(le.Uint32(desc)), int(le.Uint16(desc[12:]))
		if f.inodeTableTop {
			where |= uint64(le.Uint32(desc[32:])) << 32
			free |= int(le.Uint16(desc[44:])) << 16
		}
		n := int(min(perGroup, f.blocks-at))
		if le.Uint16(desc[18:])&blocksUninit != 0 {
			if free == n { // else there are copies of tables in it
				fn(int64(at)*f.block, int64(at+uint64(n))*f.block)
			}
			continue
		}
		if where == 0 || where >= f.blocks {
			continue
		}
		if _, err := f.r.ReadAt(bitmap, int64(where)*f.block); err != nil && err != io.EOF {
			return fmt.Errorf("reading the bitmap of group %d: %w", group, err)
		}
		if zeroBits(bitmap, n) != free {
			continue
		}
		start := -1
		for i := range n + 1 {
			isFree := i < n && bitmap[i/8]>>(i%8)&1 == 0
			switch {
			case isFree && start < 0:
				start = i
			case !isFree && start >= 0:
				fn(int64(at+uint64(start))*f.block, int64(at+uint64(i))*f.block)
				start = -1
			}
		}
	}
	return nil
}

// zeroBits counts the zeros of the first n bits.
func zeroBits(b []byte, n int) int {
	ones := 0
	for _, x := range b[:n/8] {
		ones += bits.OnesCount8(x)
	}
	if n%8 != 0 {
		ones += bits.OnesCount8(b[n/8] & (1<<(n%8) - 1))
	}
	return n - ones
}
