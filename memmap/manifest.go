package memmap

//go:generate go tool -modfile=../tools/go.mod msgp -o=manifest_gen.go -tests=false -io=false -file=manifest.go

//msgp:limit arrays:65536 maps:64
//msgp:tag msg

// DType is the element type of a tensor, as FORMAT.md names it.
type DType string

// Element types. All multi-byte elements are little-endian.
const (
	F32  DType = "f32"
	F16  DType = "f16"
	BF16 DType = "bf16"
	I8   DType = "i8"
	U8   DType = "u8"
	U32  DType = "u32"
	B1   DType = "b1" // one bit an element, in the order that Tensor.Layout names
	I4   DType = "i4" // four bits an element, in the layout I4Layout
)

// Quant says how a projection's companions (X.scale, X.bias) apply to X.weight.
type Quant string

// Quantization patterns. W~ is the matrix that multiplies, o its row, i its column.
const (
	QuantNone   Quant = ""       // W~ = W
	QuantColumn Quant = "column" // W~[o,i] = scale[i]*W[o,i] + bias[i]; scale and bias already hold the norm in front
	QuantRow    Quant = "row"    // W~[o,i] = scale[o]*W[o,i] + bias[o]; i8 has no bias
	QuantSingle Quant = "single" // W~[o,i] = scale[0]*W[o,i] + bias[0]
	QuantGroup  Quant = "group"  // W~[o,i] = scale[o,i/32]*W[o,i], scale f16; i4 has this one and nothing else has it
)

// Kind is what a model was trained to do, and so what may be asked of it.
type Kind string

// Kinds.
const (
	KindBase     Kind = "base"     // continues text
	KindInstruct Kind = "instruct" // answers turns, as Prompt says
	KindIntent   Kind = "intent"   // maps an utterance to an intent, one of Tasks
)

// Manifest is the self-description of a blob: everything but the bytes of the tensors.
type Manifest struct {
	Model      Model      `msg:"model"`
	Kind       Kind       `msg:"kind"`
	Name       string     `msg:"name"`
	Tasks      []Task     `msg:"tasks"`
	Prompt     Prompt     `msg:"prompt"`
	Generation Generation `msg:"generation"`
	Tokenizer  *Tokenizer `msg:"tokenizer"`
	Sections   []Section  `msg:"sections"`
	Provenance Provenance `msg:"provenance"`
}

// Model holds the hyperparameters of a Mamba-2 (the names are those of arXiv 2405.21060 and its code).
type Model struct {
	Family          string  `msg:"family"` // of the source: bimamba, mamba2, mamba2-hf; for people, not for arithmetic
	DModel          uint32  `msg:"d_model"`
	NLayer          uint32  `msg:"n_layer"`
	DInner          uint32  `msg:"d_inner"`
	HeadDim         uint32  `msg:"headdim"`
	NHeads          uint32  `msg:"nheads"`
	DState          uint32  `msg:"d_state"`
	NGroups         uint32  `msg:"ngroups"`
	DConv           uint32  `msg:"d_conv"`
	VocabSize       uint32  `msg:"vocab_size"` // rows of the embedding, padding included
	NormEps         float32 `msg:"norm_eps"`
	GatedNormGroups uint32  `msg:"gated_norm_groups"` // groups that the norm behind the gate normalises apart
	DtMin           float32 `msg:"dt_min"`            // dt is clamped to [DtMin, DtMax] after softplus
	DtMax           float32 `msg:"dt_max"`            // may be +Inf
	TieEmbeddings   bool    `msg:"tie_embeddings"`    // the head is the embedding
}

// Task is one thing an intent model can be asked: prefix + utterance + suffix.
type Task struct {
	Name   string `msg:"name"`
	Prefix string `msg:"prefix"`
	Suffix string `msg:"suffix"`
}

// Prompt says how turns become text: plain strings, no template language.
type Prompt struct {
	AddBOS           bool     `msg:"add_bos"`
	BOSID            int32    `msg:"bos_id"` // -1: none
	EOSIDs           []uint32 `msg:"eos_ids"`
	Stop             []string `msg:"stop"`
	Turns            Turns    `msg:"turns"`
	GenerationPrefix string   `msg:"generation_prefix"`
}

// Turns holds the text around the turns of each role.
type Turns struct {
	System    Turn `msg:"system"`
	User      Turn `msg:"user"`
	Assistant Turn `msg:"assistant"`
	Tool      Turn `msg:"tool"`
}

// Turn is the text around one turn.
type Turn struct {
	Prefix string `msg:"prefix"`
	Suffix string `msg:"suffix"`
}

// Generation holds the defaults of sampling. Temperature 0 is greedy.
type Generation struct {
	MaxTokens         uint32  `msg:"max_tokens"`
	Temperature       float32 `msg:"temperature"`
	TopK              uint32  `msg:"top_k"`              // 0: off
	TopP              float32 `msg:"top_p"`              // 1: off
	MinP              float32 `msg:"min_p"`              // 0: off
	RepetitionPenalty float32 `msg:"repetition_penalty"` // 1: off
}

// Section is a run of tensors that are used together: one layer, embedding and head, or the tokenizer.
type Section struct {
	Name    string   `msg:"name"`
	Offset  uint64   `msg:"offset"` // from the start of the file, a multiple of SectionAlign
	Length  uint64   `msg:"length"`
	Tensors []Tensor `msg:"tensors"` // in the order in which they are used, and of their offsets
}

// Tensor describes one tensor.
type Tensor struct {
	Name   string   `msg:"name"`
	DType  DType    `msg:"dtype"`
	Layout string   `msg:"layout"` // "": row-major, no padding; else as FORMAT.md says
	Quant  Quant    `msg:"quant,omitempty"`
	Shape  []uint64 `msg:"shape,limit=4"`
	Offset uint64   `msg:"offset"` // from the start of the file, a multiple of TensorAlign
	Length uint64   `msg:"length"` // bytes
	SHA256 [32]byte `msg:"sha256"`
	Zeros  uint64   `msg:"zeros,omitempty"` // b1: elements that were exactly 0 in the source and became +1
}

// Provenance says what a blob was made from and how.
type Provenance struct {
	Converter   string       `msg:"converter"` // program and version
	Options     []string     `msg:"options"`
	Sources     []SourceFile `msg:"sources"`
	License     string       `msg:"license"` // text, or an SPDX expression
	Description string       `msg:"description"`
	Data        []string     `msg:"data"` // training data, one line each, with its licence
}

// SourceFile is one file that a blob was made from.
type SourceFile struct {
	Name   string   `msg:"name"` // base name
	Length uint64   `msg:"length"`
	SHA256 [32]byte `msg:"sha256"`
}
