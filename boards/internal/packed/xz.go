package packed

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Limits of an .xz file. `xz -9` needs 64 MiB to unpack.
const (
	maxDict  = 256 << 20 // bytes of a dictionary, which is all memory that unpacking takes
	maxIndex = 16 << 20  // bytes
)

// checkDict refuses a dictionary that takes too much memory. Sources: The .xz File Format 1.1.0, sections 3.1 and 5.3.1.
func checkDict(r io.ReaderAt) error {
	head := make([]byte, 64)
	n, err := r.ReadAt(head, 12)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	if len(head) < 2 || head[0] == 0 {
		return nil // no block, or too short: unpacking says it
	}
	flags, rest := head[1], head[2:]
	for _, bit := range []byte{0x40, 0x80} { // the sizes, which need not be there
		if flags&bit != 0 {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return nil
			}
			rest = rest[n:]
		}
	}
	if flags&3 != 0 || len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 { // not LZMA2 alone
		return nil
	}
	bits := uint(rest[2] & 0x3f)
	if size := int64(2|bits&1) << (bits/2 + 11); bits > 40 || size > maxDict {
		return fmt.Errorf("unpacking it takes a dictionary of %s, more than %s: unpack it with `xz -d` first", mega(size), mega(maxDict))
	}
	return nil
}

// xzSize reads the unpacked size of a file of one stream from its index.
func xzSize(r io.ReaderAt, size int64) (int64, bool) {
	foot := make([]byte, 12)
	if size < 32 {
		return 0, false
	}
	if _, err := r.ReadAt(foot, size-12); err != nil || string(foot[10:]) != "YZ" {
		return 0, false
	}
	n := (int64(binary.LittleEndian.Uint32(foot[4:])) + 1) * 4
	if n > maxIndex || n > size-24 {
		return 0, false
	}
	index := make([]byte, n)
	if _, err := r.ReadAt(index, size-12-n); err != nil || index[0] != 0 {
		return 0, false
	}
	next, bad := index[1:], false
	number := func() int64 { // in groups of 7 bits, as encoding/binary has them
		v, k := binary.Uvarint(next)
		if k <= 0 || v >= 1<<62 {
			bad = true
			return 0
		}
		next = next[k:]
		return int64(v)
	}
	blocks, packed, full := number(), int64(0), int64(0)
	for range blocks {
		packed += (number() + 3) / 4 * 4
		full += number()
		if bad || packed > size || full < 0 || full > 1<<48 {
			return 0, false
		}
	}
	return full, !bad && 12+packed+n+12 == size // else there is more than one stream
}

func mega(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
