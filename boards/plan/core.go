package plan

import (
	"strings"

	"bimamba/edge/model"
	"bimamba/memmap"
)

// core is a kind of processor core: cycles that the kernels of package neon take for 1,024 weights or elements with all data in the first-level
// cache, by llvm-mca 22 (`go run -C tools ./mca`). The Cortex-A53's are good to +-30 %.
type core struct {
	name                   string
	lut16, lut8            float64 // 1-bit weights
	i8, i4, f16, bf16, f32 float64 // weights of other types
	stateF16, stateF32     float64 // elements of recurrent states
	tables16, tables8      float64 // activations for which tables are built
	tap, silu, norm        float64 // channels of a convolution's tap; activations
	note                   string  // "" where the numbers are the core's own
}

var (
	cortexA53 = &core{
		name: "Cortex-A53", lut16: 116, lut8: 78, i8: 624, i4: 1144, f16: 1344.1, bf16: 1344.1, f32: 1120.1, stateF16: 2752.2, stateF32: 2368.2,
		tables16: 7360.3, tables8: 6592.3, tap: 2432.3, silu: 14272.6, norm: 1856.3 + 1984.3,
	}
	cortexA72 = &core{
		name: "Cortex-A72", lut16: 74.1, lut8: 41.1, i8: 256.9, i4: 473.8, f16: 945, bf16: 752.8, f32: 720.8, stateF16: 2273.8, stateF32: 1921.1,
		tables16: 4460.2, tables8: 3916.5, tap: 1348.2, silu: 12696.3, norm: 835.8 + 963.8,
		note: "by LLVM's model of the Cortex-A57, which it uses for both",
	}
	cortexA76 = &core{
		name: "Cortex-A76", lut16: 42.1, lut8: 26.1, i8: 112.3, i4: 385, f16: 577.3, bf16: 416.9, f32: 368.6, stateF16: 1314.4, stateF32: 1025,
		tables16: 3209.6, tables8: 2761, tap: 899.2, silu: 5575.4, norm: 515.2 + 707.8,
		note: "by LLVM's model of the Neoverse N1, the same core; for the Cortex-A78AE, too",
	}
	carmel = func() *core {
		c := *cortexA72
		c.name, c.note = "Carmel", "of which there is no model: the Cortex-A72's cycles stand in"
		return &c
	}()
)

// Cycles is what one of the board's cores takes for 1,024 1-bit weights in the precisions lut16 and lut8, by the static model.
func (b *Board) Cycles() (lut16, lut8 float64) { return b.core.lut16, b.core.lut8 }

// work is what a token computes, in weights and elements.
type work struct {
	bits                    float64                  // weights of 1 bit
	dense, head             map[memmap.DType]float64 // other weights of the layers, and those of the head
	states                  float64
	inputs, channels, inner float64 // activations in front of matrices, channels and d_inner, of all layers
	taps                    float64
}

// newWork counts a model's.
func newWork(m *memmap.Manifest) work {
	h := &m.Model
	layers := float64(h.NLayer)
	w := work{
		dense: map[memmap.DType]float64{}, head: map[memmap.DType]float64{}, states: layers * float64(h.DInner) * float64(h.DState),
		inputs: layers * (float64(h.DModel) + float64(h.DInner)), channels: layers * float64(h.Channels()), inner: layers * float64(h.DInner), taps: float64(h.DConv),
	}
	head := "lm_head.weight"
	if h.TieEmbeddings {
		head = "embedding.weight"
	}
	for i := range m.Sections {
		for _, t := range m.Sections[i].Tensors {
			if len(t.Shape) != 2 {
				continue
			}
			n := float64(t.Shape[0]) * float64(t.Shape[1])
			switch {
			case t.Name == head:
				w.head[t.DType] += n
			case !strings.HasPrefix(m.Sections[i].Name, "layers.") || t.Name != "in_proj.weight" && t.Name != "out_proj.weight":
			case t.DType == memmap.B1:
				w.bits += n
			default:
				w.dense[t.DType] += n
			}
		}
	}
	return w
}

// seconds is the time that cores of a board compute for a token, with its logits if head is true. The precision Exact, whose products with 1-bit
// weights are portable code, has no model.
func (w *work) seconds(b *Board, opt *model.Options, head bool) (float64, bool) {
	c := b.core
	weight := map[memmap.DType]float64{memmap.I8: c.i8, memmap.I4: c.i4, memmap.F16: c.f16, memmap.BF16: c.bf16, memmap.F32: c.f32}
	bit, table, state := c.lut16, c.tables16, c.stateF16
	switch opt.Precision {
	case model.Fast:
		bit, table = c.lut8, c.tables8
	case model.Exact:
		return 0, false
	}
	if opt.State == model.StateF32 {
		state = c.stateF32
	}
	cycles := w.bits*bit + w.states*state + w.inputs*(table+c.norm) + w.channels*(w.taps*c.tap+c.silu) + w.inner*c.silu
	for t, n := range w.dense {
		cycles += n * weight[t]
	}
	if head {
		for t, n := range w.head {
			cycles += n * weight[t]
		}
	}
	return cycles / 1024 / float64(b.cores) / b.hertz, true
}
