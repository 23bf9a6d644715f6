package model

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"bimamba/convert"
	"bimamba/convert/safetensors"
	"bimamba/internal/testmodel"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

// golden is the outputs of a reference implementation.
type golden struct {
	ids, greedy      []uint32
	logits           []float64 // (T, vocab_size)
	layers           [][]float64
	ssm, conv        [][]float64 // of each layer
	vocab, positions int
}

func readGolden(t *testing.T, path string, layers int) *golden {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	floats := func(name string) []float64 {
		for _, x := range f.Tensors() {
			if x.Name != name {
				continue
			}
			out := make([]float64, x.Elems())
			if x.DType == "i64" || x.DType == "i32" {
				b := make([]byte, x.Bytes()) // ids fit the lower half of an i64
				if _, err := x.Data.ReadAt(b, 0); err != nil {
					t.Fatal(err)
				}
				for i := range out {
					out[i] = float64(binary.LittleEndian.Uint32(b[len(b)/len(out)*i:]))
				}
				return out
			}
			v := make([]float32, x.Elems())
			if err := x.ReadFloats(v, 0); err != nil {
				t.Fatal(err)
			}
			for i := range v {
				out[i] = float64(v[i])
			}
			return out
		}
		t.Fatalf("%s: no tensor %s", path, name)
		return nil
	}
	ints := func(name string) []uint32 {
		var out []uint32
		for _, v := range floats(name) {
			out = append(out, uint32(v))
		}
		return out
	}
	g := &golden{ids: ints("input_ids"), greedy: ints("greedy"), logits: floats("logits")}
	g.positions = len(g.ids)
	g.vocab = len(g.logits) / g.positions
	for i := range layers {
		k := "layer." + itoa(i)
		g.layers = append(g.layers, floats(k+".output"))
		g.ssm = append(g.ssm, floats(k+".ssm_state"))
		g.conv = append(g.conv, floats(k+".conv_state"))
	}
	return g
}

func itoa(i int) string { b, _ := json.Marshal(i); return string(b) }

// relL2 is |a-b| / |b|.
func relL2(a []float32, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var d, n float64
	for i := range b {
		d += (float64(a[i]) - b[i]) * (float64(a[i]) - b[i])
		n += b[i] * b[i]
	}
	return math.Sqrt(d / n)
}

// TestGolden holds every golden checkpoint, head kept, against the reference's logits, states and layer outputs.
func TestGolden(t *testing.T) {
	for _, dir := range []string{"../../testdata/golden", "../../testdata/golden-own"} {
		cases, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			if !c.IsDir() {
				continue
			}
			path := filepath.Join(dir, c.Name())
			blob := testmodel.Convert(t, path, convert.Options{Head: convert.HeadKeep})
			t.Run(c.Name()+"/exact", func(t *testing.T) { testGolden(t, blob, path, Exact, 1e-4) })
			if blob.Manifest().Model.Family == "bimamba" {
				t.Run(c.Name()+"/lut16", func(t *testing.T) { testGolden(t, blob, path, LUT16, 2e-3) })
			}
		}
	}
}

func testGolden(t *testing.T, blob *memmap.File, path string, p Precision, tolerance float64) {
	m, err := Open(blob, Options{Precision: p, State: StateF32})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h := m.Hyper()
	g := readGolden(t, filepath.Join(path, "golden.safetensors"), int(h.NLayer))
	s := m.Session(0)
	s.Reset()
	outputs := make([][]float32, h.NLayer)
	m.forward.trace = func(i int, v []float32) { outputs[i] = append(outputs[i], v...) }
	logits := make([]float32, h.VocabSize)
	var all []float32
	for _, id := range g.ids {
		if err := s.Step(id, logits); err != nil {
			t.Fatal(err)
		}
		all = append(all, logits...)
	}
	m.forward.trace = nil
	ssm := s.ssmFloats()
	check := func(what string, got []float32, want []float64) {
		t.Helper()
		if e := relL2(got, want); !(e <= tolerance) {
			t.Errorf("%s: relative L2 %.3g, more than %g", what, e, tolerance)
		} else {
			t.Logf("%s: relative L2 %.3g", what, e)
		}
	}
	check("logits", all, g.logits)
	for i := range outputs {
		check("layer "+itoa(i)+" output", outputs[i], g.layers[i])
		check("layer "+itoa(i)+" ssm state", ssm[i*int(h.DInner*h.DState):][:h.DInner*h.DState], g.ssm[i])
		check("layer "+itoa(i)+" conv state", s.convState(i), g.conv[i])
	}
	for i, want := range g.greedy {
		best := 0
		for j, v := range logits {
			if v > logits[best] {
				best = j
			}
		}
		if uint32(best) != want {
			t.Fatalf("greedy token %d is %d, the reference's %d", i, best, want)
		}
		if err := s.Step(want, logits); err != nil {
			t.Fatal(err)
		}
	}
}

// ssmFloats is a copy of the recurrent states, (n_layer, nheads, headdim, d_state).
func (s *Session) ssmFloats() (all []float32) {
	h := &s.m.h
	for i := range int(h.NLayer) {
		for j := range int(h.NHeads) {
			if s.m.opt.State == StateF32 {
				all = append(all, s.state32(i, j)...)
				continue
			}
			for _, v := range s.state16(i, j) {
				all = append(all, layout.F16ToF32(v))
			}
		}
	}
	return all
}

// convState is layer i's last d_conv inputs as the reference lays them out: (channels, d_conv), oldest first.
func (s *Session) convState(i int) []float32 {
	h := &s.m.h
	channels, taps := int(h.Channels()), int(h.DConv)
	ring := s.conv[i*taps*channels:]
	out := make([]float32, channels*taps)
	for k := range taps {
		row := (int(s.pos) + k) % taps
		for c := range channels {
			out[c*taps+k] = ring[row*channels+c]
		}
	}
	return out
}
