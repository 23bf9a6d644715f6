package model

import (
	"fmt"

	"bimamba/memmap"
	"bimamba/neon"
)

// Session is one sequence: its recurrent state and the workspace of its forward passes.
// It is used by one goroutine at a time; different sessions may run at once.
type Session struct {
	m *Model

	// State.
	pos  int64     // tokens seen
	ssm  []float32 // (n_layer, nheads, headdim, d_state)
	conv []float32 // (n_layer, d_conv, channels), a ring over d_conv: token t lies in row t mod d_conv

	// Workspace.
	h     []float32 // (d_model), the residual stream
	xn    []float32 // (max(d_model, d_inner)), the normalised input of a matrix
	xs    []float32 // the same times scale or norm
	proj  []float32 // (d_in_proj), z | x | B | C | dt
	xbc   []float32 // (channels), x | B | C after the convolution
	y     []float32 // (d_inner), output of the heads
	delta []float32 // (d_model), what a layer adds to h
	lut   *neon.LUT
	q14   *neon.Q14

	trace func(layer int, h []float32) // tests look at the residual stream behind each layer; nil elsewhere
}

// workspaceBuffers is the length of each float32 buffer of a session's workspace, in the order of init.
func workspaceBuffers(h *memmap.Model) [7]int {
	wide := maxCols(h)
	return [7]int{int(h.DModel), wide, wide, int(h.DInProj()), int(h.Channels()), int(h.DInner), int(h.DModel)}
}

// init carves the session out of the arena.
func (s *Session) init(m *Model, arena *carver) {
	h := &m.h
	s.m = m
	s.ssm = arena.floats(int(h.NLayer) * int(h.DInner) * int(h.DState))
	s.conv = arena.floats(int(h.NLayer) * int(h.DConv) * int(h.Channels()))
	sizes := workspaceBuffers(h)
	for i, dst := range []*[]float32{&s.h, &s.xn, &s.xs, &s.proj, &s.xbc, &s.y, &s.delta} {
		*dst = arena.floats(sizes[i])
	}
	s.lut = neon.NewLUT(arena.bytes(neon.LUTSize(maxCols(h), neon.LUT16)), maxCols(h), neon.LUT16)
	s.q14 = neon.NewQ14(arena.bytes(neon.Q14Size(maxCols(h))), maxCols(h))
}

// Reset forgets the sequence.
func (s *Session) Reset() {
	s.pos = 0
	clear(s.ssm)
	clear(s.conv)
}

// Pos is the number of tokens that the session has seen.
func (s *Session) Pos() int64 { return s.pos }

// Prefill feeds ids. If logits is not nil it gets those behind the last one, (vocab_size).
// On an error the state is that of an unknown part of ids: Reset it.
func (s *Session) Prefill(ids []uint32, logits []float32) error {
	for i, id := range ids {
		var out []float32
		if i == len(ids)-1 {
			out = logits
		}
		if err := s.Step(id, out); err != nil {
			return err
		}
	}
	return nil
}

// Step feeds one token and, if logits is not nil, computes those behind it, (vocab_size). It does not allocate.
// The error is about id, or a *memmap.FaultError where the file was cut short; then Reset the session.
func (s *Session) Step(id uint32, logits []float32) error {
	h := &s.m.h
	if id >= h.VocabSize {
		return fmt.Errorf("token id %d is not a row of the embedding, which has %d", id, h.VocabSize)
	}
	if logits != nil && len(logits) != int(h.VocabSize) {
		return fmt.Errorf("logits have room for %d tokens, not for the %d of the model", len(logits), h.VocabSize)
	}
	return s.m.blob.Guard(func() error {
		s.forward(id, logits)
		return nil
	})
}
