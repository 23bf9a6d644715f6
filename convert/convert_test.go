package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bimamba/convert/source"
	"bimamba/convert/tokenizer"
	"bimamba/memmap"
	"bimamba/neon/layout"
)

// fake is a checkpoint in memory: a small Bi-Mamba, or Mamba-2 without scales.
type fake struct {
	config  string
	tensors map[string]source.Tensor
}

func (f *fake) Config() []byte  { return []byte(f.config) }
func (f *fake) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }
func (f *fake) Files() []string { return nil }
func (f *fake) Tensor(name string) (source.Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// set gives a tensor's elements as f32.
func (f *fake) set(name string, v []float32, shape ...int64) {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	f.tensors[name] = source.Tensor{Name: name, DType: memmap.F32, Shape: shape, Data: bytes.NewReader(b), File: "weights.bin"}
}

func (f *fake) values(t testing.TB, name string) []float32 {
	t.Helper()
	x, ok := f.tensors[name]
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	v := make([]float32, x.Elems())
	if err := x.ReadFloats(v, 0); err != nil {
		t.Fatal(err)
	}
	return v
}

const in = "backbone.layers.0.mixer.in_proj."

// newFake makes a checkpoint of one layer: d_model 80, headdim 16, d_state 8.
func newFake(binary bool) *fake {
	f := &fake{
		config:  `{"d_model": 80, "n_layer": 1, "vocab_size": 30, "pad_vocab_size_multiple": 16, "ssm_cfg": {"layer": "Mamba2", "headdim": 16, "d_state": 8}}`,
		tensors: make(map[string]source.Tensor),
	}
	r := rand.New(rand.NewPCG(1, 2))
	random := func(name string, shape ...int64) {
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.IntN(2001)-1000)/1000 + 0.0001
		}
		f.set(name, v, shape...)
	}
	const dModel, dInner, nheads, channels = 80, 160, 10, 176
	random("backbone.embedding.weight", 32, dModel)
	random("backbone.norm_f.weight", dModel)
	p := "backbone.layers.0."
	random(p+"norm.weight", dModel)
	random(p+"mixer.norm.weight", dInner)
	random(p+"mixer.conv1d.weight", channels, 1, 4)
	random(p+"mixer.conv1d.bias", channels)
	for _, name := range []string{"dt_bias", "A_log", "D"} {
		random(p+"mixer."+name, nheads)
	}
	for _, m := range []struct {
		name       string
		rows, cols int64
	}{{"in_proj", 2*dInner + 16 + nheads, dModel}, {"out_proj", dModel, dInner}} {
		random(p+"mixer."+m.name+".weight", m.rows, m.cols)
		if binary {
			random(p+"mixer."+m.name+".wscale", 1, m.cols)
			random(p+"mixer."+m.name+".wbias", 1, m.cols)
		}
	}
	return f
}

// target is a file in memory.
type target struct {
	b    []byte
	full int // bytes that fit, 0 for any number
}

func (w *target) WriteAt(p []byte, off int64) (int, error) {
	end := int(off) + len(p)
	if w.full > 0 && end > w.full {
		return 0, syscall.ENOSPC
	}
	if end > len(w.b) {
		w.b = append(w.b, make([]byte, end-len(w.b))...)
	}
	return copy(w.b[off:], p), nil
}

func (w *target) Truncate(n int64) error {
	w.b = w.b[:n]
	return nil
}

// convertFake converts f and opens the blob.
func convertFake(t testing.TB, f *fake, opt Options) (*memmap.File, *Report) {
	t.Helper()
	var w target
	rep, err := Convert(context.Background(), &w, f, opt)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.bimamba")
	if err := os.WriteFile(path, w.b, 0o644); err != nil {
		t.Fatal(err)
	}
	blob, err := memmap.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blob.Close() })
	if err := blob.Verify(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return blob, rep
}

func tensor(t testing.TB, blob *memmap.File, section, name string) (*memmap.Tensor, []byte) {
	t.Helper()
	s, ok := blob.Section(section)
	if !ok {
		t.Fatalf("no section %s", section)
	}
	x, ok := s.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s.%s", section, name)
	}
	return x, blob.Data(x)
}

func floats(t testing.TB, blob *memmap.File, section, name string) []float32 {
	t.Helper()
	x, b := tensor(t, blob, section, name)
	if x.DType != memmap.F32 {
		t.Fatalf("%s.%s is %s", section, name, x.DType)
	}
	v := make([]float32, len(b)/4)
	layout.DecodeF32(v, b)
	return v
}

// TestColumn folds the norm into scale and bias and packs the signs.
func TestColumn(t *testing.T) {
	f := newFake(true)
	w := f.values(t, in+"weight")
	w[5], w[300] = 0, float32(math.Copysign(0, -1)) // both become +1
	f.set(in+"weight", w, 346, 80)
	blob, rep := convertFake(t, f, Options{})
	norm, ws, wb := f.values(t, "backbone.layers.0.norm.weight"), f.values(t, in+"wscale"), f.values(t, in+"wbias")
	scale, bias := floats(t, blob, "layers.0", "in_proj.scale"), floats(t, blob, "layers.0", "in_proj.bias")
	for i := range scale {
		if scale[i] != norm[i]*ws[i] || bias[i] != norm[i]*wb[i] {
			t.Fatalf("column %d: scale %v, bias %v", i, scale[i], bias[i])
		}
	}
	x, data := tensor(t, blob, "layers.0", "in_proj.weight")
	if x.Quant != memmap.QuantColumn || x.Zeros != 2 || x.Layout != "bits-64x8-kb128" {
		t.Errorf("in_proj.weight is %+v", x)
	}
	l, err := x.Bits()
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float32, 80)
	for r := range 346 {
		l.UnpackRow(row, data, r)
		for i, v := range row {
			if (v < 0) != (w[r*80+i] < 0) {
				t.Fatalf("element %d, %d is %v for %v", r, i, v, w[r*80+i])
			}
		}
	}
	s, _ := blob.Section("layers.0")
	if _, ok := s.Tensor("norm.weight"); ok {
		t.Error("norm.weight stands beside a scale that holds it")
	}
	if rep.Manifest.Model.Family != "bimamba" || rep.SourceBytes <= 0 {
		t.Errorf("%+v", rep)
	}
	// The convolution is transposed: tap by tap.
	conv, src := floats(t, blob, "layers.0", "conv.weight"), f.values(t, "backbone.layers.0.mixer.conv1d.weight")
	for c := range 176 {
		for k := range 4 {
			if conv[k*176+c] != src[c*4+k] {
				t.Fatalf("tap %d of channel %d is %v", k, c, conv[k*176+c])
			}
		}
	}
}

// TestBinarize is post-training binarization as its definition says: m the column's mean, bits of W-m, scale the mean of |W-m|, bias m.
func TestBinarize(t *testing.T) {
	f := newFake(false)
	blob, rep := convertFake(t, f, Options{Proj: Proj1Bit})
	if len(rep.Warnings) != 1 || !strings.Contains(rep.Warnings[0], "collapses") {
		t.Errorf("warnings are %q", rep.Warnings)
	}
	w, norm := f.values(t, in+"weight"), f.values(t, "backbone.layers.0.norm.weight")
	scale, bias := floats(t, blob, "layers.0", "in_proj.scale"), floats(t, blob, "layers.0", "in_proj.bias")
	x, data := tensor(t, blob, "layers.0", "in_proj.weight")
	l, _ := x.Bits()
	row := make([]float32, 80)
	for i := range 80 {
		var mean, dev float64
		for r := range 346 {
			mean += float64(w[r*80+i]) / 346
		}
		for r := range 346 {
			dev += math.Abs(float64(w[r*80+i])-mean) / 346
			l.UnpackRow(row, data, r)
			if (row[i] < 0) != (w[r*80+i] < float32(mean)) && math.Abs(float64(w[r*80+i])-mean) > 1e-6 {
				t.Fatalf("element %d, %d: %v around %v is %v", r, i, w[r*80+i], mean, row[i])
			}
		}
		if math.Abs(float64(scale[i])-dev*float64(norm[i])) > 1e-6 || math.Abs(float64(bias[i])-mean*float64(norm[i])) > 1e-6 {
			t.Fatalf("column %d: scale %v, bias %v; expected %v, %v", i, scale[i], bias[i], dev*float64(norm[i]), mean*float64(norm[i]))
		}
	}
}

// TestForms are those of --proj and --head.
func TestForms(t *testing.T) {
	f := newFake(false)
	for _, c := range []struct {
		proj         Proj
		head         Head
		in, emb      memmap.DType
		inQ, embQ    memmap.Quant
		relativeDiff float64
	}{
		{ProjAuto, HeadKeep, memmap.F32, memmap.F32, "", "", 0},
		{ProjInt8, HeadInt8, memmap.I8, memmap.I8, "row", "row", 0.5 / 127},
		{ProjKeep, HeadF16, memmap.F32, memmap.F16, "", "", 1. / 2048},
	} {
		blob, _ := convertFake(t, f, Options{Proj: c.proj, Head: c.head})
		x, _ := tensor(t, blob, "layers.0", "in_proj.weight")
		e, data := tensor(t, blob, "io", "embedding.weight")
		if x.DType != c.in || x.Quant != c.inQ || e.DType != c.emb || e.Quant != c.embQ {
			t.Errorf("%s, %s: in_proj %s %q, embedding %s %q", c.proj, c.head, x.DType, x.Quant, e.DType, e.Quant)
		}
		got, want := make([]float32, 32*80), f.values(t, "backbone.embedding.weight")
		switch e.DType {
		case memmap.F32:
			layout.DecodeF32(got, data)
		case memmap.F16:
			layout.DecodeF16(got, data)
		case memmap.I8:
			scale := floats(t, blob, "io", "embedding.scale")
			for i := range got {
				got[i] = scale[i/80] * float32(int8(data[i]))
			}
		}
		for i := range got {
			if d := math.Abs(float64(got[i] - want[i])); d > c.relativeDiff*1.001+1e-9 {
				t.Fatalf("%s: embedding element %d is %v, not %v", c.head, i, got[i], want[i])
			}
		}
	}
}

// TestInt4 reads embedding and head back by the formulas of FORMAT.md, sections 3 and 4.
func TestInt4(t *testing.T) {
	f := newFake(false)
	f.config = strings.Replace(f.config, "{", `{"tie_embeddings": false, `, 1)
	e := f.values(t, "backbone.embedding.weight")
	clear(e[2*80 : 3*80]) // a row of zeros
	for i := range 80 {
		e[3*80+i] *= 0x1p-21 // the scales are subnormal
		e[4*80+i] *= 500000
	}
	f.set("backbone.embedding.weight", e, 32, 80)
	head := make([]float32, len(e))
	for i := range head {
		head[i] = float32(math.Sin(float64(i)))
	}
	f.set("lm_head.weight", head, 32, 80)
	blob, _ := convertFake(t, f, Options{Head: HeadInt4})
	if _, minor := blob.Version(); minor != 1 {
		t.Errorf("the minor version is %d", minor)
	}
	for name, want := range map[string][]float32{"embedding": e, "lm_head": head} {
		w, q := tensor(t, blob, "io", name+".weight")
		s, scales := tensor(t, blob, "io", name+".scale")
		if w.DType != memmap.I4 || w.Layout != "i4-g32" || w.Quant != "group" || s.DType != memmap.F16 || s.Quant != "" || !slices.Equal(s.Shape, []uint64{32, 3}) {
			t.Fatalf("%+v, %+v", w, s)
		}
		scale := make([]float32, 32*3)
		layout.DecodeF16(scale, scales)
		for o := range 32 {
			for i := range 96 {
				v := int(q[o*3*16+i/2])>>(i%2*4)&15 - 8
				if i >= 80 {
					if v != 0 {
						t.Fatalf("%s: padding element %d of row %d is %d", name, i, o, v)
					}
					continue
				}
				step, x := float64(scale[o*3+i/32]), float64(want[o*80+i])
				// Half a step, but at the ends: 8 steps, which have no positive element, and where the scale itself was rounded.
				limit := math.Abs(step) / 2
				if x/step > 7.5 {
					limit = math.Abs(x - 7*step)
				} else if x/step < -8.5 {
					limit = math.Abs(x + 8*step)
				}
				if d := math.Abs(float64(v)*step - x); !(d <= limit) || math.Abs(x) > 8*max(math.Abs(step)*(1+0x1p-11), math.Abs(step)+0x1p-25) {
					t.Fatalf("%s: element %d of row %d: %v became %d * %v", name, i, o, x, v, step)
				}
			}
		}
	}
	// The largest that there may be.
	e[7] = 8 * 65504
	f.set("backbone.embedding.weight", e, 32, 80)
	convertFake(t, f, Options{Head: HeadInt4})
}

// TestBadCheckpoints names file, tensor and what to do.
func TestBadCheckpoints(t *testing.T) {
	for _, c := range []struct {
		name, want string
		opt        Options
		change     func(t *testing.T, f *fake)
	}{
		{"NaN", "tensor " + in + "weight: element [3 7] is NaN", Options{}, func(t *testing.T, f *fake) {
			w := f.values(t, in+"weight")
			w[3*80+7] = float32(math.NaN())
			f.set(in+"weight", w, 346, 80)
		}},
		{"Inf", "tensor backbone.norm_f.weight: element [2] is -Inf", Options{}, func(t *testing.T, f *fake) {
			w := f.values(t, "backbone.norm_f.weight")
			w[2] = float32(math.Inf(-1))
			f.set("backbone.norm_f.weight", w, 80)
		}},
		{"zeros", "30 of 27680 latent weights are exactly 0", Options{}, func(t *testing.T, f *fake) {
			w := f.values(t, in+"weight")
			clear(w[:30])
			f.set(in+"weight", w, 346, 80)
		}},
		{"shape", "has shape [80 346], but config.json calls for [346 80]", Options{}, func(t *testing.T, f *fake) { f.set(in+"weight", f.values(t, in+"weight"), 80, 346) }},
		{"dtype", "element type i32", Options{}, func(t *testing.T, f *fake) {
			x := f.tensors[in+"weight"]
			x.DType = "i32"
			f.tensors[in+"weight"] = x
		}},
		{"missing", "tensor backbone.layers.0.mixer.D is missing", Options{}, func(t *testing.T, f *fake) { delete(f.tensors, "backbone.layers.0.mixer.D") }},
		{"extra", "tensor surprise is not part of", Options{}, func(t *testing.T, f *fake) { f.set("surprise", []float32{1}, 1) }},
		{"more layers", "backbone.layers.1.", Options{}, func(t *testing.T, f *fake) { f.config = strings.Replace(f.config, `"n_layer": 1`, `"n_layer": 2`, 1) }},
		{"huge", "n_layer", Options{}, func(t *testing.T, f *fake) {
			f.config = strings.Replace(f.config, `"n_layer": 1`, `"n_layer": 4000000000`, 1)
		}},
		{"vocabulary", "has 32 rows, but config.json calls for 112", Options{}, func(t *testing.T, f *fake) { f.config = strings.Replace(f.config, "30", "100", 1) }},
		{"head", "differs from backbone.embedding.weight from element 9 on", Options{}, func(t *testing.T, f *fake) {
			w := f.values(t, "backbone.embedding.weight")
			w[9]++
			f.set("lm_head.weight", w, 32, 80)
		}},
		{"no head", "tensor lm_head.weight is missing", Options{}, func(t *testing.T, f *fake) {
			f.config = strings.Replace(f.config, "{", `{"tie_embeddings": false, `, 1)
		}},
		{"wscale", "it is [1 80] (column), [346 1] (row) or [1] (single)", Options{}, func(t *testing.T, f *fake) { f.set(in+"wscale", make([]float32, 80), 80) }},
		{"wbias", "has shape [1], but config.json calls for [1 80]", Options{}, func(t *testing.T, f *fake) { f.set(in+"wbias", make([]float32, 1), 1) }},
		{"no wscale", "is there without", Options{}, func(t *testing.T, f *fake) { delete(f.tensors, in+"wscale") }},
		{"bias", "is there, but the projections have no bias", Options{}, func(t *testing.T, f *fake) { f.set(in+"bias", make([]float32, 346), 346) }},
		{"int8", "1 bit already", Options{Proj: ProjInt8}, func(t *testing.T, f *fake) {}},
		{"f16 head", "does not fit an f16", Options{Head: HeadF16}, func(t *testing.T, f *fake) {
			w := f.values(t, "backbone.embedding.weight")
			w[0] = 1e6
			f.set("backbone.embedding.weight", w, 32, 80)
		}},
		{"int4 head", "weights.bin: tensor backbone.embedding.weight: element [1 2] is -524032.03, more than 8 times the largest f16, so that its scale does not fit one; use --head int8 or --head keep", Options{Head: HeadInt4}, func(t *testing.T, f *fake) {
			w := f.values(t, "backbone.embedding.weight")
			w[82] = math.Nextafter32(-8*65504, -1e6)
			f.set("backbone.embedding.weight", w, 32, 80)
		}},
		{"int4 NaN", "element [31 79] is NaN", Options{Head: HeadInt4}, func(t *testing.T, f *fake) {
			w := f.values(t, "backbone.embedding.weight")
			w[32*80-1] = float32(math.NaN())
			f.set("backbone.embedding.weight", w, 32, 80)
		}},
		{"cut", "weights.bin: tensor " + in + "weight", Options{}, func(t *testing.T, f *fake) {
			x := f.tensors[in+"weight"]
			x.Data = bytes.NewReader(make([]byte, 5))
			f.tensors[in+"weight"] = x
		}},
		{"tokenizer", "the tokenizer has 33 tokens, more than the 32 rows", Options{Tokenizer: &tokenizer.Compiled{Info: memmap.Tokenizer{Size: 33}}}, func(t *testing.T, f *fake) {}},
		{"card", `prompt.eos "x": there is no tokenizer`, Options{Card: &Card{Kind: memmap.KindBase, Prompt: CardPrompt{EOS: []string{"x"}}}}, func(t *testing.T, f *fake) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(true)
			c.change(t, f)
			var w target
			_, err := Convert(context.Background(), &w, f, c.opt)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v; it has to say %q", err, c.want)
			}
			if len(w.b) >= 8 && !bytes.Equal(w.b[:8], make([]byte, 8)) {
				t.Error("what was written begins like a blob")
			}
		})
	}
}

// TestInterrupted ends with the context, and with a full disk.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Convert(ctx, &target{}, newFake(true), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled conversion gave %v", err)
	}
	if _, err := Convert(context.Background(), &target{full: 70000}, newFake(true), Options{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk gave %v", err)
	}
}

// TestProgress ends with everything.
func TestProgress(t *testing.T) {
	var last, total int64
	convertFake(t, newFake(true), Options{Progress: func(done, all int64) {
		if done < last {
			t.Errorf("progress falls from %d to %d", last, done)
		}
		last, total = done, all
	}})
	if last != total || total == 0 {
		t.Errorf("progress ended with %d of %d", last, total)
	}
}

// TestCard fills the manifest.
func TestCard(t *testing.T) {
	c, err := ReadCard("../models/default.toml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Kind != memmap.KindIntent || len(c.Tasks) != 3 || c.Generation.MaxTokens != 80 || c.Generation.TopP != 1 {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]string{
		"kind = 'oracle'": "kind", "[[tasks]]\nprefix='x'": "has no name", "[prompt.turns.robot]\nprefix='x'": "prompt.turns.robot", "x = ": "line 1", "[generation]\ntop_p = 'much'": "line 2",
		"[prompt]\nadd_boss = true": "line 2",
	} {
		if _, err := parseCard([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error is %v; it has to say %q", text, err, want)
		}
	}
}

func FuzzCard(f *testing.F) {
	b, err := os.ReadFile("../models/default.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("kind = 'instruct'\n[prompt.turns.user]\nprefix = '[INST] '")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCard([]byte(text))
		if err != nil {
			return
		}
		var w target
		Convert(context.Background(), &w, newFake(true), Options{Card: c})
	})
}
