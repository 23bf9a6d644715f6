package neon

import "encoding/binary"

// Read is the exclusive or of b in 8-byte little-endian words, the last one filled up with zeros. It reads b once, from front to back, and does as
// little else as it can: what it takes is what reading memory takes.
func Read(b []byte) uint64 {
	x, n := asmRead(b)
	for b = b[n:]; len(b) >= 8; b = b[8:] {
		x ^= binary.LittleEndian.Uint64(b)
	}
	var rest [8]byte
	copy(rest[:], b)
	return x ^ binary.LittleEndian.Uint64(rest[:])
}
