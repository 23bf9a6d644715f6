package neon

import (
	"fmt"
	"testing"
)

// withPrefetch restores the distance when the test ends.
func withPrefetch(t *testing.T) {
	before, _ := Prefetch()
	t.Cleanup(func() { SetPrefetch(before) })
}

func TestSetPrefetch(t *testing.T) {
	withPrefetch(t)
	if n, _ := Prefetch(); n != DefaultPrefetch {
		t.Errorf("the distance is %d at the start", n)
	}
	for _, tt := range []struct{ set, want int }{{0, 0}, {256, 256}, {-1, 0}, {MaxPrefetch, MaxPrefetch}, {MaxPrefetch + 1, MaxPrefetch}, {1 << 62, MaxPrefetch}} {
		SetPrefetch(tt.set)
		if n, _ := Prefetch(); n != tt.want {
			t.Errorf("%d sets %d, want %d", tt.set, n, tt.want)
		}
	}
}

func TestPrefetch(t *testing.T) {
	withPrefetch(t)
	eachKernel(t, func(t *testing.T) {
		if _, taken := Prefetch(); taken != (chosen == "neon") {
			t.Errorf("the distance is taken: %v", taken)
		}
		// The hashes hold the results; the guard pages, that asking for lines behind the end of memory is no access to it.
		for _, bytes := range []int{0, 64, 1000, 4096, MaxPrefetch} {
			SetPrefetch(bytes)
			t.Run(fmt.Sprint(bytes), func(t *testing.T) {
				if got := hashWorkloads(); got != everyKernel {
					t.Errorf("results hash to %s, want %s", got, everyKernel)
				}
				testGuardPages(t)
			})
		}
	})
}
