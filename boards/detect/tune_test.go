package detect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"bimamba/boards/tuning"
	"bimamba/neon"
)

func TestSaturating(t *testing.T) {
	for _, tt := range []struct {
		rates []float64
		want  int
	}{{[]float64{5}, 1}, {[]float64{2, 3.9, 4, 4}, 2}, {[]float64{2, 2.1, 4}, 1}, {[]float64{1, 2, 3, 4}, 4}} {
		var read []tuning.ReadRate
		for i, r := range tt.rates {
			read = append(read, tuning.ReadRate{Threads: i + 1, Rate: r})
		}
		if got := saturating(read); got != tt.want {
			t.Errorf("%v: %d threads, want %d", tt.rates, got, tt.want)
		}
	}
}

func TestSteady(t *testing.T) {
	calm := []tuning.ReadRate{{Threads: 1, Rate: 10, Low: 9.5, High: 10.2}, {Threads: 2, Rate: 19, Low: 18, High: 20}}
	if !steady(calm) || steady(append(calm, tuning.ReadRate{Threads: 3, Rate: 19, Low: 10, High: 20})) {
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

// TestBestDistance is about when another distance than the default is taken.
func TestBestDistance(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate func(bytes, round int) float64
		want int
	}{
		{"all alike", func(int, int) float64 { return 5 }, 1024},
		{"one is a twentieth faster", func(bytes, _ int) float64 { return 5 + 0.25*float64(b2i(bytes == 512)) }, 512},
		{"the fastest of two", func(bytes, _ int) float64 { return 5 + float64(b2i(bytes == 256)) + 2*float64(b2i(bytes == 4096)) }, 4096},
		{"none at all is best", func(bytes, _ int) float64 { return 5 + float64(b2i(bytes == 0)) }, 0},
		{"all others are slower", func(bytes, _ int) float64 { return 4 + float64(b2i(bytes == 1024)) }, 1024},
		{"faster by too little", func(bytes, _ int) float64 { return 5 + 0.02*float64(b2i(bytes == 512)) }, 1024},
		{"faster in three of four rounds", func(bytes, round int) float64 {
			if bytes == 512 {
				return []float64{6, 6, 6, 4}[round%4]
			}
			return 5
		}, 1024},
		// Something else slows the machine down in some rounds: all distances alike.
		{"slow rounds", func(bytes, round int) float64 {
			return (5 + 0.25*float64(b2i(bytes == 2048))) * []float64{1, 0.4, 1, 0.7}[round%4]
		}, 2048},
	} {
		rates := make([][]float64, len(tuneDistances))
		for i, bytes := range tuneDistances {
			for round := range 16 {
				rates[i] = append(rates[i], tt.rate(bytes, round))
			}
		}
		if got := bestDistance(rates); got != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.name, got, tt.want)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestTuneStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	steps := 0
	f, err := Tune(ctx, &Board{}, func(done, total int) {
		if steps++; done != 0 || total < 3 {
			t.Errorf("step %d: %d of %d", steps, done, total)
		}
	})
	if f != nil || !errors.Is(err, context.Canceled) || steps != 1 {
		t.Errorf("%v, %v, %d steps", f, err, steps)
	}
}

// TestTune measures as briefly as it can: the result is a file that can be read, with everything in it, and the distance is as before.
func TestTune(t *testing.T) {
	before, taken := neon.Prefetch()
	defer neon.SetPrefetch(before)
	neon.SetPrefetch(320)
	quick := tuner{rounds: 1, prefetch: 2, short: time.Microsecond, memory: 4 << 20}
	var seen [][2]int
	f, err := quick.run(context.Background(), &Board{ID: "pi-4", Model: "a board"}, func(done, total int) { seen = append(seen, [2]int{done, total}) })
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := neon.Prefetch(); n != 320 {
		t.Errorf("it leaves a distance of %d", n)
	}
	for i, s := range seen {
		if s[0] != i || s[1] != len(seen) {
			t.Errorf("progress is %v", seen)
			break
		}
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	g, err := tuning.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	kernels, _ := neon.Kernel()
	if err := g.Matches(kernels, "a board"); err != nil {
		t.Error(err)
	}
	if len(g.Read) != g.Threads || len(g.Products) != 2*g.Threads || (g.Prefetch != nil) != taken || (len(g.Prefetches) > 0) != taken || len(g.Prefetches)%len(tuneDistances) != 0 {
		t.Errorf("%s", b)
	}
}
