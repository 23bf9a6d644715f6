package bench

import (
	"math"
	"testing"

	"bimamba/internal/testmodel"
)

func TestRate(t *testing.T) {
	for _, c := range []struct {
		runs []float64
		want Rate
	}{
		{[]float64{5}, Rate{7, 5, 5, 5}},
		{[]float64{9, 2, 4}, Rate{7, 4, 2, 9}},
		{[]float64{8, 2, 4, 5}, Rate{7, 4.5, 2, 8}},
	} {
		if got := rate(7, c.runs); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.runs, got, c.want)
		}
	}
}

// TestRivals scales by the bandwidth, and knows nothing of other sizes and threads.
func TestRivals(t *testing.T) {
	got := Rivals("780M", 1, 20.4e9)
	if len(got) == 0 || got[0].Decode != 27.9 || math.Abs(got[0].Scaled-27.9/2) > 1e-9 {
		t.Errorf("at half the bandwidth: %+v", got)
	}
	if a, b := Rivals("1.3B", 1, 1e9), Rivals("780M", 3, 1e9); len(a)+len(b) != 0 {
		t.Errorf("%+v, %+v", a, b)
	}
}

// TestMACs counts those of the default model by hand.
func TestMACs(t *testing.T) {
	m := testmodel.Default(t).Manifest()
	const layers, dModel, dInProj, dInner, vocab = 12, 512, 2*1024 + 2*64 + 16, 1024, 4096
	if got, want := macs(m), uint64(layers*(dModel*dInProj+dInner*dModel)+vocab*dModel); got != want {
		t.Errorf("%d, want %d", got, want)
	}
	if h := head(m); h != "i8" {
		t.Errorf("the head is %q", h)
	}
}
