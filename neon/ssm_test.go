package neon

import (
	"fmt"
	"testing"

	"bimamba/neon/layout"
)

func TestConvStep(t *testing.T) { eachKernel(t, testConvStep) }

func testConvStep(t *testing.T) {
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
					cut := channels / 3 // two calls, for a part of the channels each
					ConvStep(dst[:cut], ring, w, bias, taps, pos%taps, channels, 0)
					ConvStep(dst[cut:channels], ring, w, bias, taps, pos%taps, channels, cut)
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

func TestStateUpdate(t *testing.T) { eachKernel(t, testStateUpdate) }

// testStateUpdate advances a float32 and a binary16 state by several tokens.
func testStateUpdate(t *testing.T) {
	n := noise(10)
	for _, headdim := range []int{0, 1, 3, 64} {
		for _, dState := range []int{0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 48, 64, 112, 128, 130, 256, 272} {
			s, s16 := n.floats(headdim*dState), make([]uint16, headdim*dState+1)[1:]
			want := append([]float32(nil), s...)
			want16 := make([]float32, len(s16))
			for i := range s16 {
				s16[i] = layout.F32ToF16(s[i])
				want16[i] = layout.F16ToF32(s16[i])
			}
			for step := range 6 {
				x, b, c := n.floats(headdim), n.floats(dState), n.floats(dState)
				da, dt, d := n.float()/8+0.5, n.float()/8+0.5, n.float()
				switch step {
				case 2:
					activations[5].fill(&n, b) // subnormal
				case 3:
					da = 0x1p-20 // the state becomes a subnormal binary16
					clear(b)
				case 4:
					scaled(1<<16)(&n, x) // some of it overflows a binary16
				case 5:
					set(&n, x, inf)
				}
				what := fmt.Sprintf("%d x %d, step %d", headdim, dState, step)
				advance := func(s []float32) func(p int) float32 {
					return func(p int) float32 {
						row, xdt := s[p*dState:][:dState], float32(dt*x[p])
						for i := range row {
							row[i] = float32(da*row[i]) + float32(xdt*b[i])
						}
						return naiveDot(row, c) + float32(d*x[p])
					}
				}
				y := fresh(headdim + 1)
				StateUpdate(y[:headdim], s, x, b, c, da, dt, d)
				compare(t, "float32, "+what, y, advance(want), 0, headdim)
				compare(t, "float32 state, "+what, s, func(i int) float32 { return want[i] }, 0, len(s))

				y = fresh(headdim + 1)
				StateUpdateF16(y[:headdim], s16, x, b, c, da, dt, d)
				compare(t, "binary16, "+what, y, advance(want16), 0, headdim)
				for i, h := range s16 {
					want16[i] = layout.F16ToF32(layout.F32ToF16(want16[i]))
					if v := layout.F16ToF32(h); !same(v, want16[i]) {
						t.Fatalf("binary16 state %d, %s: %v, want %v", i, what, v, want16[i])
					}
				}
			}
		}
	}
}
