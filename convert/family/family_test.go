package family

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bimamba/memmap"
)

func none(string) bool { return false }

func isBiMamba(name string) bool { return strings.HasSuffix(name, "wscale") }

// TestGoldenConfigs reads the config.json of every golden checkpoint.
func TestGoldenConfigs(t *testing.T) {
	inf := float32(math.Inf(1))
	for dir, want := range map[string]memmap.Model{
		"bimamba":                {Family: BiMamba, DModel: 128, NLayer: 4, DInner: 256, HeadDim: 64, NHeads: 4, DState: 128, NGroups: 1, DConv: 4, VocabSize: 2000, NormEps: 1e-5, GatedNormGroups: 1, DtMax: inf, TieEmbeddings: true},
		"mamba2-statespaces":     {Family: StateSpaces, DModel: 128, NLayer: 2, DInner: 256, HeadDim: 64, NHeads: 4, DState: 128, NGroups: 1, DConv: 4, VocabSize: 1008, NormEps: 1e-5, GatedNormGroups: 1, DtMax: inf, TieEmbeddings: true},
		"mamba2-hf":              {Family: HuggingFace, DModel: 64, NLayer: 3, DInner: 128, HeadDim: 16, NHeads: 8, DState: 16, NGroups: 1, DConv: 4, VocabSize: 384, NormEps: 1e-5, GatedNormGroups: 1, DtMax: inf, TieEmbeddings: true},
		"mamba2-hf-groups":       {Family: HuggingFace, DModel: 64, NLayer: 2, DInner: 128, HeadDim: 16, NHeads: 8, DState: 32, NGroups: 2, DConv: 4, VocabSize: 300, NormEps: 1e-5, GatedNormGroups: 1, DtMin: 0.005, DtMax: 0.06, TieEmbeddings: true},
		"mamba2-hf-sharded-bf16": {Family: HuggingFace, DModel: 96, NLayer: 2, DInner: 192, HeadDim: 32, NHeads: 6, DState: 32, NGroups: 1, DConv: 4, VocabSize: 320, NormEps: 1e-5, GatedNormGroups: 1, DtMax: inf},
	} {
		b, err := os.ReadFile(filepath.Join("../../testdata/golden", dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		has := none
		if want.Family == BiMamba {
			has = isBiMamba
		}
		s, err := Parse(b, has)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if s.Model != want {
			t.Errorf("%s: %+v, not %+v", dir, s.Model, want)
		}
		if err := s.Model.Validate(); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestSwitches that change the arithmetic are read or refused by name.
func TestSwitches(t *testing.T) {
	ss := func(ssm string) string {
		return `{"d_model": 64, "n_layer": 1, "vocab_size": 10, "ssm_cfg": {"layer": "Mamba2", ` + ssm + `}}`
	}
	s, err := Parse([]byte(ss(`"ngroups": 2, "dt_limit": [0.01, Infinity], "bias": true, "conv_bias": false, "headdim": 32, "d_ssm": 128, "chunk_size": 256, "A_init_range": [1, 16]`)), none)
	if err != nil {
		t.Fatal(err)
	}
	if s.Model.GatedNormGroups != 2 || s.Model.DtMin != 0.01 || !math.IsInf(float64(s.Model.DtMax), 1) || !s.Bias || s.ConvBias || s.Model.NHeads != 4 || s.Model.VocabSize != 16 {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct{ want, config string }{
		{"ssm_cfg.layer", `{"d_model": 64, "n_layer": 1, "vocab_size": 10}`},
		{"ssm_cfg.layer", `{"d_model": 64, "n_layer": 1, "vocab_size": 10, "ssm_cfg": {"layer": "Mamba1"}}`},
		{"norm_before_gate", ss(`"norm_before_gate": true`)},
		{"rmsnorm", ss(`"rmsnorm": false`)},
		{"D_has_hdim", ss(`"D_has_hdim": true`)},
		{"activation", ss(`"activation": "relu"`)},
		{"d_ssm", ss(`"d_ssm": 64`)},
		{`ssm_cfg: "surprise"`, ss(`"surprise": 1`)},
		{"ssm_cfg.d_state", ss(`"d_state": "many"`)},
		{"no multiple", ss(`"headdim": 48`)},
		{"no multiple", ss(`"headdim": 0`)},
		{"attn_layer_idx", `{"d_model": 64, "n_layer": 1, "attn_layer_idx": [0], "ssm_cfg": {"layer": "Mamba2"}}`},
		{"d_intermediate", `{"d_model": 64, "n_layer": 1, "d_intermediate": 9, "ssm_cfg": {"layer": "Mamba2"}}`},
		{"rms_norm", `{"d_model": 64, "n_layer": 1, "rms_norm": false, "ssm_cfg": {"layer": "Mamba2"}}`},
		{"pad_vocab_size_multiple", `{"d_model": 64, "n_layer": 1, "pad_vocab_size_multiple": 0, "ssm_cfg": {"layer": "Mamba2"}}`},
		{"too large", `{"d_model": 64, "n_layer": 1, "vocab_size": 4294967295, "pad_vocab_size_multiple": 4294967294, "ssm_cfg": {"layer": "Mamba2"}}`},
		{"model_type", `{"hidden_size": 64, "model_type": "llama"}`},
		{"hidden_act", `{"hidden_size": 64, "model_type": "mamba2", "hidden_act": "gelu"}`},
		{"rms_norm", `{"hidden_size": 64, "rms_norm": false}`},
		{"quantization_config", `{"hidden_size": 64, "quantization_config": {}}`},
		{"num_heads", `{"hidden_size": 64, "num_heads": 3, "head_dim": 32, "expand": 2}`},
		{"expand", `{"hidden_size": 64, "expand": 1e300}`},
		{"expand", `{"hidden_size": 64, "expand": 1.3}`},
		{"neither", `{}`},
		{"model_type", `{"model_type": "gpt2"}`},
		{"offset", `{"d_model": `},
		{"null", `null`},
		{"array", `[]`},
	} {
		_, err := Parse([]byte(c.config), none)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "config.json: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error is %v; it has to say %q", c.config, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	dirs, err := filepath.Glob("../../testdata/golden*/*/config.json")
	if err != nil || len(dirs) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range dirs {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Add([]byte(`{"d_model": 64, "x": "\"Infinity", "y": -Infinity, "z": NaN}`), false)
	f.Fuzz(func(t *testing.T, b []byte, binary bool) {
		s, err := Parse(b, func(string) bool { return binary })
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error of several lines: %v", err)
			}
			return
		}
		if s.Model.Validate() == nil && s.Model.DInner != s.Model.NHeads*s.Model.HeadDim {
			t.Fatalf("%+v", s.Model)
		}
	})
}
