package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// The table of a GPT has 128 entries of 128 bytes wherever one is made; more than this is refused.
const maxEntries = 1 << 20 // bytes

func readGPT(r io.ReaderAt, size int64) (*Table, error) {
	h := make([]byte, Sector)
	if _, err := r.ReadAt(h, Sector); err != nil {
		return nil, fmt.Errorf("GPT: reading its header in sector 1: %w", err)
	}
	le := binary.LittleEndian
	if string(h[:8]) != "EFI PART" {
		return nil, fmt.Errorf("GPT: sector 1 starts with %q, not \"EFI PART\"", h[:8])
	}
	headerSize, sum := le.Uint32(h[12:]), le.Uint32(h[16:])
	if headerSize < 92 || headerSize > Sector {
		return nil, fmt.Errorf("GPT: the header is said to be %d bytes long, not 92 to %d", headerSize, Sector)
	}
	clear(h[16:20]) // the sum is over the header with zeros in its own place
	if got := crc32.ChecksumIEEE(h[:headerSize]); got != sum {
		return nil, fmt.Errorf("GPT: the header's sum is %08x, not %08x as it says: it is damaged; `sgdisk --verify` says more", got, sum)
	}
	if lba := le.Uint64(h[24:]); lba != 1 {
		return nil, fmt.Errorf("GPT: the header in sector 1 says that it is in sector %d", lba)
	}
	first, n, entry := le.Uint64(h[72:]), le.Uint32(h[80:]), le.Uint32(h[84:])
	if entry < 128 || entry%8 != 0 || entry > 4096 || n == 0 || uint64(n)*uint64(entry) > maxEntries {
		return nil, fmt.Errorf("GPT: %d entries of %d bytes are no table", n, entry)
	}
	if first < 2 || first >= uint64(size)/Sector {
		return nil, fmt.Errorf("GPT: the entries are said to be in sector %d of %d", first, size/Sector)
	}
	table := make([]byte, int(n)*int(entry))
	if _, err := r.ReadAt(table, int64(first)*Sector); err != nil {
		return nil, fmt.Errorf("GPT: reading the entries in sector %d: %w", first, err)
	}
	if got, want := crc32.ChecksumIEEE(table), le.Uint32(h[88:]); got != want {
		return nil, fmt.Errorf("GPT: the sum of the entries is %08x, not %08x as the header says: they are damaged; `sgdisk --verify` says more", got, want)
	}
	t := &Table{Kind: GPT}
	for i := range int(n) {
		e := table[i*int(entry):][:128]
		kind := guid(e[:16])
		if kind == "00000000-0000-0000-0000-000000000000" {
			continue
		}
		start, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if start < 2 || last < start || last >= 1<<54 {
			return nil, fmt.Errorf("GPT: partition %d is said to be in sectors %d to %d", i+1, start, last)
		}
		t.Partitions = append(t.Partitions, Partition{i + 1, int64(start) * Sector, int64(last-start+1) * Sector, kind, name(e[56:128])})
	}
	return t, t.check(size)
}

// guid writes a GUID, whose first three numbers are in little-endian order.
func guid(b []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}

func name(b []byte) string {
	var u []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return strings.ToValidUTF8(string(utf16.Decode(u)), "?")
}
