package detect

import (
	"context"
	"errors"
	"math"
	"testing"
)

func TestSaturating(t *testing.T) {
	for _, tt := range []struct {
		rates []float64
		want  int
	}{{[]float64{5}, 1}, {[]float64{2, 3.9, 4, 4}, 2}, {[]float64{2, 2.1, 4}, 1}, {[]float64{1, 2, 3, 4}, 4}} {
		var read []ReadRate
		for i, r := range tt.rates {
			read = append(read, ReadRate{Threads: i + 1, Rate: r})
		}
		if got := saturating(read); got != tt.want {
			t.Errorf("%v: %d threads, want %d", tt.rates, got, tt.want)
		}
	}
}

func TestSteady(t *testing.T) {
	calm := []ReadRate{{1, 10, 9.5, 10.2}, {2, 19, 18, 20}}
	if !steady(calm) || steady(append(calm, ReadRate{3, 19, 10, 20})) {
		t.Error("steady does not tell a disturbed measurement")
	}
}

func TestOverlap(t *testing.T) {
	// Reading a weight takes 1 s and computing it 3: 3 together if one hides behind the other, 4 if not.
	for _, tt := range []struct{ both, want float64 }{{3, 1}, {4, 0}, {3.25, 0.75}, {5, 0}, {2.5, 1}} {
		if got := overlap(0.125, 1/3.0, 1/tt.both); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%v s: %v, want %v", tt.both, got, tt.want)
		}
	}
}

func TestTuneStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	steps := 0
	tuning, err := Tune(ctx, &Board{}, func(done, total int) {
		if steps++; done != 0 || total < 3 {
			t.Errorf("step %d: %d of %d", steps, done, total)
		}
	})
	if tuning != nil || !errors.Is(err, context.Canceled) || steps != 1 {
		t.Errorf("%v, %v, %d steps", tuning, err, steps)
	}
}
