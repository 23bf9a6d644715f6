package ref64

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
)

// Families of checkpoints.
const (
	BiMamba     = "bimamba"
	StateSpaces = "statespaces"
	HuggingFace = "huggingface"
)

// Params holds the hyperparameters of a model.
type Params struct {
	Family    string // BiMamba, StateSpaces or HuggingFace
	DModel    int
	NLayer    int
	DInner    int // expand * d_model
	HeadDim   int
	NHeads    int // DInner / HeadDim
	DState    int
	NGroups   int // heads h with the same h / (NHeads/NGroups) share B and C
	DConv     int
	VocabSize int // rows of the embedding, padding included
	NormEps   float64
	NormParts int     // parts of d_inner that the gated norm normalises apart: 1, or NGroups for state-spaces' code
	DtMin     float64 // dt is clamped to [DtMin, DtMax] after softplus
	DtMax     float64 // may be +Inf
	Tied      bool    // the head is the embedding
}

// Channels is the width of the convolution: x, B and C.
func (p Params) Channels() int { return p.DInner + 2*p.NGroups*p.DState }

// infinity matches the bare word that Python's json writes, which is not JSON.
var infinity = regexp.MustCompile(`([\[,:\s])Infinity\b`)

// limits is a pair in which null, put there for Infinity, stands for +Inf.
type limits []*float64

func (l limits) bounds() (lo, hi float64, err error) {
	switch {
	case l == nil:
		return 0, math.Inf(1), nil
	case len(l) != 2 || l[0] == nil:
		return 0, 0, fmt.Errorf("time step limit has %d ends, want a finite and a finite or infinite one", len(l))
	case l[1] == nil:
		return *l[0], math.Inf(1), nil
	}
	return *l[0], *l[1], nil
}

// parseParams reads a config.json. Family is BiMamba or StateSpaces by whether there are scales beside the weights.
func parseParams(config []byte, scales bool) (Params, error) {
	config = infinity.ReplaceAll(config, []byte("${1}null"))
	var kind struct {
		HiddenSize *int `json:"hidden_size"`
	}
	if err := json.Unmarshal(config, &kind); err != nil {
		return Params{}, err
	}
	var p Params
	var err error
	if kind.HiddenSize != nil {
		p, err = parseHuggingFace(config)
	} else {
		p, err = parseStateSpaces(config)
		if scales {
			p.Family = BiMamba
		}
	}
	if err != nil {
		return Params{}, err
	}
	for _, field := range []struct {
		name  string
		value int
	}{
		{"d_model", p.DModel}, {"n_layer", p.NLayer}, {"expand * d_model", p.DInner}, {"headdim", p.HeadDim},
		{"d_state", p.DState}, {"ngroups", p.NGroups}, {"d_conv", p.DConv}, {"vocab_size", p.VocabSize},
	} {
		if field.value < 1 || field.value > 1<<20 {
			return Params{}, fmt.Errorf("%s is %d", field.name, field.value)
		}
	}
	if p.NHeads*p.HeadDim != p.DInner || p.NHeads%p.NGroups != 0 {
		return Params{}, fmt.Errorf("d_inner %d, %d heads of %d, %d groups do not divide", p.DInner, p.NHeads, p.HeadDim, p.NGroups)
	}
	return p, nil
}

func parseStateSpaces(config []byte) (Params, error) {
	type ssm struct {
		Layer          string `json:"layer"`
		DState         int    `json:"d_state"`
		DConv          int    `json:"d_conv"`
		Expand         int    `json:"expand"`
		HeadDim        int    `json:"headdim"`
		NGroups        int    `json:"ngroups"`
		DtLimit        limits `json:"dt_limit"`
		NormBeforeGate bool   `json:"norm_before_gate"`
		RMSNorm        bool   `json:"rmsnorm"`
		DHasHDim       bool   `json:"D_has_hdim"`
	}
	c := struct {
		DModel int  `json:"d_model"`
		NLayer int  `json:"n_layer"`
		Vocab  int  `json:"vocab_size"`
		Pad    int  `json:"pad_vocab_size_multiple"`
		Tied   bool `json:"tie_embeddings"`
		SSM    ssm  `json:"ssm_cfg"`
	}{Pad: 8, Tied: true, SSM: ssm{DState: 128, DConv: 4, Expand: 2, HeadDim: 64, NGroups: 1, RMSNorm: true}}
	if err := json.Unmarshal(config, &c); err != nil {
		return Params{}, err
	}
	s := c.SSM
	if s.Layer != "Mamba2" || s.NormBeforeGate || !s.RMSNorm || s.DHasHDim || s.HeadDim < 1 || c.Pad < 1 {
		return Params{}, fmt.Errorf("ssm_cfg %+v, pad_vocab_size_multiple %d: not a Mamba-2 that this package knows", s, c.Pad)
	}
	lo, hi, err := s.DtLimit.bounds()
	if err != nil {
		return Params{}, err
	}
	inner := s.Expand * c.DModel
	return Params{
		Family: StateSpaces, DModel: c.DModel, NLayer: c.NLayer, DInner: inner, HeadDim: s.HeadDim, NHeads: inner / s.HeadDim,
		DState: s.DState, NGroups: s.NGroups, DConv: s.DConv, VocabSize: (c.Vocab + c.Pad - 1) / c.Pad * c.Pad,
		NormEps: 1e-5, NormParts: s.NGroups, DtMin: lo, DtMax: hi, Tied: c.Tied,
	}, nil
}

func parseHuggingFace(config []byte) (Params, error) {
	c := struct {
		Hidden  int     `json:"hidden_size"`
		Layers  int     `json:"num_hidden_layers"`
		Vocab   int     `json:"vocab_size"`
		Heads   int     `json:"num_heads"`
		HeadDim int     `json:"head_dim"`
		State   int     `json:"state_size"`
		Groups  int     `json:"n_groups"`
		Expand  int     `json:"expand"`
		Kernel  int     `json:"conv_kernel"`
		Eps     float64 `json:"layer_norm_epsilon"`
		Limit   limits  `json:"time_step_limit"`
		Tied    bool    `json:"tie_word_embeddings"`
	}{Expand: 2, Kernel: 4, Eps: 1e-5}
	if err := json.Unmarshal(config, &c); err != nil {
		return Params{}, err
	}
	lo, hi, err := c.Limit.bounds()
	if err != nil {
		return Params{}, err
	}
	return Params{
		Family: HuggingFace, DModel: c.Hidden, NLayer: c.Layers, DInner: c.Expand * c.Hidden, HeadDim: c.HeadDim, NHeads: c.Heads,
		DState: c.State, NGroups: c.Groups, DConv: c.Kernel, VocabSize: c.Vocab,
		NormEps: c.Eps, NormParts: 1, DtMin: lo, DtMax: hi, Tied: c.Tied,
	}, nil
}
