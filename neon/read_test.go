package neon

import (
	"encoding/binary"
	"testing"
)

func TestRead(t *testing.T) { eachKernel(t, testRead) }

func testRead(t *testing.T) {
	n := noise(17)
	for _, count := range []int{0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 511, 512, 513, 4096, 10000} {
		for _, front := range []bool{false, true} {
			b := guardedBytes(t, &n, count, front)
			var want uint64
			for i, v := range b {
				want ^= uint64(v) << (i % 8 * 8)
			}
			if got := Read(b); got != want {
				t.Errorf("%d bytes: %#x, want %#x", count, got, want)
			}
		}
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], 5)
	binary.LittleEndian.PutUint64(b[8:], 6)
	if got := Read(b[:]); got != 3 {
		t.Errorf("5 and 6 give %d", got)
	}
}
