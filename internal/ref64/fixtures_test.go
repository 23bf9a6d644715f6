package ref64

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden-own anew")

const (
	fixtureDir    = "../../testdata/golden-own"
	fixtureTokens = 12
	fixtureGreedy = 8
)

// fixture is one case of testdata/golden-own.
type fixture struct {
	name     string
	config   string // config.json
	seed     uint64 // one whose greedy tokens pass checkGreedy
	dtype    string
	vocab    int     // without padding
	embed    float64 // standard deviation of the embedding
	scales   bool    // FBI-Linear, column
	bias     bool    // in_proj.bias and out_proj.bias
	tiedCopy bool    // lm_head.weight although it is tied
	edit     func(tensors map[string]Tensor)
	zeros    [2]int // exact zeros in every in_proj and out_proj
	maxBytes int    // of model.safetensors
	// without holds mistakes that the case is there to catch: each must change the logits by far more than rounding.
	without map[string]func(*Model)
}

var fixtures = []fixture{
	{
		name: "bimamba-zeros", seed: 32, dtype: "F16", vocab: 64, embed: 0.3, scales: true, maxBytes: 300e3,
		config: stateSpacesConfig(32, 2, 64, `{"layer": "Mamba2", "d_state": 16, "headdim": 16}`, true),
		zeros:  [2]int{5, 2}, // of 5248 and 2048
		edit: func(tensors map[string]Tensor) {
			for layer := range 2 {
				for _, z := range []struct {
					name string
					at   []int
				}{{"in_proj", []int{0, 37, 1000, 2911, 5247}}, {"out_proj", []int{63, 1100}}} {
					data := tensors[mixer(layer)+z.name+".weight"].Data
					for k, at := range z.at {
						data[at] = math.Copysign(0, float64(k%2)-0.5) // rounding to fp16 makes both, -0 first here
					}
				}
			}
		},
		without: map[string]func(*Model){
			"zeros as +1": func(m *Model) { m.ZeroAsPlus = false },
			"-0 as +1":    func(m *Model) { negateZeros(m) },
		},
	},
	{
		name: "statespaces-groups", seed: 4, dtype: "F16", vocab: 90, embed: 0.3, tiedCopy: true, maxBytes: 300e3,
		config:  stateSpacesConfig(32, 2, 90, `{"layer": "Mamba2", "d_state": 16, "headdim": 8, "ngroups": 2}`, true),
		without: map[string]func(*Model){"a norm per group": func(m *Model) { m.Params.NormParts = 1 }},
	},
	{
		name: "statespaces-groups4", seed: 15, dtype: "F32", vocab: 64, embed: 0.3, maxBytes: 300e3,
		config:  stateSpacesConfig(48, 2, 64, `{"layer": "Mamba2", "d_state": 8, "headdim": 12, "ngroups": 4}`, true),
		without: map[string]func(*Model){"a norm per group": func(m *Model) { m.Params.NormParts = 1 }},
	},
	{
		name: "bimamba-odd", seed: 10, dtype: "F16", vocab: 77, embed: 0.3, scales: true, maxBytes: 430e3,
		config: stateSpacesConfig(100, 3, 77, `{"layer": "Mamba2", "d_state": 24, "d_conv": 3, "headdim": 20}`, true),
		edit: func(tensors map[string]Tensor) {
			for layer := range 3 {
				for _, name := range []string{"in_proj", "out_proj"} {
					scale := tensors[mixer(layer)+name+".wscale"].Data
					for i := range scale {
						switch i % 7 {
						case 1:
							scale[i] = -scale[i]
						case 3:
							scale[i] = math.Copysign(math.Ldexp(1, -20-i%4), float64(i%2)-0.5) // some are subnormal in F16
						}
					}
					scale[5] = 0
				}
			}
		},
		without: map[string]func(*Model){
			"negative scales": func(m *Model) { eachScale(m, func(_ int, v float64) float64 { return math.Abs(v) }) },
		},
	},
	{
		name: "bimamba-wide", seed: 55, dtype: "F16", vocab: 64, embed: 0.3, scales: true, maxBytes: 1e6,
		config: stateSpacesConfig(64, 1, 64, `{"layer": "Mamba2", "d_state": 16, "headdim": 64, "expand": 26}`, true),
		without: map[string]func(*Model){
			"the columns from 1536 on": func(m *Model) {
				eachScale(m, func(i int, v float64) float64 {
					if i >= 1536 {
						return 0
					}
					return v
				})
			},
		},
	},
	{
		name: "statespaces-dtlimit", seed: 3, dtype: "F32", vocab: 64, embed: 0.3, maxBytes: 300e3,
		config: stateSpacesConfig(32, 2, 64, `{"layer": "Mamba2", "d_state": 16, "headdim": 16, "dt_limit": [0.05, 0.3]}`, true),
		without: map[string]func(*Model){
			"the lower limit": func(m *Model) { m.Params.DtMin = 0 },
			"the upper limit": func(m *Model) { m.Params.DtMax = math.Inf(1) },
		},
	},
	{
		name: "bimamba-untied", seed: 2, dtype: "F16", vocab: 64, embed: 0.3, scales: true, maxBytes: 300e3,
		config:  stateSpacesConfig(48, 2, 64, `{"layer": "Mamba2", "d_state": 16, "headdim": 16}`, false),
		without: map[string]func(*Model){"a head of its own": func(m *Model) { m.head = m.embedding }},
	},
	{
		// A small embedding, so that layer_norm_epsilon counts.
		name: "hf-odd", seed: 1, dtype: "F32", vocab: 70, embed: 0.03, bias: true, maxBytes: 300e3,
		config: `{
  "architectures": ["Mamba2ForCausalLM"],
  "model_type": "mamba2",
  "vocab_size": 70,
  "hidden_size": 48,
  "num_hidden_layers": 2,
  "num_heads": 8,
  "head_dim": 12,
  "state_size": 10,
  "n_groups": 2,
  "expand": 2,
  "conv_kernel": 2,
  "layer_norm_epsilon": 0.0001,
  "use_bias": true,
  "use_conv_bias": true,
  "hidden_act": "silu",
  "rms_norm": true,
  "residual_in_fp32": true,
  "time_step_limit": [0.0, Infinity],
  "tie_word_embeddings": false,
  "torch_dtype": "float32"
}
`,
		without: map[string]func(*Model){
			"layer_norm_epsilon": func(m *Model) { m.Params.NormEps = 1e-5 },
			"one norm":           func(m *Model) { m.Params.NormParts = 2 },
			"in_proj.bias":       func(m *Model) { m.layers[1].inProj.bias = nil },
			"out_proj.bias":      func(m *Model) { m.layers[1].outProj.bias = nil },
			"conv1d.bias":        func(m *Model) { m.layers[0].convB = nil },
		},
	},
}

func stateSpacesConfig(dModel, nLayer, vocab int, ssm string, tied bool) string {
	return fmt.Sprintf(`{
  "d_model": %d,
  "d_intermediate": 0,
  "n_layer": %d,
  "vocab_size": %d,
  "ssm_cfg": %s,
  "attn_layer_idx": [],
  "attn_cfg": {},
  "rms_norm": true,
  "residual_in_fp32": true,
  "fused_add_norm": true,
  "pad_vocab_size_multiple": 16,
  "tie_embeddings": %t
}
`, dModel, nLayer, vocab, ssm, tied)
}

func mixer(layer int) string { return fmt.Sprintf("backbone.layers.%d.mixer.", layer) }

// eachScale changes the wscale of every projection, given its index and value.
func eachScale(m *Model, change func(i int, v float64) float64) {
	for _, l := range m.layers {
		for _, scale := range [][]float64{l.inProj.wscale, l.outProj.wscale} {
			for i, v := range scale {
				scale[i] = change(i, v)
			}
		}
	}
}

func negateZeros(m *Model) {
	for _, l := range m.layers {
		for _, w := range [][]float64{l.inProj.weight, l.outProj.weight} {
			for i, v := range w {
				if v == 0 && math.Signbit(v) {
					w[i] = -1
				}
			}
		}
	}
}

// weights draws the tensors of a checkpoint. All arithmetic is one exactly rounded operation at a time, so that every CPU
// gives the same bytes.
func (f fixture) weights(p Params, r *rand.Rand) map[string]Tensor {
	tensors := make(map[string]Tensor)
	put := func(name string, lo, hi float64, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		data := make([]float64, n)
		for i := range data {
			data[i] = lo + float64((hi-lo)*(float64(r.Uint32N(1<<24))/(1<<24)))
		}
		tensors[name] = Tensor{shape, data}
	}
	const spread = 1.732 // a uniform number in +-spread has a standard deviation of 1
	linear := func(name string, out, in int) {
		std := 1 / math.Sqrt(float64(in))
		put(name+".weight", -spread*std, spread*std, out, in)
		if f.scales {
			put(name+".wscale", 0.5*std, 1.5*std, 1, in)
			put(name+".wbias", -0.3*std, 0.3*std, 1, in)
		}
		if f.bias {
			put(name+".bias", -0.3, 0.3, out)
		}
	}
	embedding := "backbone.embedding.weight"
	if p.Family == HuggingFace {
		embedding = "backbone.embeddings.weight"
	}
	put(embedding, -spread*f.embed, spread*f.embed, p.VocabSize, p.DModel)
	for i := range p.NLayer {
		put(fmt.Sprintf("backbone.layers.%d.norm.weight", i), 0.5, 1.5, p.DModel)
		linear(mixer(i)+"in_proj", 2*p.DInner+2*p.NGroups*p.DState+p.NHeads, p.DModel)
		linear(mixer(i)+"out_proj", p.DModel, p.DInner)
		put(mixer(i)+"conv1d.weight", -1, 1, p.Channels(), 1, p.DConv)
		put(mixer(i)+"conv1d.bias", -0.3, 0.3, p.Channels())
		put(mixer(i)+"dt_bias", -4, 0, p.NHeads)
		put(mixer(i)+"A_log", 0, 2.75, p.NHeads) // A from -1 to -16
		put(mixer(i)+"D", 0.5, 1.5, p.NHeads)
		put(mixer(i)+"norm.weight", 0.5, 1.5, p.DInner)
	}
	put("backbone.norm_f.weight", 0.5, 1.5, p.DModel)
	switch {
	case !p.Tied:
		put("lm_head.weight", -0.5, 0.5, p.VocabSize, p.DModel)
	case f.tiedCopy:
		tensors["lm_head.weight"] = tensors[embedding]
	}
	if f.edit != nil {
		f.edit(tensors)
	}
	return tensors
}

// TestFixtures makes every case of testdata/golden-own and compares it with the files there; with -update it writes them.
func TestFixtures(t *testing.T) {
	if !*update {
		if dirs, err := filepath.Glob(filepath.Join(fixtureDir, "*", "config.json")); err != nil || len(dirs) != len(fixtures) {
			t.Errorf("%d cases in %s (%v), want %d", len(dirs), fixtureDir, err, len(fixtures))
		}
	}
	for _, f := range fixtures {
		t.Run(f.name, f.test)
	}
}

func (f fixture) test(t *testing.T) {
	p, err := parseParams([]byte(f.config), f.scales)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(f.seed, 64))
	model, err := writeSafetensors(f.weights(p, r), func(string) string { return f.dtype })
	if err != nil {
		t.Fatal(err)
	}
	if len(model) > f.maxBytes {
		t.Errorf("model.safetensors has %d bytes, want at most %d", len(model), f.maxBytes)
	}
	ids := make([]int, fixtureTokens)
	for i := range ids {
		ids[i] = r.IntN(f.vocab)
	}
	dir := filepath.Join(fixtureDir, f.name)
	path := filepath.Join(dir, "golden.safetensors")
	if *update {
		f.write(t, dir, model, ids)
	}
	for name, want := range map[string][]byte{"config.json": []byte(f.config), "model.safetensors": model} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator makes (%v); write it anew with -update", name, err)
		}
	}
	m := f.load(t)
	g := readGolden(t, path)
	if !slices.Equal(g.ids, ids) {
		t.Errorf("input_ids %v, the generator makes %v", g.ids, ids)
	}
	t.Logf("worst relative error %.2g", compare(t, m, g, 1e-7)) // 6e-8 is the rounding to float32
	f.checkZeros(t, m)
	f.checkGreedy(t, m, g)
	for mistake, commit := range f.without {
		other := f.load(t)
		commit(other)
		trace, err := other.Run(ids)
		if err != nil {
			t.Fatal(err)
		}
		e := RelL2(slices.Concat(trace.Logits...), g.tensors["logits"].Data)
		t.Logf("without %s: %.2g", mistake, e)
		if !(e > 5e-3) {
			t.Errorf("without %s the logits change by %.2g alone", mistake, e)
		}
	}
}

func (f fixture) load(t *testing.T) *Model {
	t.Helper()
	m, err := Load(filepath.Join(fixtureDir, f.name))
	if err != nil {
		t.Fatal(err)
	}
	m.ZeroAsPlus = true // what a packed file can say
	return m
}

func (f fixture) write(t *testing.T, dir string, model []byte, ids []int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", []byte(f.config))
	write("model.safetensors", model)
	m := f.load(t)
	trace, err := m.Run(ids)
	if err != nil {
		t.Fatal(err)
	}
	greedy, err := m.Greedy(ids, fixtureGreedy)
	if err != nil {
		t.Fatal(err)
	}
	tensors := goldenTensors(m.Params, trace)
	tensors["input_ids"], tensors["greedy"] = intTensor(ids), intTensor(greedy)
	golden, err := writeSafetensors(tensors, func(name string) string {
		if name == "input_ids" || name == "greedy" {
			return "I32"
		}
		return "F32"
	})
	if err != nil {
		t.Fatal(err)
	}
	write("golden.safetensors", golden)
}

func intTensor(ids []int) Tensor {
	data := make([]float64, len(ids))
	for i, id := range ids {
		data[i] = float64(id)
	}
	return Tensor{[]int{len(ids)}, data}
}

// checkZeros counts the exact zeros of binarized weights: those that the case asks for, and fewer than 0.1 %.
func (f fixture) checkZeros(t *testing.T, m *Model) {
	t.Helper()
	if !f.scales {
		return
	}
	for i, l := range m.layers {
		for k, w := range [][]float64{l.inProj.weight, l.outProj.weight} {
			zeros := 0
			for _, v := range w {
				if v == 0 {
					zeros++
				}
			}
			if zeros != f.zeros[k] || zeros*1000 >= len(w) {
				t.Errorf("layer %d, projection %d: %d zeros of %d, want %d and below 0.1 %%", i, k, zeros, len(w), f.zeros[k])
			}
		}
	}
}

// checkGreedy asks that no greedy token be near a tie or a row of padding, that they vary, and that the residual stream
// have a size of about 1, so that a float32 implementation must give the same ones.
func (f fixture) checkGreedy(t *testing.T, m *Model, g golden) {
	t.Helper()
	trace, err := m.Run(append(slices.Clone(g.ids), g.greedy...))
	if err != nil {
		t.Fatal(err)
	}
	margin := math.Inf(1)
	distinct := make(map[int]bool)
	for i, id := range g.greedy {
		logits := trace.Logits[len(g.ids)-1+i]
		best, second := math.Inf(-1), math.Inf(-1)
		for k, v := range logits {
			if k == id {
				best = v
			} else {
				second = max(second, v)
			}
		}
		margin = min(margin, (best-second)/rms(logits))
		distinct[id] = true
		if id >= f.vocab {
			t.Errorf("greedy token %d is padding: take another seed", id)
		}
	}
	last := trace.LayerOut[m.Params.NLayer-1]
	size := rms(slices.Concat(last...))
	t.Logf("greedy margin %.2g of the logits' size, %d distinct tokens, residual stream of %.2g", margin, len(distinct), size)
	if margin < 0.1 || len(distinct) < 5 {
		t.Errorf("greedy margin %.2g with %d distinct tokens: take another seed", margin, len(distinct))
	}
	if size < 0.3 || size > 3 {
		t.Errorf("the residual stream has a size of %.2g", size)
	}
}

func rms(x []float64) float64 {
	var squares float64
	for _, v := range x {
		squares += v * v
	}
	return math.Sqrt(squares / float64(len(x)))
}
