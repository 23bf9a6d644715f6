//go:build amd64 && !purego && !noasm

package neon

import "testing"

// TestWithoutVNNI tests the forms of the 8-bit and 4-bit kernels that a CPU with VNNI does not choose.
func TestWithoutVNNI(t *testing.T) {
	before := chosen
	defer use(before)
	use(Kernels()[len(Kernels())-1])
	if !active.vnni {
		t.Skip("this CPU has no VNNI: the other tests have these forms")
	}
	active.vnni = false
	t.Run("I8MatVec", testI8MatVec)
	t.Run("Q14Long", testQ14Long)
	t.Run("I4MatVec", testI4MatVec)
	t.Run("GuardPages", testGuardPages)
	t.Run("Alignments", testAlignments)
	t.Run("Hashes", testHashes)
	t.Run("Allocations", testAllocations)
}
