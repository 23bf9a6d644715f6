// Package family knows the families of Mamba-2 checkpoints: how each names its hyperparameters in config.json and its tensors.
//
// Three families are read: Bi-Mamba as its authors save it, Mamba-2 of state-spaces/mamba, and Mamba-2 of Hugging
// Face transformers. A switch that would change the arithmetic in a way that [memmap.Model] cannot say is refused by name.
package family

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"bimamba/memmap"
)

// Names of the families, as they stand in memmap.Model.Family.
const (
	BiMamba     = "bimamba"
	StateSpaces = "mamba2"
	HuggingFace = "mamba2-hf"
)

// Spec is a checkpoint's shape and the names of its tensors.
type Spec struct {
	Model     memmap.Model // VocabSize holds the rows that config.json calls for
	Embedding string       // name of the embedding
	Head      string       // name of the head, also when it is a copy of the embedding
	FinalNorm string
	Bias      bool // in_proj and out_proj have an additive bias
	ConvBias  bool
}

// Layer is the prefix of the names of layer i.
func (s *Spec) Layer(i int) string { return fmt.Sprintf("backbone.layers.%d.", i) }

// Parse reads config.json. has tells whether the checkpoint holds a tensor: a projection's wscale makes it a Bi-Mamba.
func Parse(config []byte, has func(tensor string) bool) (*Spec, error) {
	config = bytes.TrimPrefix(config, []byte("\xef\xbb\xbf"))
	fields := make(map[string]json.RawMessage)
	if err := json.Unmarshal(quoteNonFinite(config), &fields); err != nil {
		return nil, fmt.Errorf("config.json: %w", jsonError(err))
	}
	if fields == nil {
		return nil, errors.New("config.json: null, not an object")
	}
	if _, ok := fields["hidden_size"]; ok {
		return parseHuggingFace(quoteNonFinite(config))
	}
	if _, ok := fields["d_model"]; ok {
		return parseStateSpaces(quoteNonFinite(config), has)
	}
	var other string
	if json.Unmarshal(fields["model_type"], &other) == nil {
		return nil, fmt.Errorf("config.json: model_type %q: not a Mamba-2; bimamba converts Bi-Mamba and Mamba-2 checkpoints", other)
	}
	return nil, errors.New("config.json: neither d_model nor hidden_size stands in it: not the config.json of a Bi-Mamba or Mamba-2 checkpoint")
}

// parseStateSpaces reads the config.json of state-spaces/mamba, which Bi-Mamba's authors keep.
func parseStateSpaces(config []byte, has func(string) bool) (*Spec, error) {
	c := struct {
		DModel       uint32                     `json:"d_model"`
		DInter       uint32                     `json:"d_intermediate"`
		NLayer       uint32                     `json:"n_layer"`
		VocabSize    uint32                     `json:"vocab_size"`
		SSM          map[string]json.RawMessage `json:"ssm_cfg"`
		AttnLayers   []int                      `json:"attn_layer_idx"`
		RMSNorm      bool                       `json:"rms_norm"`
		PadMultiple  uint32                     `json:"pad_vocab_size_multiple"`
		TieEmbedding bool                       `json:"tie_embeddings"`
	}{RMSNorm: true, PadMultiple: 8, TieEmbedding: true}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", jsonError(err))
	}
	switch {
	case len(c.AttnLayers) > 0:
		return nil, fmt.Errorf("config.json: attn_layer_idx %v: attention layers are not part of Mamba-2 here", c.AttnLayers)
	case c.DInter != 0:
		return nil, fmt.Errorf("config.json: d_intermediate %d: MLP blocks between the mixers are not supported", c.DInter)
	case !c.RMSNorm:
		return nil, errors.New("config.json: rms_norm is false: LayerNorm is not supported")
	case c.PadMultiple == 0:
		return nil, errors.New("config.json: pad_vocab_size_multiple is 0")
	}
	s := &ssm{DState: 128, DConv: 4, Expand: 2, HeadDim: 64, NGroups: 1, RMSNorm: true, ConvBias: true, DtLimit: [2]number{0, number(math.Inf(1))}}
	if err := s.read(c.SSM); err != nil {
		return nil, err
	}
	dInner := uint64(s.Expand) * uint64(c.DModel)
	if s.DSSM != nil && *s.DSSM != dInner {
		return nil, fmt.Errorf("config.json: ssm_cfg.d_ssm %d: an SSM over a part of d_inner (%d) is not supported", *s.DSSM, dInner)
	}
	m := memmap.Model{
		Family: StateSpaces, DModel: c.DModel, NLayer: c.NLayer, HeadDim: s.HeadDim, DState: s.DState, NGroups: s.NGroups, DConv: s.DConv,
		NormEps: 1e-5, GatedNormGroups: s.NGroups, DtMin: float32(s.DtLimit[0]), DtMax: float32(s.DtLimit[1]), TieEmbeddings: c.TieEmbedding,
	}
	if err := setInner(&m, dInner, "d_model"); err != nil {
		return nil, err
	}
	rows := (uint64(c.VocabSize) + uint64(c.PadMultiple) - 1) / uint64(c.PadMultiple) * uint64(c.PadMultiple)
	if rows > math.MaxUint32 {
		return nil, fmt.Errorf("config.json: vocab_size %d padded to a multiple of %d is too large", c.VocabSize, c.PadMultiple)
	}
	m.VocabSize = uint32(rows)
	spec := &Spec{Model: m, Embedding: "backbone.embedding.weight", Head: "lm_head.weight", FinalNorm: "backbone.norm_f.weight", Bias: s.Bias, ConvBias: s.ConvBias}
	if has(spec.Layer(0)+"mixer.in_proj.wscale") || has(spec.Layer(0)+"mixer.in_proj.wbias") {
		spec.Model.Family = BiMamba
	}
	return spec, nil
}

// ssm is ssm_cfg: the arguments of state-spaces' Mamba2 that matter after training.
type ssm struct {
	DState   uint32
	DConv    uint32
	Expand   uint32
	HeadDim  uint32
	NGroups  uint32
	DSSM     *uint64
	RMSNorm  bool
	Bias     bool
	ConvBias bool
	DtLimit  [2]number
}

// read takes the values of cfg. A key that it does not know may change the arithmetic, so it is refused.
func (s *ssm) read(cfg map[string]json.RawMessage) error {
	var layer, activation string
	var beforeGate, dHasHdim bool
	layer, activation = "Mamba1", "silu" // state-spaces' own defaults
	dst := map[string]any{
		"layer": &layer, "d_state": &s.DState, "d_conv": &s.DConv, "expand": &s.Expand, "headdim": &s.HeadDim, "ngroups": &s.NGroups, "d_ssm": &s.DSSM,
		"rmsnorm": &s.RMSNorm, "bias": &s.Bias, "conv_bias": &s.ConvBias, "dt_limit": &s.DtLimit, "activation": &activation,
		"norm_before_gate": &beforeGate, "D_has_hdim": &dHasHdim,
	}
	// What only initialises, or only chooses a kernel.
	ignored := []string{"conv_init", "A_init_range", "dt_min", "dt_max", "dt_init_floor", "chunk_size", "use_mem_eff_path", "process_group", "sequence_parallel", "layer_idx", "device", "dtype"}
	for key, raw := range cfg {
		if slices.Contains(ignored, key) {
			continue
		}
		p, ok := dst[key]
		if !ok {
			return fmt.Errorf("config.json: ssm_cfg: %q is not known here and may change the arithmetic; remove it if it does not", key)
		}
		if err := json.Unmarshal(raw, p); err != nil {
			return fmt.Errorf("config.json: ssm_cfg.%s: %w", key, jsonError(err))
		}
	}
	switch {
	case layer != "Mamba2":
		return fmt.Errorf("config.json: ssm_cfg.layer is %q: only Mamba2 is supported", layer)
	case activation != "silu" && activation != "swish":
		return fmt.Errorf("config.json: ssm_cfg.activation is %q: only silu is supported", activation)
	case !s.RMSNorm:
		return errors.New("config.json: ssm_cfg.rmsnorm is false: a mixer without its gated norm is not supported")
	case beforeGate:
		return errors.New("config.json: ssm_cfg.norm_before_gate is true: only the norm after the gate is supported")
	case dHasHdim:
		return errors.New("config.json: ssm_cfg.D_has_hdim is true: only one D per head is supported")
	}
	return nil
}

// parseHuggingFace reads the config.json of transformers' Mamba2Config.
func parseHuggingFace(config []byte) (*Spec, error) {
	c := struct {
		ModelType string      `json:"model_type"`
		Hidden    uint32      `json:"hidden_size"`
		Layers    uint32      `json:"num_hidden_layers"`
		VocabSize uint32      `json:"vocab_size"`
		State     uint32      `json:"state_size"`
		HeadDim   uint32      `json:"head_dim"`
		NumHeads  uint32      `json:"num_heads"`
		Groups    uint32      `json:"n_groups"`
		Expand    float64     `json:"expand"`
		Conv      uint32      `json:"conv_kernel"`
		Eps       float64     `json:"layer_norm_epsilon"`
		DtLimit   [2]number   `json:"time_step_limit"`
		Tie       bool        `json:"tie_word_embeddings"`
		UseBias   bool        `json:"use_bias"`
		ConvBias  bool        `json:"use_conv_bias"`
		Act       string      `json:"hidden_act"`
		RMSNorm   bool        `json:"rms_norm"`
		Quant     interface{} `json:"quantization_config"`
	}{
		State: 128, HeadDim: 64, NumHeads: 128, Groups: 8, Expand: 2, Conv: 4, Eps: 1e-5, DtLimit: [2]number{0, number(math.Inf(1))},
		ConvBias: true, Act: "silu", RMSNorm: true,
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", jsonError(err))
	}
	switch {
	case c.ModelType != "" && c.ModelType != "mamba2":
		return nil, fmt.Errorf("config.json: model_type %q: not a Mamba-2; bimamba converts Bi-Mamba and Mamba-2 checkpoints", c.ModelType)
	case c.Act != "silu" && c.Act != "swish":
		return nil, fmt.Errorf("config.json: hidden_act is %q: only silu is supported", c.Act)
	case !c.RMSNorm:
		return nil, errors.New("config.json: rms_norm is false: a mixer without its gated norm is not supported")
	case c.Quant != nil:
		return nil, errors.New("config.json: quantization_config: weights that were quantized by another tool cannot be read; convert the original checkpoint")
	}
	m := memmap.Model{
		Family: HuggingFace, DModel: c.Hidden, NLayer: c.Layers, HeadDim: c.HeadDim, DState: c.State, NGroups: c.Groups, DConv: c.Conv, VocabSize: c.VocabSize,
		NormEps: float32(c.Eps), GatedNormGroups: 1, DtMin: float32(c.DtLimit[0]), DtMax: float32(c.DtLimit[1]), TieEmbeddings: c.Tie,
	}
	inner := c.Expand * float64(c.Hidden)
	if inner != math.Trunc(inner) || !(inner >= 1 && inner < 1<<30) {
		return nil, fmt.Errorf("config.json: expand %v times hidden_size %d is no size", c.Expand, c.Hidden)
	}
	if err := setInner(&m, uint64(inner), "hidden_size"); err != nil {
		return nil, err
	}
	if m.NHeads != c.NumHeads {
		return nil, fmt.Errorf("config.json: num_heads %d times head_dim %d is not expand*hidden_size = %d", c.NumHeads, c.HeadDim, m.DInner)
	}
	return &Spec{Model: m, Embedding: "backbone.embeddings.weight", Head: "lm_head.weight", FinalNorm: "backbone.norm_f.weight", Bias: c.UseBias, ConvBias: c.ConvBias}, nil
}

// setInner sets d_inner and nheads.
func setInner(m *memmap.Model, dInner uint64, width string) error {
	if m.HeadDim == 0 || dInner == 0 || dInner > 1<<30 || dInner%uint64(m.HeadDim) != 0 {
		return fmt.Errorf("config.json: expand*%s = %d is no multiple of the head's dimension %d", width, dInner, m.HeadDim)
	}
	m.DInner = uint32(dInner)
	m.NHeads = uint32(dInner / uint64(m.HeadDim))
	return nil
}

// number is a float that Python's json may have written as Infinity.
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	switch s := strings.Trim(string(b), `"`); s {
	case "Infinity":
		*n = number(math.Inf(1))
	case "-Infinity":
		*n = number(math.Inf(-1))
	case "NaN":
		*n = number(math.NaN())
	default:
		return json.Unmarshal(b, (*float64)(n))
	}
	return nil
}

// quoteNonFinite puts quotes around the bare words Infinity, -Infinity and NaN, which Python writes and JSON forbids.
func quoteNonFinite(b []byte) []byte {
	var out []byte
	last := 0
	for i := 0; i < len(b); {
		if b[i] == '"' {
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
			continue
		}
		n := 0
		for _, w := range []string{"-Infinity", "Infinity", "NaN"} {
			if bytes.HasPrefix(b[i:], []byte(w)) {
				n = len(w)
				break
			}
		}
		if n == 0 {
			i++
			continue
		}
		out = append(out, b[last:i]...)
		out = append(append(append(out, '"'), b[i:i+n]...), '"')
		i += n
		last = i
	}
	if out == nil {
		return b
	}
	return append(out, b[last:]...)
}

// jsonError says what the decoder found in words of the file, with its offset.
func jsonError(err error) error {
	var syn *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syn):
		return fmt.Errorf("offset %d: %s", syn.Offset, syn)
	case errors.As(err, &typ):
		return fmt.Errorf("%s is a %s, which does not fit a %s", typ.Field, typ.Value, typ.Type)
	}
	return err
}
