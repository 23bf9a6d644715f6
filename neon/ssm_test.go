package neon

import (
	"fmt"
	"testing"
)

func TestConvStep(t *testing.T) {
	n := noise(9)
	for _, channels := range []int{0, 1, 15, 16, 17, 130} {
		for _, taps := range []int{1, 2, 4, 5} {
			for _, bias := range [][]float32{nil, n.floats(channels)} {
				w := n.floats(taps * channels)
				history := make([][]float32, taps-1, 20) // before the first input there were zeros
				for i := range history {
					history[i] = make([]float32, channels)
				}
				ring := make([]float32, taps*channels)
				for pos := range 2*taps + 1 {
					x := n.floats(channels)
					if pos == taps && channels > 0 {
						x[channels-1] = nan
					}
					history = append(history, x)
					copy(ring[pos%taps*channels:], x)
					dst := fresh(channels + 3)
					ConvStep(dst[:channels], ring, w, bias, taps, pos%taps)
					compare(t, fmt.Sprintf("%d channels, %d taps, position %d", channels, taps, pos), dst, func(c int) float32 {
						var acc float32
						if bias != nil {
							acc = bias[c]
						}
						for k := range taps {
							acc += float32(w[k*channels+c] * history[pos+k][c])
						}
						return acc / (1 + Exp(-acc))
					}, 0, channels)
				}
			}
		}
	}
}

func TestStateUpdate(t *testing.T) {
	n := noise(10)
	for _, headdim := range []int{0, 1, 3, 64} {
		for _, dState := range []int{0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 64, 128, 130} {
			s := n.floats(headdim * dState)
			want := append([]float32(nil), s...)
			for step := range 4 {
				x, b, c := n.floats(headdim), n.floats(dState), n.floats(dState)
				da, dt, d := n.float()/8+0.5, n.float()/8+0.5, n.float()
				switch step {
				case 2:
					activations[5].fill(&n, b) // subnormal
				case 3:
					set(&n, x, inf)
				}
				y := fresh(headdim + 1)
				StateUpdate(y[:headdim], s, x, b, c, da, dt, d)
				compare(t, fmt.Sprintf("%d x %d, step %d", headdim, dState, step), y, func(p int) float32 {
					row := want[p*dState:][:dState]
					xdt := float32(dt * x[p])
					for i := range row {
						row[i] = float32(da*row[i]) + float32(xdt*b[i])
					}
					return naiveDot(row, c) + float32(d*x[p])
				}, 0, headdim)
				for i := range s {
					if !same(s[i], want[i]) {
						t.Fatalf("%d x %d, step %d: state %d is %v, want %v", headdim, dState, step, i, s[i], want[i])
					}
				}
			}
		}
	}
}
