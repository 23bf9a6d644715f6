package plan

import (
	"bimamba/edge/model"
	"bimamba/memmap"
)

// Parts is the memory of the daemon in bytes once it has used all its states.
type Parts struct {
	Weights   int64 `json:"weights"`   // mapped: the layers, without those that are read from storage for each token
	Head      int64 `json:"head"`      // mapped: embedding, final norm and head
	Tokenizer int64 `json:"tokenizer"` // mapped
	Padding   int64 `json:"padding"`   // mapped: the manifest, and what is between sections
	States    int64 `json:"states"`    // of sessions and checkpoints
	Logits    int64 `json:"logits"`    // of the same
	Buffers   int64 `json:"buffers"`   // for layers from storage
	Workspace int64 `json:"workspace"` // of a batch of tokens, and what sessions share
	Heap      int64 `json:"heap"`      // Go's heap and stacks: measured
	Program   int64 `json:"program"`   // the daemon's code and data: measured
}

// Total adds them up.
func (p Parts) Total() int64 {
	return p.Weights + p.Head + p.Tokenizer + p.Padding + p.States + p.Logits + p.Buffers + p.Workspace + p.Heap + p.Program
}

// What the daemon takes beside the model, measured after some dozen requests of all kinds (TestPeak keeps it true). Clients with large requests make
// the heap larger, up to the daemon's own limit (daemon.HeapLimit).
const (
	program   = 8328 << 10
	heap      = 3600 << 10
	heapToken = 104 // for each token of the vocabulary: its text, and masks of schemas
)

func newParts(m *memmap.Manifest, f *model.Footprint) Parts {
	return Parts{
		Weights: f.Weights - f.Streamed, Head: f.Head, Tokenizer: f.Tokenizer, Padding: f.File - f.Weights - f.Head - f.Tokenizer,
		States: f.States * f.State(), Logits: f.States * f.Logits, Buffers: f.Buffers, Workspace: f.Workspace + f.Shared, Heap: heap + heapToken*int64(m.Model.VocabSize), Program: program,
	}
}
